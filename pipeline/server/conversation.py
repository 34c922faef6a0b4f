"""One Realtime session, decided in pure code: client events and results of work in, server events and effects out.

It knows no socket, no engine, no clock (`now` is an argument). `session.py` performs what it asks for.

A turn: append → Detect → Heard → speech_started … speech_stopped, committed → Recognise (once: its words serve the
transcription events and the answer) → Recognised → Generate → words and sound of the response.

The response to a detected turn begins when its words are known. If there are none (a cough, a door), the transcription
completes empty and no response is made: an answer to noise would be nonsense. `response.create` is always obeyed.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import UNSET

from pipeline.realtime import events
from pipeline.realtime.codec import ClientEventError
from pipeline.server import work
from pipeline.server.engines.interfaces import Ask, Line
from pipeline.server.input_audio import InputAudioBuffer
from pipeline.server.items import Items
from pipeline.server.new_item import accepted_item, decoded_audio
from pipeline.server.response import Ending, ResponseLife
from pipeline.server.session_settings import check_response, input_format, input_settings, response_audio, updated
from pipeline.server.transcriptions import Awaited, Transcriptions
from pipeline.server.turn_detector import TurnDetector, TurnStarted, TurnStopped

MAX_APPEND_BASE64: Final = 15 * 1024 * 1024
"""Bytes of base64 in one append, the protocol's limit."""
MIN_COMMIT_MS: Final = 100
"""The protocol's shortest utterance."""
HEARD_SILENCE_MS: Final = 200
"""Of the silence that ends a turn the recogniser hears only this much: the rest would cost it time and hold no word."""
SESSION_EXPIRED_CODE: Final = 1001

Output = events.ServerEvent | work.Effect


