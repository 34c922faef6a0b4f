"""The talk over the line: speech, answer, interruption, as a table and its actions."""

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from pipeline.core import effects as fx
from pipeline.core.conversation import Conversation
from pipeline.core.hearing import Hearing
from pipeline.core.latency import Mark, Timeline
from pipeline.core.machine import Desk, Machine
from pipeline.core.service_fault import response_fault
from pipeline.realtime import events as ev
from pipeline.realtime import exchange as ex
from pipeline.vocabulary import signals as sg
from pipeline.vocabulary.errors import Fault, Verdict

STALL_S: Final = 8.0
"""From the end of speech to the answer's first sound; a session that stays silent longer is replaced (design §6)."""

GAP_S: Final = 3.0
"""Between two pieces of an answer's sound; a session that stays silent longer in the middle is replaced (design §6)."""
FAILED_MAX: Final = 2
"""So many failed answers of one session ..."""
FAILED_WINDOW_S: Final = 60.0
"""... within this long mean that it is poisoned: only another session helps (design §6)."""


class Turn(StrEnum):
    """States of the talk."""

    QUIET = "quiet"
    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"
    INTERRUPTED = "interrupted"


class On(StrEnum):
    """What happens to the talk."""

    LOST = "lost"
    DUE = "time is up"
    STALLED = "answer broke off"
    SPEECH_STARTED = "speech started"
    TALK_OVER = "speech over sound already received"
    BARGE_IN = "speech over a running response"
    SPEECH_STOPPED = "speech stopped"
    NOTHING_SAID = "nothing said"
    RESPONSE_CREATED = "response created"
    RESPONSE_ORPHANED = "response nobody waits for"
    RESPONSE_DONE = "response done"
    AUDIBLE = "first sound heard"
    HEARD_ALL = "all heard"


