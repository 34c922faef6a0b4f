"""Utterances whose words are awaited, and the transcription events that tell them. Pure."""

from collections.abc import Callable
from typing import Final

import msgspec

from pipeline.realtime import events

MAX_AWAITED: Final = 8
"""Utterances of one session waiting for their words; a client that commits faster is told that they failed."""


class Awaited(msgspec.Struct):
    """One utterance.

    Attributes:
        audio_ms: its length.
        announced: transcription events tell its words.
        owed: its words begin a response.
    """

    audio_ms: float
    announced: bool
    owed: bool


class Transcriptions:
    """The awaited utterances by the id of their item, in the order they were made."""

    def __init__(self, new_id: Callable[[str], str]) -> None:
        self._new_id = new_id
        self._awaited: dict[str, Awaited] = {}

    @property
    def last_item_id(self) -> str | None:
        """The item that was made last, of those whose words are awaited."""
        return next(reversed(self._awaited), None)

    def await_words(self, item_id: str, awaited: Awaited) -> bool:
        """Begin to wait; False if too many are waiting, which the caller has to report as `failed`."""
        has_room = len(self._awaited) < MAX_AWAITED
        self._awaited[item_id] = awaited
        return has_room

    def owe_nothing(self) -> None:
        """No utterance so far begins a response any more."""
        for awaited in self._awaited.values():
            awaited.owed = False

    def completed(self, item_id: str, text: str, *, wanted: bool) -> tuple[list[events.ServerEvent], bool]:
        """The words are known: their events (none unless `wanted`), and whether they begin a response."""
        awaited = self._awaited.pop(item_id)
        if not (wanted and awaited.announced):
            return [], awaited.owed
        told: list[events.ServerEvent] = []
        if text:
            delta = events.ConversationItemInputAudioTranscriptionDelta(
                event_id=self._new_id("event"), item_id=item_id, content_index=0, delta=text
            )
            told.append(delta)
        completed = events.ConversationItemInputAudioTranscriptionCompleted(
            event_id=self._new_id("event"),
            item_id=item_id,
            content_index=0,
            transcript=text,
            usage=events.Usage(type="duration", seconds=awaited.audio_ms / 1000),
        )
        return [*told, completed], awaited.owed

    def failed(self, item_id: str, message: str, *, wanted: bool) -> tuple[list[events.ServerEvent], bool]:
        """The words will never be known: the event that says so, and whether they were to begin a response."""
        awaited = self._awaited.pop(item_id)
        if not (wanted and awaited.announced):
            return [], awaited.owed
        error = events.ErrorBody(type="transcription_error", code="transcription_failed", message=message)
        failed = events.ConversationItemInputAudioTranscriptionFailed(
            event_id=self._new_id("event"), item_id=item_id, content_index=0, error=error
        )
        return [failed], awaited.owed