class Conversation:
    """State of one session.

    Args:
        session: its settings at the beginning, with id and `expires_at`.
        new_id: makes a fresh id from a prefix ("item" → "item_…").
        expires_s: `now` at which the session has lived long enough.
        cap_s: how long that is, for the farewell.
    """

    def __init__(
        self, session: events.Session, new_id: Callable[[str], str], *, expires_s: float, cap_s: float
    ) -> None:
        self.session = session
        self._new_id = new_id
        self._expires_s = expires_s
        self._cap_s = cap_s
        self._conversation_id = new_id("conv")
        self._buffer = InputAudioBuffer(input_format(session))
        self._items = Items()
        self._detector: TurnDetector | None = None
        self._turn: tuple[str, float] | None = None  # id of the item to come and where it starts, while a user speaks
        self._transcriptions = Transcriptions(new_id)
        self._response: ResponseLife | None = None
        self._generating = False
        self._spoke = False
        self._out: list[Output] = []

    def open(self) -> list[Output]:
        """The session begins."""
        self._restart_detection()
        self._out.append(events.SessionCreated(event_id=self._event_id(), session=self.session))
        return self._taken()

    def next_deadline_s(self) -> float:
        """When to hand in the next `Tick`."""
        return self._expires_s

    def refuse(self, error: ClientEventError) -> list[Output]:
        """Tell the client what was wrong with its message; the session goes on."""
        self._complain(error)
        return self._taken()

    def receive(self, event: events.ClientEvent) -> list[Output]:
        """Do what the client asks, or tell it why not."""
        assert not self._out, "outputs are taken after every input"
        try:
            self._obey(event)
        except ClientEventError as error:
            assert not self._out, "a refused event changes nothing"
            return self.refuse(ClientEventError(error.code, error.message, error.param, event.event_id))
        return self._taken()

    def work_done(self, result: work.Result, now: float) -> list[Output]:
        """Go on with what the shell has found out."""
        assert not self._out, "outputs are taken after every input"
        match result:
            case work.Heard():
                self._heard(result)
            case work.Recognised():
                self._recognised(result.item_id, result.text)
            case work.RecognitionFailed():
                self._recognition_failed(result.item_id, result.message)
            case work.Tick():
                self._tick(now)
            case _:
                self._generated(result)
        return self._taken()

    # what the client asks

    def _obey(self, event: events.ClientEvent) -> None:
        match event:
            case events.InputAudioBufferAppend():
                self._append(event)
            case events.InputAudioBufferCommit():
                self._commit_by_hand()
            case events.InputAudioBufferClear():
                self._clear()
            case events.SessionUpdate():
                self._update(event.session)
            case events.ResponseCreate():
                self._create_response(event.response or events.ResponseParams())
            case events.ResponseCancel():
                self._cancel(event.response_id)
            case _:
                self._obey_about_items(event)

    def _obey_about_items(
        self,
        event: events.ConversationItemCreate
        | events.ConversationItemRetrieve
        | events.ConversationItemTruncate
        | events.ConversationItemDelete,
    ) -> None:
        match event:
            case events.ConversationItemCreate():
                self._create_item(event)
            case events.ConversationItemRetrieve():
                self._retrieve_item(event.item_id)
            case events.ConversationItemTruncate():
                self._truncate_item(event)
            case events.ConversationItemDelete():
                self._items.remove(event.item_id)
                self._out.append(events.ConversationItemDeleted(event_id=self._event_id(), item_id=event.item_id))

    def _update(self, update: events.Session) -> None:
        before = self._turn_detection
        self.session = updated(self.session, update, voice_locked=self._spoke)
        audio_format = input_format(self.session)
        if audio_format != self._buffer.audio_format:  # sound in the old format that was not committed is dropped
            self._buffer = InputAudioBuffer(audio_format, self._buffer.written_ms)
            self._restart_detection()
        elif self._turn_detection != before:
            self._restart_detection()
        self._out.append(events.SessionUpdated(event_id=self._event_id(), session=self.session))

    def _append(self, event: events.InputAudioBufferAppend) -> None:
        if len(event.audio) > MAX_APPEND_BASE64:
            message = f"Invalid 'audio': at most {MAX_APPEND_BASE64} bytes of base64 per event."
            raise ClientEventError("string_above_max_length", message, "audio")
        sound = decoded_audio(event.audio, "audio")
        if not self._buffer.has_room(len(sound)):
            if self._turn is None or self._detector is None:
                message = "The input audio buffer is full; commit or clear it first."
                raise ClientEventError("input_audio_buffer_full", message, "audio")
            self._end_turn(self._detector.stop())
        whole = self._buffer.write(sound)
        if whole and self._detector is not None:
            self._out.append(work.Detect(whole, self._buffer.audio_format))

    def _commit_by_hand(self) -> None:
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
            item_id, sound = self._new_item_id(), self._buffer.take_all()
        self._restart_detection()
        self._commit(item_id, sound)

    def _clear(self) -> None:
        self._buffer.clear()
        self._restart_detection()
        self._out.append(events.InputAudioBufferCleared(event_id=self._event_id()))

    def _create_item(self, event: events.ConversationItemCreate) -> None:
        item, sound = accepted_item(event.item, self._items, self._new_id, self._buffer.audio_format)
        if self._turn is not None and item.id == self._turn[0]:
            message = f"Error adding item: an item with id '{item.id}' already exists."
            raise ClientEventError("item_create_duplicate_item_id", message)
        assert item.id
        before = self._items.insert(item, event.previous_item_id, len(sound) / self._buffer.bytes_per_ms)
        self._out.append(events.ConversationItemAdded(event_id=self._event_id(), item=item, previous_item_id=before))
        self._out.append(events.ConversationItemDone(event_id=self._event_id(), item=item, previous_item_id=before))
        if sound:
            self._recognise(item.id, sound, announced=False)

    def _retrieve_item(self, item_id: str) -> None:
        entry = self._items.find(item_id)
        if entry is None:
            message = f"Error retrieving item: the item with id '{item_id}' does not exist."
            raise ClientEventError("item_retrieve_invalid_item_id", message, "item_id")
        if any(part.is_audio for part in entry.item.content or []):
            message = "This server does not keep sound: items with audio cannot be retrieved."
            raise ClientEventError("item_retrieve_audio_not_kept", message, "item_id")
        self._out.append(events.ConversationItemRetrieved(event_id=self._event_id(), item=entry.item))

    def _truncate_item(self, event: events.ConversationItemTruncate) -> None:
        self._items.truncate(event.item_id, event.content_index, event.audio_end_ms)
        self._out.append(
            events.ConversationItemTruncated(
                event_id=self._event_id(),
                item_id=event.item_id,
                content_index=event.content_index,
                audio_end_ms=event.audio_end_ms,
            )
        )

    def _create_response(self, params: events.ResponseParams) -> None:
        check_response(self.session, params)
        if self._response is not None:
            raise _already_active(self._response)
        self._transcriptions.owe_nothing()  # what they were owed is this response
        last_awaited = self._transcriptions.last_item_id
        self._begin_response(params, waits_for=last_awaited)
        if last_awaited is None:
            self._generate(self._items.last_question())

    def _cancel(self, response_id: str | None) -> None:
        if self._response is None or response_id not in {None, self._response.id}:
            raise ClientEventError("response_cancel_not_active", "Cancellation failed: no active response found")
        self._end_response("cancelled", "client_cancelled")

    # the user's turn

    @property
    def _turn_detection(self) -> events.TurnDetection | None:
        detection = input_settings(self.session).turn_detection
        assert detection is not UNSET, "a session's settings are complete"
        return detection

    def _restart_detection(self) -> None:
        """Listen afresh from here on; a turn under way is forgotten, its sound stays in the buffer."""
        self._turn = None
        settings = self._turn_detection
        self._detector = None
        if settings is not None:
            self._detector = TurnDetector(
                threshold=settings.threshold or 0.0,
                prefix_padding_ms=settings.prefix_padding_ms or 0,
                silence_duration_ms=settings.silence_duration_ms or 0,
                origin_ms=self._buffer.written_ms,
            )
        self._out.append(work.RestartDetection())

    def _heard(self, heard: work.Heard) -> None:
        detector, settings = self._detector, self._turn_detection
        if detector is None or settings is None:
            return
        for probability in heard.probabilities:
            match detector.hear(probability, heard.hop_ms):
                case TurnStarted(start_ms):
                    self._begin_turn(start_ms)
                case TurnStopped() as stopped:
                    self._end_turn(stopped)
        if self._turn is None:
            self._buffer.forget_before(detector.heard_ms - (settings.prefix_padding_ms or 0) - heard.hop_ms)

    def _begin_turn(self, start_ms: float) -> None:
        item_id = self._new_item_id()
        self._turn = (item_id, start_ms)
        self._out.append(
            events.InputAudioBufferSpeechStarted(
                event_id=self._event_id(), item_id=item_id, audio_start_ms=round(start_ms)
            )
        )
        settings = self._turn_detection
        if settings is not None and settings.interrupt_response:
            self._transcriptions.owe_nothing()
            if self._response is not None:
                self._end_response("cancelled", "turn_detected")

    def _end_turn(self, stopped: TurnStopped) -> None:
        assert self._turn is not None, "a turn ends once"
        item_id, start_ms = self._turn
        self._turn = None
        self._say_stopped(item_id, stopped.end_ms)
        settings = self._turn_detection
        owed = settings is not None and settings.create_response is True
        self._commit(item_id, self._buffer.take(start_ms, stopped.end_ms), stopped.silence_ms, owed=owed)

    def _say_stopped(self, item_id: str, end_ms: float) -> None:
        self._out.append(
            events.InputAudioBufferSpeechStopped(event_id=self._event_id(), item_id=item_id, audio_end_ms=round(end_ms))
        )

    def _commit(self, item_id: str, sound: bytes, silence_ms: float = 0.0, *, owed: bool = False) -> None:
        content = [events.ContentPart(type="input_audio")]
        item = events.Item(
            id=item_id, object="realtime.item", type="message", status="completed", role="user", content=content
        )
        before = self._items.append(item, len(sound) / self._buffer.bytes_per_ms)
        self._out += [
            events.InputAudioBufferCommitted(event_id=self._event_id(), item_id=item_id, previous_item_id=before),
            events.ConversationItemAdded(event_id=self._event_id(), item=item, previous_item_id=before),
            events.ConversationItemDone(event_id=self._event_id(), item=item, previous_item_id=before),
        ]
        unheard_bytes = int(max(0.0, silence_ms - HEARD_SILENCE_MS)) * self._buffer.bytes_per_ms
        self._recognise(item_id, sound[: len(sound) - unheard_bytes], owed=owed)

    # its words

    def _recognise(self, item_id: str, sound: bytes, *, announced: bool = True, owed: bool = False) -> None:
        awaited = Awaited(len(sound) / self._buffer.bytes_per_ms, announced=announced, owed=owed)
        if self._transcriptions.await_words(item_id, awaited):
            self._out.append(work.Recognise(item_id, sound, self._buffer.audio_format))
        else:
            self._recognition_failed(item_id, "Too many utterances are waiting for their words.")

    def _recognised(self, item_id: str, text: str) -> None:
        entry = self._items.find(item_id)
        if entry is not None:
            content = [_with_words(part, text) for part in entry.item.content or []]
            self._items.replace(msgspec.structs.replace(entry.item, content=content))
        told, owed = self._transcriptions.completed(item_id, text, wanted=self._transcribes)
        self._out += told
        if owed and text:
            self._begin_owed_response(item_id)
        if self._response is not None and self._response.waits_for == item_id:
            self._generate(text or self._items.last_question())

    def _recognition_failed(self, item_id: str, message: str) -> None:
        told, owed = self._transcriptions.failed(item_id, message, wanted=self._transcribes)
        self._out += told
        if owed:
            self._begin_owed_response(item_id)
        if self._response is not None and self._response.waits_for == item_id:
            self._fail_response(message)

    def _begin_owed_response(self, item_id: str) -> None:
        if self._response is None:
            self._begin_response(events.ResponseParams(), waits_for=item_id)
        else:
            self._complain(_already_active(self._response))

    @property
    def _transcribes(self) -> bool:
        return input_settings(self.session).transcription is not None

    # the answer

    def _begin_response(self, params: events.ResponseParams, waits_for: str | None) -> None:
        assert self._response is None, "one response at a time writes into the conversation"
        response = events.Response(
            id=self._new_id("resp"),
            status="in_progress",
            conversation_id=self._conversation_id,
            output_modalities=params.output_modalities or self.session.output_modalities,
            max_output_tokens=params.max_output_tokens or self.session.max_output_tokens,
            audio=response_audio(self.session, params),
            metadata=params.metadata,
        )
        self._response = ResponseLife(response, self._new_item_id(), self._items, self._new_id, waits_for)
        self._out += self._response.created()

    def _generate(self, question: str) -> None:
        assert self._response is not None
        self._response.waits_for = None
        self._generating = True
        self._out.append(work.Generate(self._response.id, Ask((Line("user", question),)), self._response.spoken_as))

    def _generated(self, result: work.Generation) -> None:
        response = self._response
        if response is None or response.id != result.response_id:
            return  # it was cancelled meanwhile
        match result:
            case work.GeneratedText():
                self._out += response.words(result.text)
            case work.GeneratedAudio():
                self._spoke = True
                self._out += response.sound(result.sound)
            case work.GenerationEnded():
                self._generating = False
                self._end_response("completed")
            case work.GenerationFailed():
                self._generating = False
                self._fail_response(result.message)
            case _:
                pass
        if self._response is not None and response.over_limit:
            self._end_response("incomplete", "max_output_tokens")

    def _fail_response(self, message: str) -> None:
        self._end_response("failed", error=events.ErrorBody(type="server_error", code="server_error", message=message))

    def _end_response(self, status: Ending, reason: str | None = None, error: events.ErrorBody | None = None) -> None:
        assert self._response is not None
        if self._generating:
            self._out.append(work.StopGenerating(self._response.id))
        self._out += self._response.done(status, reason, error)
        self._generating = False
        self._response = None

    # the end

    def _tick(self, now: float) -> None:
        if now < self._expires_s:
            return
        message = f"Your session hit the maximum duration of {_duration(self._cap_s)}."
        self._complain(ClientEventError("session_expired", message))
        self._out.append(work.Hangup(SESSION_EXPIRED_CODE, message))

    def _complain(self, error: ClientEventError) -> None:
        self._out.append(events.ErrorEvent(event_id=self._event_id(), error=error.body()))

    def _new_item_id(self) -> str:
        """An id no item has: clients name items too, and may name one as we would."""
        while self._items.find(item_id := self._new_id("item")) is not None:
            pass
        return item_id

    def _event_id(self) -> str:
        return self._new_id("event")

    def _taken(self) -> list[Output]:
        out, self._out = self._out, []
        return out


def _already_active(response: ResponseLife) -> ClientEventError:
    message = (
        f"Conversation already has an active response in progress: {response.id}. "
        "Wait until the response is finished before creating a new one."
    )
    return ClientEventError("conversation_already_has_active_response", message)


def _with_words(part: events.ContentPart, text: str) -> events.ContentPart:
    return msgspec.structs.replace(part, transcript=text) if part.type == "input_audio" else part


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} seconds"
