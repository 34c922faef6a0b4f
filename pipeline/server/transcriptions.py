"""Utterances whose words are awaited, and the transcription events that tell them. Pure.

An utterance may be recognised before it is over: a guess, made while the user pauses. If the pause ends the turn, the
guess is the utterance and its words may be known already; if the user goes on, it is given up.
"""

from typing import Final, NamedTuple

import msgspec

from pipeline.realtime import events
from pipeline.realtime.events import AudioFormat
from pipeline.server import work
from pipeline.server.audio_format import bytes_per_ms
from pipeline.server.desk import Desk
from pipeline.server.session_settings import input_settings

MAX_AWAITED: Final = 8
"""Utterances of one session waiting for their words; a client that commits faster is told that they failed."""
TOO_MANY: Final = "Too many utterances are waiting for their words."


class Utterance(msgspec.Struct):
    """Sound whose words are awaited.

    Attributes:
        number: names the work on it.
        item_id: of the user's item; None while it is a guess.
        audio_ms: its length.
        announced: transcription events tell its words.
        owed: its words begin a response.
        outcome: what the recogniser said, if it did before the turn was over.
    """

    number: int
    audio_ms: float
    item_id: str | None = None
    announced: bool = True
    owed: bool = False
    outcome: work.Recognised | work.RecognitionFailed | None = None


class Settled(NamedTuple):
    """What became of a user's item: its words, or None and why there will be none."""

    item_id: str
    words: str | None
    failure: str
    owed: bool


class Transcriptions:
    """The utterances of one conversation, in the order they were made."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._utterances: dict[int, Utterance] = {}
        self._made = 0

    @property
    def awaited(self) -> list[str]:
        """The items whose words are awaited, in the order they were made."""
        return [utterance.item_id for utterance in self._utterances.values() if utterance.item_id is not None]

    def guess(self, sound: bytes, audio_format: AudioFormat) -> Utterance | None:
        """Begin to recognise what may turn out to be a whole utterance; None if too much waits already."""
        return self._recognise(sound, audio_format) if len(self._utterances) < MAX_AWAITED else None

    def give_up(self, guess: Utterance) -> None:
        """The user went on."""
        del self._utterances[guess.number]
        if guess.outcome is None:
            self._desk.put(work.StopRecognising(guess.number))

    def confirm(self, guess: Utterance, item_id: str, *, owed: bool) -> Settled | None:
        """The user had finished: the guess is this item. Settled at once if its words are known."""
        guess.item_id, guess.owed = item_id, owed
        return None if guess.outcome is None else self.settle(guess.outcome)

    def await_words(
        self, item_id: str, sound: bytes, audio_format: AudioFormat, *, announced: bool = True, owed: bool = False
    ) -> Settled | None:
        """Begin to recognise a whole utterance. Settled at once, as failed, if too much waits already."""
        if len(self._utterances) >= MAX_AWAITED:
            refused = Utterance(0, 0.0, item_id, announced=announced, owed=owed)
            return self._settled(refused, work.RecognitionFailed(0, TOO_MANY))
        utterance = self._recognise(sound, audio_format)
        utterance.item_id, utterance.announced, utterance.owed = item_id, announced, owed
        return None

    def owe_nothing(self) -> None:
        """No utterance so far begins a response any more."""
        for utterance in self._utterances.values():
            utterance.owed = False

    def settle(self, outcome: work.Recognised | work.RecognitionFailed) -> Settled | None:
        """The recogniser is done with an utterance: tell the client. None while it is a guess, or given up."""
        utterance = self._utterances.get(outcome.utterance)
        if utterance is None:
            return None
        if utterance.item_id is None:
            utterance.outcome = outcome
            return None
        del self._utterances[utterance.number]
        return self._settled(utterance, outcome)

    def _recognise(self, sound: bytes, audio_format: AudioFormat) -> Utterance:
        self._made += 1
        utterance = Utterance(self._made, len(sound) / bytes_per_ms(audio_format))
        self._utterances[utterance.number] = utterance
        self._desk.put(work.Recognise(utterance.number, sound, audio_format))
        return utterance

    def _settled(self, utterance: Utterance, outcome: work.Recognised | work.RecognitionFailed) -> Settled:
        assert utterance.item_id is not None, "a guess has no item"
        wanted = utterance.announced and input_settings(self._desk.session).transcription is not None
        match outcome:
            case work.Recognised(_, text):
                if wanted:
                    self._tell(utterance.item_id, text, utterance.audio_ms)
                return Settled(utterance.item_id, text, "", utterance.owed)
            case work.RecognitionFailed(_, message):
                if wanted:
                    self._tell_failure(utterance.item_id, message)
                return Settled(utterance.item_id, None, message, utterance.owed)

    def _tell(self, item_id: str, text: str, audio_ms: float) -> None:
        if text:
            self._desk.put(
                events.ConversationItemInputAudioTranscriptionDelta(
                    event_id=self._desk.event_id(), item_id=item_id, content_index=0, delta=text
                )
            )
        self._desk.put(
            events.ConversationItemInputAudioTranscriptionCompleted(
                event_id=self._desk.event_id(),
                item_id=item_id,
                content_index=0,
                transcript=text,
                usage=events.Usage(type="duration", seconds=audio_ms / 1000),
            )
        )

    def _tell_failure(self, item_id: str, message: str) -> None:
        error = events.Failure(type="transcription_error", code="transcription_failed", message=message)
        self._desk.put(
            events.ConversationItemInputAudioTranscriptionFailed(
                event_id=self._desk.event_id(), item_id=item_id, content_index=0, error=error
            )
        )
