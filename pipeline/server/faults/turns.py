"""Faults around the user's turn: the detector, the order of a barge-in, the transcription."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Literal

from msgspec import Meta

from pipeline.realtime.events import Json
from pipeline.server.faults.schema import (
    Ask,
    ClockFault,
    Effect,
    Fault,
    Here,
    Move,
    Say,
    Seconds,
    nothing,
    when_asked,
    when_said,
)

_TRANSCRIPTION: Final = "conversation.item.input_audio_transcription."
_COMPLETED: Final = f"{_TRANSCRIPTION}completed"


class FlippedBargeIn(Fault, frozen=True, kw_only=True, tag="flipped_barge_in"):
    """`response.done` of the reply that was talked over comes before `speech_started`.

    Client: comes to the same end.
    """

    def said(self, here: Here) -> Effect:
        """The start is kept back until the response is done, or the detector has more to say."""

        def flip(event: Json) -> Iterator[Move]:
            kind = event["type"]
            if kind == "input_audio_buffer.speech_started" and here.scene.active and here.strikes():
                here.kept[""] = [event]
                return
            if kind.startswith("input_audio_buffer."):
                yield from map(Say, here.kept.pop("", []))
            yield Say(event)
            if kind == "response.done":
                yield from map(Say, here.kept.pop("", []))

        return flip


class FalseStart(ClockFault, frozen=True, kw_only=True, tag="false_start"):
    """The detector says `speech_started` although nobody speaks, and no `speech_stopped` or no commit follows.

    Client: recovers by a timer of its own.
    """

    missing: Literal["stopped", "committed"] = "stopped"
    every_s: Annotated[float, Meta(gt=0, le=86_400)] = 10.0

    @property
    def period_s(self) -> float:
        """Again and again."""
        return self.every_s

    def rings(self, here: Here) -> Iterable[Say]:
        """One or two events."""
        item_id, start_ms, length_ms = here.scene.new_id("item_fault_"), int(here.scene.elapsed_s * 1_000), 300
        kind = "input_audio_buffer.speech_started"
        yield Say({"type": kind, "event_id": here.scene.new_id(), "item_id": item_id, "audio_start_ms": start_ms})
        if self.missing == "committed":
            kind, end_ms = "input_audio_buffer.speech_stopped", start_ms + length_ms
            stopped = {"type": kind, "event_id": here.scene.new_id(), "item_id": item_id, "audio_end_ms": end_ms}
            yield Say(stopped, length_ms / 1_000)


class MissedSpeech(Fault, frozen=True, kw_only=True, tag="missed_speech"):
    """The detector never hears that anybody speaks, as if the microphone gave silence.

    Client: hears by itself that somebody spoke, and takes another session.
    """

    def asked(self, here: Here) -> Effect:
        """The sound is taken out."""

        def silence(event: Json) -> Iterable[Move]:
            audio = str(event.get("audio", ""))
            sound = audio.rstrip("=")
            return (Ask({**event, "audio": "A" * len(sound) + audio[len(sound) :]}),)

        return when_asked("input_audio_buffer.append", here, silence)


class LateTranscription(Fault, frozen=True, kw_only=True, tag="late_transcription"):
    """The words of the user come late: after the reply, or after the next turn.

    Client: does not wait for them.
    """

    delay_s: Seconds = 5.0

    def said(self, here: Here) -> Effect:
        """Only the last event is late."""
        return when_said(_COMPLETED, here, lambda event: (Say(event, self.delay_s),))


class SwappedTranscriptions(Fault, frozen=True, kw_only=True, tag="swapped_transcriptions"):
    """The words of one utterance come after those of the next.

    Client: orders them by item, not by arrival.
    """

    def said(self, here: Here) -> Effect:
        """One is kept back."""

        def swap(event: Json) -> Iterator[Move]:
            if event["type"] == _COMPLETED and not here.kept and here.strikes():
                here.kept[""] = [event]
                return
            yield Say(event)
            if event["type"] == _COMPLETED:
                yield from map(Say, here.kept.pop("", []))

        return swap


class FailedTranscription(Fault, frozen=True, kw_only=True, tag="failed_transcription"):
    """The recogniser fails; the turn goes on.

    Client: goes on without the words.
    """

    def said(self, here: Here) -> Effect:
        """The words are replaced."""
        message = "The audio could not be transcribed."
        error = {"type": "transcription_error", "code": "audio_unintelligible", "message": message, "param": None}

        def fail(event: Json) -> Iterable[Move]:
            place = {name: event[name] for name in ("event_id", "item_id", "content_index")}
            return (Say({"type": f"{_TRANSCRIPTION}failed", **place, "error": error}),)

        return when_said(_COMPLETED, here, fail)


class MissingTranscription(Fault, frozen=True, kw_only=True, tag="missing_transcription"):
    """The words of the user never come.

    Client: does not wait for them.
    """

    def said(self, here: Here) -> Effect:
        """They are swallowed."""
        return when_said(_COMPLETED, here, nothing)
