"""Settings read again: everything that changed is either used or named."""

import msgspec
import pytest

from pipeline.core.reload import APPLICABLE, plan_reload
from pipeline.vocabulary.configuration import load
from pipeline.vocabulary.settings import Settings

RUNNING = load()


def paths(settings: Settings) -> dict[str, object]:
    tables = msgspec.to_builtins(settings)
    return {f"{section}.{key}": value for section, table in tables.items() for key, value in table.items()}


def test_nothing_new_is_nothing_to_do() -> None:
    assert plan_reload(RUNNING, load()) == (RUNNING, [], [])


@pytest.mark.parametrize(
    ("override", "applied", "needs_restart"),
    [
        ("audio.volume=0.5", ["audio.volume"], []),
        ("conversation.instructions=Be brief.", ["conversation.instructions"], []),
        ("turn.silence_duration_ms=700", ["turn.silence_duration_ms"], []),
        ("retry.cap_s=20", ["retry.cap_s"], []),
        ("service.url=ws://127.0.0.1:9/v1/realtime", [], ["service.url"]),
        ("conversation.voice=other", [], ["conversation.voice"]),  # a service locks it at the first sound
        ("turn.mode=push_to_talk", [], ["turn.mode"]),
        ("server.port=9", [], []),  # another program's
    ],
)
def test_a_change_is_applied_or_named(override: str, applied: list[str], needs_restart: list[str]) -> None:
    read = load((), [override])
    reload = plan_reload(RUNNING, read)
    assert reload.applied == applied
    assert reload.needs_restart == needs_restart
    assert reload.settings == (read if applied else RUNNING)


def test_what_waits_for_a_restart_is_named_again_and_not_slipped_in() -> None:
    overrides = ["audio.volume=0.5", "audio.input=none:"]
    first = plan_reload(RUNNING, load((), overrides))
    assert first.settings == load((), overrides[:1])
    second = plan_reload(first.settings, load((), overrides))
    assert (second.applied, second.needs_restart) == ([], ["audio.input"])


def test_every_path_that_can_be_applied_is_a_setting() -> None:
    assert paths(RUNNING).keys() >= APPLICABLE
