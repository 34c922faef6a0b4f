"""Transcription sessions, as the official client has them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pipeline.vocabulary.frames import BYTES_PER_MS

pytestmark = pytest.mark.timeout(30)

PAUSE = bytes(700 * BYTES_PER_MS)
WANTED: Any = {"type": "transcription", "audio": {"input": {"transcription": {"model": "any"}}}}


@contextmanager
def transcribing(client: Any, stranger_of: Any) -> Iterator[Any]:
    with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        stranger = stranger_of(connection)
        created = stranger.next("session.created").session
        assert (created.type, created.object) == ("transcription", "realtime.transcription_session")
        connection.session.update(session=WANTED)
        assert stranger.next("session.updated").session.type == "transcription"
        yield stranger


def test_words_and_never_a_response(serving: Any, stranger_of: Any, tone: Any) -> None:
    with serving() as client, transcribing(client, stranger_of) as stranger:
        stranger.say(tone(800) + PAUSE)
        events = stranger.until("conversation.item.input_audio_transcription.completed")
        stranger.say(tone(400) + PAUSE)
        events += stranger.until("conversation.item.input_audio_transcription.completed")
    committed = [event for event in events if event.type == "input_audio_buffer.committed"]
    words = {event.item_id: event.transcript for event in events if event.type.endswith("transcription.completed")}
    # 200 ms of the silence behind are heard, and of the silence in front what the turn before has left of the pause
    assert [words[event.item_id] for event in committed] == ["10 tenths", "8 tenths"]
    assert committed[1].previous_item_id == committed[0].item_id
    assert not [event for event in events if event.type.startswith("response.")]


def test_a_response_cannot_be_asked_for(serving: Any, stranger_of: Any) -> None:
    with serving() as client, transcribing(client, stranger_of) as stranger:
        stranger.connection.response.create(event_id="mine_1")
        assert stranger.next("error").error.event_id == "mine_1"


def test_a_transcription_session_has_no_model(serving: Any, stranger_of: Any) -> None:
    with (
        serving() as client,
        client.realtime.connect(model="gpt-realtime", extra_query={"intent": "transcription"}) as connection,
    ):
        (error,), code = stranger_of(connection).end()
    assert (error.error.code, code) == ("invalid_model", 4000)


def test_a_secret_may_be_minted_for_it(serving: Any, stranger_of: Any, tone: Any) -> None:
    with serving() as client:
        secret = client.realtime.client_secrets.create(session=WANTED)
        assert secret.session.type == "transcription"
        with client.with_options(api_key=secret.value).realtime.connect(
            extra_query={"intent": "transcription"}
        ) as connection:
            stranger = stranger_of(connection)
            stranger.say(tone(800) + PAUSE)
            words = stranger.next("conversation.item.input_audio_transcription.completed").transcript
    assert words == "10 tenths"


def test_a_conversation_does_not_become_a_transcription(serving: Any, meeting: Any) -> None:
    with serving() as client, meeting(client) as stranger:
        stranger.connection.session.update(session=WANTED)
        assert stranger.next("error").error.param == "session.type"
