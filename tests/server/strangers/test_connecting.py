"""The door, as the official client finds it."""

from typing import Any

import openai
import pytest

pytestmark = pytest.mark.timeout(30)


def test_a_minted_secret_opens_a_session_with_its_settings(serving: Any) -> None:
    with serving() as client:
        wanted = {"type": "realtime", "instructions": "Be brief.", "output_modalities": ["text"]}
        secret = client.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60}, session=wanted
        )
        assert secret.value.startswith("ek_")
        assert (secret.session.type, secret.session.instructions) == ("realtime", "Be brief.")
        with client.with_options(api_key=secret.value).realtime.connect(model="gpt-realtime") as connection:
            created = connection.recv()
    assert created.type == "session.created"
    assert (created.session.model, created.session.instructions) == ("gpt-realtime", "Be brief.")
    assert created.session.output_modalities == ["text"]


def test_settings_change_and_are_shown_whole(serving: Any, meeting: Any) -> None:
    detection = {
        "type": "server_vad",
        "threshold": 0.6,
        "prefix_padding_ms": 200,
        "silence_duration_ms": 400,
        "create_response": False,
        "interrupt_response": False,
    }
    with serving() as client, meeting(client) as stranger:
        stranger.connection.session.update(
            session={
                "type": "realtime",
                "instructions": "Answer in French.",
                "audio": {"input": {"turn_detection": detection, "format": {"type": "audio/pcmu"}}},
            }
        )
        session = stranger.next("session.updated").session
    assert session.instructions == "Answer in French."
    assert session.audio.input.turn_detection.to_dict() == detection
    assert session.audio.input.format.type == "audio/pcmu"
    assert session.audio.output.format.to_dict() == {"type": "audio/pcm", "rate": 24_000}


def test_a_refused_update_names_the_field_and_changes_nothing(serving: Any, meeting: Any) -> None:
    with serving() as client, meeting(client) as stranger:
        stranger.connection.session.update(
            session={"type": "realtime", "instructions": "New.", "voices": "marin"}, event_id="mine_1"
        )
        error = stranger.next("error").error
        assert (error.type, error.code, error.param, error.event_id) == (
            "invalid_request_error",
            "unknown_parameter",
            "session.voices",
            "mine_1",
        )
        stranger.connection.session.update(session={"type": "realtime"})
        assert stranger.next("session.updated").session.instructions != "New."


def test_a_wrong_key_mints_nothing(serving: Any) -> None:
    with serving() as client, pytest.raises(openai.AuthenticationError) as refused:
        client.with_options(api_key="sk-wrong").realtime.client_secrets.create()
    assert refused.value.code == "invalid_api_key"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"anchor": "created_at", "seconds": 7201}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "created_at", "seconds": 9}}, "expires_after.seconds"),
        ({"session": {"type": "realtime", "max_output_tokens": 4097}}, "session.max_output_tokens"),
    ],
)
def test_minting_is_checked(serving: Any, body: dict[str, Any], param: str) -> None:
    with serving() as client, pytest.raises(openai.BadRequestError) as refused:
        client.realtime.client_secrets.create(**body)
    assert refused.value.param == param


def test_a_wrong_secret_is_told_after_the_upgrade(serving: Any, stranger_of: Any) -> None:
    with serving() as client:
        wrong = client.with_options(api_key="ek_never_issued")
        with wrong.realtime.connect(model="gpt-realtime") as connection:
            (error,), code = stranger_of(connection).end()
    assert (error.type, error.error.code, code) == ("error", "invalid_api_key", 3000)


def test_a_session_needs_a_model(serving: Any, stranger_of: Any) -> None:
    with serving() as client, client.realtime.connect() as connection:
        (error,), code = stranger_of(connection).end()
    assert (error.error.code, code) == ("missing_model", 4000)


def test_the_end_of_a_session_looks_like_a_clean_close(serving: Any) -> None:
    """The trap that a client has to know: its loop just ends."""
    with serving(session_cap_s=0.3) as client, client.realtime.connect(model="gpt-realtime") as connection:
        events = list(connection)
        assert connection._connection.close_code == 1001
    assert [event.type for event in events] == ["session.created", "error"]
    assert events[-1].error.code == "session_expired"


def test_one_session_too_many_is_sent_away(serving: Any, meeting: Any, stranger_of: Any) -> None:
    with (
        serving(max_sessions=1) as client,
        meeting(client),
        client.realtime.connect(model="gpt-realtime") as late,
    ):
        (error,), code = stranger_of(late).end()
    assert (error.error.code, code) == ("session_limit_reached", 1013)