T = Turn
TURN: Final[dict[tuple[Turn, On], tuple[Turn, str]]] = {
    (T.QUIET, On.SPEECH_STARTED): (T.LISTENING, "nothing"),
    (T.QUIET, On.TALK_OVER): (T.LISTENING, "cut_reply"),
    (T.QUIET, On.BARGE_IN): (T.INTERRUPTED, "cut_reply"),
    (T.QUIET, On.SPEECH_STOPPED): (T.QUIET, "nothing"),  # the start was said to a session that is gone
    (T.QUIET, On.NOTHING_SAID): (T.QUIET, "nothing"),
    (T.QUIET, On.RESPONSE_CREATED): (T.THINKING, "expect_answer"),  # the service speaks up by itself
    (T.QUIET, On.RESPONSE_ORPHANED): (T.QUIET, "cut_reply"),
    (T.QUIET, On.RESPONSE_DONE): (T.QUIET, "nothing"),
    (T.QUIET, On.AUDIBLE): (T.SPEAKING, "nothing"),  # the line broke after the answer had arrived
    (T.QUIET, On.HEARD_ALL): (T.QUIET, "nothing"),
    (T.QUIET, On.STALLED): (T.QUIET, "break_off"),
    (T.QUIET, On.LOST): (T.QUIET, "nothing"),
    (T.LISTENING, On.SPEECH_STARTED): (T.LISTENING, "nothing"),  # said twice
    (T.LISTENING, On.TALK_OVER): (T.LISTENING, "cut_reply"),
    (T.LISTENING, On.BARGE_IN): (T.INTERRUPTED, "cut_reply"),
    (T.LISTENING, On.SPEECH_STOPPED): (T.THINKING, "expect_answer"),
    (T.LISTENING, On.NOTHING_SAID): (T.QUIET, "nothing"),
    (T.LISTENING, On.RESPONSE_CREATED): (T.THINKING, "expect_answer"),  # not every service says that speech stopped
    (T.LISTENING, On.RESPONSE_ORPHANED): (T.LISTENING, "cut_reply"),
    (T.LISTENING, On.RESPONSE_DONE): (T.LISTENING, "nothing"),
    (T.LISTENING, On.AUDIBLE): (T.LISTENING, "nothing"),
    (T.LISTENING, On.HEARD_ALL): (T.LISTENING, "nothing"),
    (T.LISTENING, On.STALLED): (T.LISTENING, "nothing"),  # nobody wants it any more
    (T.LISTENING, On.LOST): (T.QUIET, "nothing"),
    (T.THINKING, On.SPEECH_STARTED): (T.LISTENING, "stop_expecting"),
    (T.THINKING, On.TALK_OVER): (T.LISTENING, "cut_reply"),
    (T.THINKING, On.BARGE_IN): (T.INTERRUPTED, "cut_reply"),
    (T.THINKING, On.SPEECH_STOPPED): (T.THINKING, "nothing"),  # `stopped`, then `committed`
    (T.THINKING, On.NOTHING_SAID): (T.QUIET, "stop_expecting"),
    (T.THINKING, On.RESPONSE_CREATED): (T.THINKING, "expect_answer"),
    (T.THINKING, On.RESPONSE_ORPHANED): (T.THINKING, "cut_reply"),
    (T.THINKING, On.RESPONSE_DONE): (T.THINKING, "nothing"),  # its sound is still on the way; `heard` ends the turn
    (T.THINKING, On.AUDIBLE): (T.SPEAKING, "stop_expecting"),
    (T.THINKING, On.HEARD_ALL): (T.QUIET, "stop_expecting"),  # an answer without sound
    (T.THINKING, On.DUE): (T.QUIET, "give_up"),
    (T.THINKING, On.STALLED): (T.THINKING, "break_off"),  # what has come of it may still become audible
    (T.THINKING, On.LOST): (T.QUIET, "stop_expecting"),
    (T.SPEAKING, On.SPEECH_STARTED): (T.LISTENING, "cut_reply"),
    (T.SPEAKING, On.TALK_OVER): (T.LISTENING, "cut_reply"),
    (T.SPEAKING, On.BARGE_IN): (T.INTERRUPTED, "cut_reply"),
    (T.SPEAKING, On.SPEECH_STOPPED): (T.SPEAKING, "nothing"),
    (T.SPEAKING, On.NOTHING_SAID): (T.SPEAKING, "nothing"),
    (T.SPEAKING, On.RESPONSE_CREATED): (T.SPEAKING, "nothing"),  # a second response queues behind the first
    (T.SPEAKING, On.RESPONSE_ORPHANED): (T.SPEAKING, "cut_reply"),
    (T.SPEAKING, On.RESPONSE_DONE): (T.SPEAKING, "nothing"),
    (T.SPEAKING, On.AUDIBLE): (T.SPEAKING, "nothing"),
    (T.SPEAKING, On.HEARD_ALL): (T.QUIET, "nothing"),
    (T.SPEAKING, On.STALLED): (T.SPEAKING, "break_off"),
    (T.SPEAKING, On.LOST): (T.SPEAKING, "nothing"),  # what has arrived plays out and can still be talked over
    (T.INTERRUPTED, On.SPEECH_STARTED): (T.INTERRUPTED, "nothing"),
    (T.INTERRUPTED, On.TALK_OVER): (T.INTERRUPTED, "nothing"),
    (T.INTERRUPTED, On.BARGE_IN): (T.INTERRUPTED, "nothing"),
    (T.INTERRUPTED, On.SPEECH_STOPPED): (T.THINKING, "expect_answer"),
    (T.INTERRUPTED, On.NOTHING_SAID): (T.QUIET, "nothing"),
    (T.INTERRUPTED, On.RESPONSE_CREATED): (T.THINKING, "expect_answer"),
    (T.INTERRUPTED, On.RESPONSE_ORPHANED): (T.INTERRUPTED, "cut_reply"),
    (T.INTERRUPTED, On.RESPONSE_DONE): (T.LISTENING, "nothing"),  # the cancelled response is confirmed gone
    (T.INTERRUPTED, On.AUDIBLE): (T.INTERRUPTED, "nothing"),
    (T.INTERRUPTED, On.HEARD_ALL): (T.INTERRUPTED, "nothing"),
    (T.INTERRUPTED, On.STALLED): (T.INTERRUPTED, "nothing"),
    (T.INTERRUPTED, On.LOST): (T.QUIET, "nothing"),
}
"""(state, event) → (next state, action)"""


