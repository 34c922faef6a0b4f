"""The user's half of a conversation: sound comes in, turns and their items come out. Pure.

Whoever notices that the user has finished (the detector, the client's commit, a full buffer, an idle timeout), the end
is the same: the sound becomes an item and its words are awaited. They are guessed at while the user pauses, so that
they are usually known when the pause has been long enough to end the turn.
"""

import math
from collections.abc import Callable
from typing import Final

from pipeline.dsp.turn_detector import TurnDetector, TurnStarted, TurnStopped
from pipeline.realtime import events
from pipeline.realtime.codec import ClientEventError
from pipeline.server import work
from pipeline.server.desk import Desk
from pipeline.server.input_audio import InputAudioBuffer
from pipeline.server.new_item import decoded_audio
from pipeline.server.session_settings import endpointing, input_format, turn_detection
from pipeline.server.transcriptions import Settled, Transcriptions, Utterance

MAX_APPEND_BASE64: Final = 15 * 1024 * 1024
"""Bytes of base64 in one append, the protocol's limit."""
MIN_COMMIT_MS: Final = 100
"""The protocol's shortest utterance."""
HEARD_SILENCE_MS: Final = 200
"""Of the silence that ends a turn the recogniser hears only this much: the rest would cost it time and hold no word."""


class Listening:
    """What the user says.

    Args:
        desk: of the conversation.
        transcriptions: finds the words.
        on_speech: called when the user begins to speak.
        on_settled: called when the words of an item are known, or will never be.

    Attributes:
        idle_at_s: when silence itself becomes a turn; infinite while that is not wanted.
    """

    def __init__(
        self,
        desk: Desk,
        transcriptions: Transcriptions,
        *,
        on_speech: Callable[[], None],
        on_settled: Callable[[Settled], None],
    ) -> None:
        self._desk = desk
        self._transcriptions = transcriptions
        self._on_speech = on_speech
        self._on_settled = on_settled
        self._buffer = InputAudioBuffer(input_format(desk.session))
        self._detector: TurnDetector | None = None
        self._turn: tuple[str, float] | None = None  # id of the item to come and where it starts, while a user speaks
        self._guess: Utterance | None = None
        self._idle_from_ms = 0.0
        self.idle_at_s = math.inf

    @property
    def turn_item_id(self) -> str | None:
        """The id of the item that the user is speaking at this moment."""
        return None if self._turn is None else self._turn[0]

    def restart(self) -> None:
        """Listen afresh from here on; a turn under way is forgotten, its sound stays in the buffer."""
        self._turn = None
        self._give_guess_up()
        self.be_busy()
        settings = turn_detection(self._desk.session)
        self._detector = None
        if settings is not None:
            self._detector = TurnDetector(**endpointing(settings)._asdict(), origin_ms=self._buffer.written_ms)
        self._desk.put(work.RestartDetection())

    def use_settings(self, before: events.Session) -> None:
        """The session's settings changed; sound in a format that is no longer the session's is dropped."""
        audio_format = input_format(self._desk.session)
        if audio_format != self._buffer.audio_format:
            self._buffer = InputAudioBuffer(audio_format, self._buffer.written_ms)
            self.restart()
        elif turn_detection(self._desk.session) != turn_detection(before):
            self.restart()

    # what the client sends

    def append(self, audio: str) -> None:
        """Take more sound, in base64.

        Raises:
            ClientEventError: it is too long or no base64, or the buffer is full.
        """
        if len(audio) > MAX_APPEND_BASE64:
            message = f"Invalid 'audio': at most {MAX_APPEND_BASE64} bytes of base64 per event."
            raise ClientEventError("string_above_max_length", message, "audio")
        sound = decoded_audio(audio, "audio")
        if not self._buffer.has_room(len(sound)):
            if self._turn is None or self._detector is None:
                message = "The input audio buffer is full; commit or clear it first."
                raise ClientEventError("input_audio_buffer_full", message, "audio")
            self._end_turn(self._detector.stop())
        whole = self._buffer.write(sound)
        if whole and self._detector is not None:
            self._desk.put(work.Detect(whole, self._buffer.audio_format))

    def commit(self) -> None:
        """End the turn by hand.

        Raises:
            ClientEventError: there are not 100 ms to commit.
        """
        waiting_ms = self._buffer.duration_ms
        if waiting_ms < MIN_COMMIT_MS:
            message = (
                f"Error committing input audio buffer: buffer too small. Expected at least {MIN_COMMIT_MS}ms of audio, "
                f"but buffer only has {waiting_ms:.2f}ms of audio."
            )
            raise ClientEventError("input_audio_buffer_commit_empty", message)
        if self._turn is not None:
            item_id, start_ms = self._turn
            self._say_stopped(item_id, self._buffer.written_ms)
            sound = self._buffer.take(start_ms, self._buffer.written_ms)
        else:
            item_id, sound = self._desk.item_id(), self._buffer.take_all()
        self.restart()
        self._commit(item_id, sound)
        self._await_words(item_id, sound)

    def clear(self) -> None:
        """Drop what is not committed."""
        self._buffer.clear()
        self.restart()
        self._desk.put(events.InputAudioBufferCleared(event_id=self._desk.event_id()))

    # what the detector hears

    def hear(self, heard: work.Heard) -> None:
        """Take the next probabilities of speech."""
        detector = self._detector
        if detector is None:
            return
        for probability in heard.probabilities:
            match detector.hear(probability, heard.hop_ms):
                case TurnStarted(start_ms):
                    self._begin_turn(start_ms)
                case TurnStopped() as stopped:
                    self._end_turn(stopped)
                case None:
                    self._guess_in_a_pause(detector)
        if self._turn is None:
            self._buffer.forget_before(detector.heard_ms - detector.prefix_padding_ms - heard.hop_ms)

    def _begin_turn(self, start_ms: float) -> None:
        item_id = self._desk.item_id()
        self._turn = (item_id, start_ms)
        self.be_busy()
        self._desk.put(
            events.InputAudioBufferSpeechStarted(
                event_id=self._desk.event_id(), item_id=item_id, audio_start_ms=round(start_ms)
            )
        )
        self._on_speech()

    def _guess_in_a_pause(self, detector: TurnDetector) -> None:
        """Recognise in a pause what may be the whole turn: if it is, nobody waits for the recogniser."""
        if self._turn is None or detector.silence_ms == 0:
            self._give_guess_up()
        elif self._guess is None and detector.silence_ms >= HEARD_SILENCE_MS:
            end_ms = detector.heard_ms - detector.silence_ms + HEARD_SILENCE_MS
            sound = self._buffer.peek(self._turn[1], end_ms)
            self._guess = self._transcriptions.guess(sound, self._buffer.audio_format)

    def _give_guess_up(self) -> None:
        if self._guess is not None:
            self._transcriptions.give_up(self._guess)
            self._guess = None

    def _end_turn(self, stopped: TurnStopped) -> None:
        assert self._turn is not None, "a turn ends once"
        item_id, start_ms = self._turn
        self._turn = None
        self._say_stopped(item_id, stopped.end_ms)
        sound = self._buffer.take(start_ms, stopped.end_ms)
        self._commit(item_id, sound)
        guess, self._guess = self._guess, None
        if guess is not None:
            settled = self._transcriptions.confirm(guess, item_id, owed=self._owes_response)
            if settled is not None:
                self._on_settled(settled)
        else:
            unheard_bytes = int(max(0.0, stopped.silence_ms - HEARD_SILENCE_MS)) * self._buffer.bytes_per_ms
            self._await_words(item_id, sound[: len(sound) - unheard_bytes], owed=self._owes_response)

    # nobody speaks

    def be_idle(self, from_s: float) -> None:
        """The conversation rests from this moment on: if nobody speaks for `idle_timeout_ms`, silence is a turn."""
        settings = turn_detection(self._desk.session)
        if settings is not None and settings.idle_timeout_ms is not None and self._turn is None:
            self._idle_from_ms = self._buffer.written_ms
            self.idle_at_s = from_s + settings.idle_timeout_ms / 1000

    def be_busy(self) -> None:
        """Something is said or asked for."""
        self.idle_at_s = math.inf

    def time_out(self) -> str:
        """Nobody has spoken for long enough: the silence is committed. The id of its item."""
        self.be_busy()
        item_id, end_ms = self._desk.item_id(), self._buffer.written_ms
        self._desk.put(
            events.InputAudioBufferTimeoutTriggered(
                event_id=self._desk.event_id(),
                item_id=item_id,
                audio_start_ms=round(self._idle_from_ms),
                audio_end_ms=round(end_ms),
            )
        )
        self._commit(item_id, self._buffer.take_all())
        self.restart()
        return item_id

    # its end

    @property
    def _owes_response(self) -> bool:
        settings = turn_detection(self._desk.session)
        return self._desk.session.type == "realtime" and settings is not None and settings.create_response is True

    def _say_stopped(self, item_id: str, end_ms: float) -> None:
        self._desk.put(
            events.InputAudioBufferSpeechStopped(
                event_id=self._desk.event_id(), item_id=item_id, audio_end_ms=round(end_ms)
            )
        )

    def _commit(self, item_id: str, sound: bytes) -> None:
        item = events.Item(
            id=item_id,
            object="realtime.item",
            type="message",
            status="completed",
            role="user",
            content=[events.ContentPart(type="input_audio")],
        )
        before = self._desk.items.append(item)
        self._desk.items.add_sound(item_id, sound, self._buffer.bytes_per_ms)
        event_id = self._desk.event_id
        self._desk.put(
            events.InputAudioBufferCommitted(event_id=event_id(), item_id=item_id, previous_item_id=before),
            events.ConversationItemAdded(event_id=event_id(), item=item, previous_item_id=before),
            events.ConversationItemDone(event_id=event_id(), item=item, previous_item_id=before),
        )

    def _await_words(self, item_id: str, sound: bytes, *, owed: bool = False) -> None:
        settled = self._transcriptions.await_words(item_id, sound, self._buffer.audio_format, owed=owed)
        if settled is not None:
            self._on_settled(settled)
