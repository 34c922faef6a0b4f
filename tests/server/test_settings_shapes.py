from typing import Any

import msgspec
import pytest

from pipeline.realtime.codec import ClientEventError
from pipeline.realtime.events import ResponseParams, Session
from pipeline.server.session_settings import default_session, default_transcription_session, updated
from pipeline.server.settings_shapes import check_shapes


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"truncation": "disabled", "tracing": None, "prompt": None},
        {"truncation": {"type": "retention_ratio", "retention_ratio": 0.8, "token_limits": {"post_instructions": 9}}},
        {"tracing": {"workflow_name": "kiosk", "group_id": "1", "metadata": {"any": ["thing"]}}},
        {"reasoning": {"effort": "low"}},
    ],
)
def test_what_the_protocol_knows_is_taken(settings: dict[str, Any]) -> None:
    check_shapes(msgspec.convert(settings, Session), "session")


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"truncation": "sometimes"}, "session.truncation"),
        ({"truncation": {"type": "retention_ratio"}}, "session.truncation"),
        ({"truncation": {"type": "retention_ratio", "retention_ratio": 2}}, "session.truncation.retention_ratio"),
        ({"truncation": {"type": None, "retention_ratio": 0.5}}, "session.truncation.type"),
        ({"tracing": "off"}, "session.tracing"),
        ({"tracing": {"group_id": 1}}, "session.tracing.group_id"),
        ({"tracing": {"future": 1}}, "session.tracing"),
        ({"reasoning": {"effort": "enormous"}}, "session.reasoning.effort"),
        ({"prompt": {"id": "pmpt_1"}}, "session.prompt"),
    ],
)
def test_what_only_looks_like_a_setting_is_refused_by_name(settings: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientEventError) as refused:
        check_shapes(msgspec.convert(settings, Session), "session")
    assert (refused.value.code, refused.value.param) == ("invalid_value", param)


def test_a_response_is_looked_into_as_well() -> None:
    with pytest.raises(ClientEventError) as refused:
        check_shapes(ResponseParams(reasoning={"effort": 3}), "response")
    assert refused.value.param == "response.reasoning.effort"


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"tools": [{"type": "function", "name": "f", "server_label": "x"}]}, "session.tools[0].server_label"),
        ({"audio": {"input": {"noise_reduction": {"type": "wind"}}}}, "session.audio.input.noise_reduction.type"),
        ({"audio": {"input": {"noise_reduction": {"strength": 2}}}}, "session.audio.input.noise_reduction.strength"),
        ({"audio": {"input": {"transcription": {"delay": "long"}}}}, "session.audio.input.transcription.delay"),
        ({"tool_choice": {"type": "function", "name": "f", "server_label": "x"}}, "session.tool_choice"),
    ],
)
def test_a_conversation_refuses_what_belongs_elsewhere(settings: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientEventError) as refused:
        updated(
            default_session("m", "v"), msgspec.convert({"type": "realtime", **settings}, Session), voice_locked=False
        )
    assert refused.value.param == param


@pytest.mark.parametrize(
    "foreign",
    [{"instructions": "Hi."}, {"tracing": None}, {"truncation": "auto"}, {"parallel_tool_calls": True}, {"tools": []}],
)
def test_a_transcription_session_has_nothing_of_answers(foreign: dict[str, Any]) -> None:
    update = msgspec.convert({"type": "transcription", **foreign}, Session)
    with pytest.raises(ClientEventError) as refused:
        updated(default_transcription_session(), update, voice_locked=False)
    assert (refused.value.code, refused.value.param) == ("unknown_parameter", f"session.{next(iter(foreign))}")