class TurnMachine(Machine[Turn, On]):
    """Follows who speaks and what has been heard of it.

    Args:
        desk: where effects go.
        push_to_talk: the talk key decides, not the service's detector.
        first_turn: turns are numbered above this.
        on_stall: told when an answer does not come, breaks off or fails again, or nothing that is said is heard.
    """

    def __init__(self, desk: Desk, *, push_to_talk: bool, first_turn: int, on_stall: Callable[[Fault], None]) -> None:
        super().__init__("turn", TURN, Turn.QUIET, desk)
        self.conversation = Conversation()
        self.speech_seen = False
        self.turns_heard = 0
        self._push_to_talk = push_to_talk
        self._on_stall = on_stall
        self._active_response: str | None = None  # default conversation, not yet done at the service
        self._newest_turn = first_turn
        self._floor = first_turn
        self._foreign_turn = first_turn  # the newest turn of a session that is gone: its items are unknown now
        self._sounding_turn = first_turn  # the newest turn reported audible
        self._heard_turn = first_turn  # the newest turn heard to its end, or cut
        self._last_heard: sg.Heard | None = None
        self._key_down = False
        self._speech_end_s: float | None = None
        self._timeline = Timeline()
        self._failed_s: deque[float] = deque(maxlen=FAILED_MAX)  # of this session
        self._hearing = Hearing()

    @property
    def is_over(self) -> bool:
        """Whether nobody speaks and nothing that was answered is still to be heard."""
        heard_all = self._heard_turn >= self._newest_turn
        return self.state is Turn.QUIET and self._active_response is None and heard_all

    # what happens to it

    def take_event(self, received: ex.Received) -> None:
        """The service said something about speech or an answer; acknowledgements of other kinds mean nothing here."""
        match received.event:
            case ev.InputAudioBufferSpeechStarted(item_id=item_id):
                self._note_heard()
                self.conversation.announce(item_id, "user")
                self._start_speech()
            case ev.InputAudioBufferSpeechStopped():
                self._timeline.mark(Mark.SPEECH_STOPPED, received.at_s)
                self.on(On.SPEECH_STOPPED)
            case ev.InputAudioBufferCommitted() as event:
                self._commit(event.item_id, received.at_s)
            case ev.InputAudioBufferCleared() if not self._key_down:
                self.on(On.NOTHING_SAID)  # the key was held too briefly to mean anything
            case ev.ResponseCreated() as event:
                self._begin_response(event, received)
            case ev.ResponseDone() as event:
                self._end_response(event, received.turn)
            case event:
                self._take_words(event)

    def take_voice(self, voice: sg.VoiceBegan | sg.VoiceEnded, *, is_live: bool) -> None:
        """The local detector's opinion: what it hears while all is quiet, the service has to hear too."""
        if self._push_to_talk or not is_live or self.state is not Turn.QUIET:
            return
        match voice:
            case sg.VoiceBegan(at_s):
                self._hearing.voice_began(at_s)
            case sg.VoiceEnded(at_s):
                if self._hearing.voice_ended(at_s) and "hearing" not in self.desk.timers:
                    self.desk.set_timer("hearing", STALL_S)

    def miss_voice(self) -> None:
        """The service has had its time to hear what was said."""
        if self._hearing.give_up():
            message = "the service hears nothing of what is said; the session is replaced"
            self._on_stall(Fault(kind="ConnectionLost", verdict=Verdict.RETRY, cause="unheard", message=message))

    def take_first_delta(self, began: ex.ReplyBegan) -> None:
        """The first sound of an answer arrived."""
        if began.turn == self._newest_turn:
            self.desk.drop_timer("answer")  # it comes, however quietly
            self._timeline.mark(Mark.FIRST_DELTA, began.at_s)

    def take_stall(self, turn: int) -> None:
        """The sound of an answer broke off. One that was talked over may end as it likes."""
        if turn >= self._floor:
            self.on(On.STALLED)

    def take_overflow(self) -> None:
        """The answer is longer than can be held: it ends here."""
        message = "the answer is longer than link reply may hold, so it was cut off"
        fault = Fault(kind="LinkFull", verdict=Verdict.RETRY, cause="reply_overflow", message=message)
        self.desk.publish(sg.FaultNotice(fault, retry_in_s=None))
        if self._active_response is not None and not self._push_to_talk:  # else the cut itself cancels
            self.desk.send(ev.ResponseCancel(response_id=self._active_response))
        self._cut_reply()
        self.on(On.HEARD_ALL)

    def take_heard(self, heard: sg.Heard) -> bool:
        """The listener is so far; what is below the floor is nobody's business any more.

        Returns whether that decided anything: mostly only the position is new.
        """
        if heard.turn < self._floor:
            return False
        self._last_heard = heard
        decided = False
        if heard.audible_s is not None and heard.turn > self._sounding_turn:
            decided = True
            self._sounding_turn = heard.turn
            self.on(On.AUDIBLE)
            self._publish_timeline(heard.turn, heard.audible_s)
        if heard.finished and heard.turn > self._heard_turn:
            decided = True
            self._heard_turn = heard.turn
            self.turns_heard += heard.audible_s is not None
            if heard.turn == self._newest_turn:
                self.on(On.HEARD_ALL)
        return decided

    def take_flushed(self, flushed: sg.Flushed, *, is_live: bool) -> None:
        """An answer was cut off: the service's history shall hold only what was heard."""
        self.conversation.interrupt(flushed.item_id)
        item, part, end_ms = flushed.item_id, flushed.content_index, int(flushed.heard_ms)
        if not is_live or not item or flushed.turn <= self._foreign_turn:
            return
        if end_ms == 0:
            self.desk.send(ev.ConversationItemDelete(item_id=item))  # truncating to nothing upsets services
        else:
            self.desk.send(ev.ConversationItemTruncate(item_id=item, content_index=part, audio_end_ms=end_ms))

    def lose_loudspeaker(self, *, is_live: bool) -> None:
        """The loudspeaker was opened afresh: an answer it was playing ends as if interrupted where last heard."""
        if self._newest_turn <= self._heard_turn:
            return
        last = self._last_heard
        if last is not None and last.turn == self._newest_turn:
            self.take_flushed(sg.Flushed(last.turn, last.item_id, last.content_index, last.heard_ms), is_live=is_live)
        self._cut_reply()
        self.on(On.HEARD_ALL)

    def press_key(self, *, is_live: bool) -> bool:
        """Push-to-talk down: whatever sounds stops, and what is said from now on counts. False if that cannot be."""
        if not self._push_to_talk or self._key_down or not is_live:
            return False
        self._key_down = True
        self._speech_end_s = None  # of speech that no key let through
        self.desk.send(ev.InputAudioBufferClear())
        self._start_speech()
        self.desk.decide(fx.ToCapture(sg.Talk(on=True)))
        return True

    def hold_key(self) -> None:
        """Capture has started again: the key is as it was."""
        if self._key_down:
            self.desk.decide(fx.ToCapture(sg.Talk(on=True)))

    def release_key(self) -> None:
        """Push-to-talk up. The last frame carries the end, so network commits after it."""
        if not self._key_down:
            return
        self._key_down = False
        self._timeline.mark(Mark.SPEECH_STOPPED, self.desk.now)
        self.on(On.SPEECH_STOPPED)
        self.desk.decide(fx.ToCapture(sg.Talk(on=False)))

    def drop_speech(self, *, is_live: bool) -> None:
        """The microphone is being closed: what was just being said is not answered, and a held key is up."""
        self._hearing.forget()
        if self._key_down:
            self._key_down = False
            self.desk.decide(fx.ToCapture(sg.Talk(on=False)))
        if is_live and self.state in {Turn.LISTENING, Turn.INTERRUPTED}:
            self.desk.send(ev.InputAudioBufferClear())  # its echo ends the listening

    def end_speech(self, at_s: float) -> None:
        """The last speech sample of a known input passed: zero of the timeline."""
        self._speech_end_s = at_s
        self._timeline.speech_ended(at_s)

    def lose_line(self) -> None:
        """The service is gone; what it has sent plays out."""
        self._active_response = None
        self._failed_s.clear()
        self._hearing.forget()
        self.desk.drop_timer("hearing")
        self._foreign_turn = self._newest_turn
        self.on(On.LOST)

    # speech and answers

    def _note_heard(self) -> None:
        self._hearing.heard()
        self.desk.drop_timer("hearing")

    def _start_speech(self) -> None:
        self.speech_seen = True
        self._timeline = Timeline()
        if self._speech_end_s is not None:  # a short word ends before the service has noticed its start
            self._timeline.speech_ended(self._speech_end_s)
        if self._active_response is not None:
            self.on(On.BARGE_IN)
        else:
            self.on(On.TALK_OVER if self._newest_turn > self._heard_turn else On.SPEECH_STARTED)

    def _commit(self, item_id: str, at_s: float) -> None:
        self._note_heard()
        self.conversation.announce(item_id, "user")
        self._timeline.mark(Mark.COMMITTED, at_s)
        if self._push_to_talk:
            self.desk.send(ev.ResponseCreate())
        self.on(On.SPEECH_STOPPED)

    def _begin_response(self, event: ev.ResponseCreated, received: ex.Received) -> None:
        self._note_heard()  # not every service says when it begins to hear somebody
        self._active_response = event.response.id
        self._newest_turn = received.turn
        if self._key_down:
            self.on(On.RESPONSE_ORPHANED)
            return
        self._timeline.mark(Mark.RESPONSE_CREATED, received.at_s)
        self.on(On.RESPONSE_CREATED)

    def _end_response(self, event: ev.ResponseDone, turn: int) -> None:
        was_active = event.response.id == self._active_response
        if was_active:
            self._active_response = None
        fault = response_fault(event)
        if fault is not None and turn >= self._floor:
            self.desk.publish(sg.FaultNotice(fault, retry_in_s=None))
        self.on(On.RESPONSE_DONE)
        if was_active and event.response.status == "failed":
            self._count_failure()

    def _count_failure(self) -> None:
        """One failed answer is the service's business; two in a minute mean that this session answers no more."""
        self._failed_s.append(self.desk.now)
        if len(self._failed_s) == FAILED_MAX and self.desk.now - self._failed_s[0] <= FAILED_WINDOW_S:
            message = f"{FAILED_MAX} answers failed within {FAILED_WINDOW_S:.0f} s; the session is replaced"
            self._on_stall(Fault(kind="ConnectionLost", verdict=Verdict.RETRY, cause="poisoned", message=message))

    def _take_words(self, event: ev.ServerEvent) -> None:
        words = self.conversation
        match event:
            case ev.ConversationItemInputAudioTranscriptionDelta():
                self.desk.publish(words.add(event.item_id, "user", event.delta or ""))
            case ev.ConversationItemInputAudioTranscriptionCompleted():
                self.desk.publish(words.finish(event.item_id, "user", event.transcript))
                if not event.transcript.strip() and self._active_response is None:
                    self.on(On.NOTHING_SAID)
            case ev.ResponseOutputAudioTranscriptDelta():
                self.desk.publish(words.add(event.item_id, "assistant", event.delta))
            case ev.ResponseOutputAudioTranscriptDone():
                self.desk.publish(words.finish(event.item_id, "assistant", event.transcript))

    def _publish_timeline(self, turn: int, audible_s: float) -> None:
        self._timeline.mark(Mark.FIRST_AUDIBLE_SAMPLE, audible_s)
        self._speech_end_s = None
        timeline_ms = {mark: round(ms, 1) for mark, ms in self._timeline.timeline_ms().items()}
        if timeline_ms:
            self.desk.publish(sg.TimelineNotice(turn=turn, timeline_ms=timeline_ms))

    # actions

    def _cut_reply(self) -> None:
        self.desk.drop_timer("answer")
        self._floor = self._newest_turn + 1
        self._heard_turn = max(self._heard_turn, self._newest_turn)
        self.desk.decide(fx.RaiseFloor(self._floor))
        if self._push_to_talk and self._active_response is not None:  # no detector at the service does it for us
            self.desk.send(ev.ResponseCancel(response_id=self._active_response))

    def _expect_answer(self) -> None:
        self.desk.set_timer("answer", STALL_S)

    def _stop_expecting(self) -> None:
        self.desk.drop_timer("answer")

    def _give_up(self) -> None:
        message = f"no answer within {STALL_S:.0f} s; the session is replaced"
        self._on_stall(Fault(kind="ConnectionLost", verdict=Verdict.RETRY, cause="stall", message=message))

    def _break_off(self) -> None:
        message = f"the answer broke off and nothing of it came for {GAP_S:.0f} s; the session is replaced"
        self._on_stall(Fault(kind="ConnectionLost", verdict=Verdict.RETRY, cause="stall", message=message))
