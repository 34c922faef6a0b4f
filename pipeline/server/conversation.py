"""One Realtime session, decided in pure code: client events and results of work in, server events and effects out.

It knows no socket, no engine, no clock (`now` is an argument). `session.py` performs what it asks for.

A turn: append → Detect → Heard → speech_started … a pause → Recognise … speech_stopped, committed → Recognised → its
words serve the transcription events and the answer → Generate → words, sound and calls of the response.

The response to a detected turn begins when its words are known. If there are none (a cough, a door), the transcription
completes empty and no response is made: an answer to noise would be nonsense. `response.create` is always obeyed.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from pipeline.realtime import events
from pipeline.realtime.codec import ClientEventError
from pipeline.server import work
from pipeline.server.answers import Answers
from pipeline.server.audio_format import bytes_per_ms
from pipeline.server.desk import Desk, Output
from pipeline.server.listening import Listening
from pipeline.server.new_item import accepted_item
from pipeline.server.rate_limit import RateLimit
from pipeline.server.session_settings import check_response, input_format, shown, turn_detection, updated
from pipeline.server.tool_servers import ToolServers
from pipeline.server.transcriptions import Settled, Transcriptions

SESSION_EXPIRED_CODE: Final = 1001


class Conversation:
    """State of one session. `now` is in s on any clock that does not run backwards.

    Args:
        session: its settings at the beginning, with id and `expires_at`.
        new_id: makes a fresh id from a prefix ("item" → "item_…").
        expires_s: `now` at which the session has lived long enough.
        cap_s: how long that is, for the farewell.
        tokens_per_minute: how much its responses may read and say.
    """

    def __init__(
        self,
        session: events.Session,
        new_id: Callable[[str], str],
        *,
        expires_s: float,
        cap_s: float,
        tokens_per_minute: int,
    ) -> None:
        self._desk = Desk(session, new_id)
        self._expires_s = expires_s
        self._cap_s = cap_s
        self._transcriptions = Transcriptions(self._desk)
        rate_limit = RateLimit(tokens_per_minute, expires_s - cap_s)
        self._servers = ToolServers(self._desk)
        self._answers = Answers(self._desk, rate_limit, self._servers, on_rest=self._rest)
        self._listening = Listening(
            self._desk, self._transcriptions, on_speech=self._speech_started, on_settled=self._settled
        )

    @property
    def session(self) -> events.Session:
        """The settings in force."""
        return self._desk.session

    def open(self, now: float) -> list[Output]:
        """The session begins."""
        self._desk.now = now
        self._listening.restart()
        self._desk.put(events.SessionCreated(event_id=self._desk.event_id(), session=shown(self.session)))
        self._servers.ask(self.session.tools or ())
        return self._desk.taken()

    def next_deadline_s(self) -> float:
        """When to hand in the next `Tick`; may be earlier after any input."""
        return min(self._expires_s, self._listening.idle_at_s)

    def refuse(self, error: ClientEventError) -> list[Output]:
        """Tell the client what was wrong with its message; the session goes on."""
        self._desk.complain(error)
        return self._desk.taken()

    def receive(self, event: events.ClientEvent, now: float) -> list[Output]:
        """Do what the client asks, or tell it why not."""
        assert not self._desk.out, "outputs are taken after every input"
        self._desk.now = now
        try:
            self._obey(event)
        except ClientEventError as error:
            assert not self._desk.out, "a refused event changes nothing"
            return self.refuse(ClientEventError(error.code, error.message, error.param, event.event_id))
        return self._desk.taken()

    def work_done(self, result: work.Result, now: float) -> list[Output]:
        """Go on with what the shell has found out."""
        assert not self._desk.out, "outputs are taken after every input"
        self._desk.now = now
        match result:
            case work.Heard():
                self._listening.hear(result)
            case work.Recognised() | work.RecognitionFailed():
                settled = self._transcriptions.settle(result)
                if settled is not None:
                    self._settled(settled)
            case work.Tick():
                self._tick(now)
            case work.ToolsListed() | work.ListingFailed():
                self._answers.tools_known(result)
            case work.ToolAnswered() | work.ToolFailed():
                self._answers.tool_answered(result)
            case _:
                self._answers.take(result)
        return self._desk.taken()

    # what the client asks

    def _obey(self, event: events.ClientEvent) -> None:
        match event:
            case events.InputAudioBufferAppend():
                self._listening.append(event.audio)
            case events.InputAudioBufferCommit():
                self._listening.commit()
            case events.InputAudioBufferClear():
                self._listening.clear()
            case events.SessionUpdate():
                self._update(event.session)
            case events.ResponseCreate() | events.ResponseCancel():
                self._obey_about_responses(event)
            case _:
                self._obey_about_items(event)

    def _obey_about_responses(self, event: events.ResponseCreate | events.ResponseCancel) -> None:
        if self.session.type == "transcription":
            message = f"'{event.type}' is not allowed in a transcription session."
            raise ClientEventError("invalid_value", message, "type")
        match event:
            case events.ResponseCreate():
                self._create_response(event.response or events.ResponseParams())
            case events.ResponseCancel():
                self._answers.cancel(event.response_id)

    def _obey_about_items(
        self,
        event: events.ConversationItemCreate
        | events.ConversationItemRetrieve
        | events.ConversationItemTruncate
        | events.ConversationItemDelete,
    ) -> None:
        event_id = self._desk.event_id
        match event:
            case events.ConversationItemCreate():
                self._create_item(event)
            case events.ConversationItemRetrieve():
                self._retrieve_item(event.item_id)
            case events.ConversationItemTruncate(item_id=item_id, content_index=index, audio_end_ms=end_ms):
                self._desk.items.truncate(item_id, index, end_ms)
                self._desk.put(
                    events.ConversationItemTruncated(
                        event_id=event_id(), item_id=item_id, content_index=index, audio_end_ms=end_ms
                    )
                )
            case events.ConversationItemDelete(item_id=item_id):
                self._desk.items.remove(item_id)
                self._desk.put(events.ConversationItemDeleted(event_id=event_id(), item_id=item_id))

    def _update(self, update: events.Session) -> None:
        before = self.session
        after = updated(before, update, voice_locked=self._answers.spoke)
        self._servers.check(update.tools or ())
        self._desk.session = after
        self._listening.use_settings(before)
        self._desk.put(events.SessionUpdated(event_id=self._desk.event_id(), session=shown(self.session)))
        self._servers.ask(update.tools or ())

    def _create_item(self, event: events.ConversationItemCreate) -> None:
        audio_format = input_format(self.session)
        requests = self._answers.approvals.open_requests
        item, sound, has_words = accepted_item(event.item, self._desk.items, self._desk.new_id, audio_format, requests)
        assert item.id
        if item.id == self._listening.turn_item_id:
            message = f"Error adding item: an item with id '{item.id}' already exists."
            raise ClientEventError("item_create_duplicate_item_id", message)
        before = self._desk.items.insert(item, event.previous_item_id)
        event_id = self._desk.event_id
        self._desk.put(
            events.ConversationItemAdded(event_id=event_id(), item=item, previous_item_id=before),
            events.ConversationItemDone(event_id=event_id(), item=item, previous_item_id=before),
        )
        self._listening.be_busy()
        if sound:
            self._desk.items.add_sound(item.id, sound, bytes_per_ms(audio_format))
        if sound and not has_words:
            settled = self._transcriptions.await_words(item.id, sound, audio_format, announced=False)
            if settled is not None:
                self._settled(settled)
        if item.type == "mcp_approval_response":
            self._answers.approvals.decide(item)
            self._call_approved()

    def _retrieve_item(self, item_id: str) -> None:
        entry = self._desk.items.find(item_id)
        if entry is None:
            message = f"Error retrieving item: the item with id '{item_id}' does not exist."
            raise ClientEventError("item_retrieve_invalid_item_id", message, "item_id")
        self._desk.put(events.ConversationItemRetrieved(event_id=self._desk.event_id(), item=entry.with_sound()))

    def _create_response(self, params: events.ResponseParams) -> None:
        check_response(self.session, params)
        self._answers.create(params, self._transcriptions.awaited)
        if params.conversation != "none":
            self._transcriptions.owe_nothing()  # what they were owed is this response
            self._listening.be_busy()

    # how the halves meet

    def _speech_started(self) -> None:
        settings = turn_detection(self.session)
        if settings is not None and settings.interrupt_response:
            self._transcriptions.owe_nothing()
            self._answers.interrupt()

    def _settled(self, settled: Settled) -> None:
        item_id, words, failure, owed = settled
        entry = self._desk.items.find(item_id)
        if words is not None and entry is not None:
            content = [_with_words(part, words) for part in entry.item.content or []]
            self._desk.items.replace(msgspec.structs.replace(entry.item, content=content))
        if owed and words != "":
            try:
                self._answers.create(events.ResponseParams(), [*self._transcriptions.awaited, item_id])
            except ClientEventError as taken:  # the user's turn ended during a reply that was not to be interrupted
                self._desk.complain(taken)
        if words is None:
            self._answers.words_lost(item_id, failure)
        else:
            self._answers.words_known(item_id)

    def _rest(self, from_s: float) -> None:
        """The conversation's own response is done; its sound ends at this moment."""
        self._listening.be_idle(from_s)
        self._call_approved()

    def _call_approved(self) -> None:
        """Calls that were approved are made by the next response: by one of their own, if nobody is speaking."""
        if self._answers.approvals.any_approved and self._answers.main is None and not self._listening.turn_item_id:
            self._answers.create(events.ResponseParams(), self._transcriptions.awaited)
            self._listening.be_busy()

    def _tick(self, now: float) -> None:
        if now >= self._listening.idle_at_s:
            self._listening.time_out()
            self._answers.create(events.ResponseParams(), self._transcriptions.awaited)
        if now >= self._expires_s:
            message = f"Your session hit the maximum duration of {_duration(self._cap_s)}."
            self._desk.complain(ClientEventError("session_expired", message))
            self._desk.put(work.Hangup(SESSION_EXPIRED_CODE, message))


def _with_words(part: events.ContentPart, text: str) -> events.ContentPart:
    return msgspec.structs.replace(part, transcript=text) if part.type == "input_audio" else part


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} seconds"
