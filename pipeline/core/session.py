"""The session: signals in, effects out. `session_tables` says which state follows which, here is what the cells do."""

from collections.abc import Callable
from random import Random
from typing import Final

import msgspec

from pipeline.core import effects as fx
from pipeline.core.conversation import Conversation
from pipeline.core.latency import Mark, Timeline
from pipeline.core.retry import Backoff
from pipeline.core.service_fault import error_fault, is_benign, response_fault, session_fault
from pipeline.core.session_tables import LINE, SHOWN, TURN, Line, On, Turn
from pipeline.realtime import events as ev
from pipeline.realtime import exchange as ex
from pipeline.vocabulary import signals as sg
from pipeline.vocabulary.errors import Fault, MissingTransitionError, Verdict
from pipeline.vocabulary.settings import RetrySettings

STALL_S: Final = 8.0
"""From the end of speech to the answer's first sound; a session that stays silent longer is replaced (design §6)."""
LAST_WORD_S: Final = 2.0
"""A finite input has ended and nothing happens: so long may the service still find speech in what it was sent."""
LAST_FRAMES_S: Final = 0.1
"""An answered input has ended: so long its last frames may take through the links and onto the wire."""
DRAIN_S: Final = 2.0
"""Longest wait for network to close the socket and render its books."""
SECRETS_REFUSED_MAX: Final = 3
"""So many fresh client secrets refused in a row mean that the key behind them is wrong."""


class SessionPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the session is to do.

    Attributes:
        update: the settings sent to every new session.
        push_to_talk: the talk key decides, not the service's detector.
        hands_free: nobody can press the key (the input is a file): it is held from its start to its last speech sample.
        volume: gain of everything played, 0 to 1.
        connect_deadline_s, configure_deadline_s: how long the two phases of reaching the service may take.
    """

    update: ev.SessionUpdate
    push_to_talk: bool
    hands_free: bool
    volume: float
    connect_deadline_s: float
    configure_deadline_s: float


class Session:
    """Signals in, effects out. `now` is the host clock in s; it never runs backwards.

    Args:
        plan: what to do.
        retry: how to come back after a loss.
        random: the dice of the backoff.
        first_turn: turns are numbered above this: the floor, should an earlier session have raised it.
    """

    def __init__(self, plan: SessionPlan, retry: RetrySettings, random: Random, first_turn: int = 0) -> None:
        self.line, self.turn = Line.IDLE, Turn.QUIET
        self.conversation = Conversation()
        self._plan = plan
        self._backoff = Backoff(retry, random)
        self._now = 0.0
        self._effects: list[fx.Effect] = []
        self._timers: dict[str, float] = {}
        self._generation = 0
        self._was_live = False
        self._fault: Fault | None = None
        self._secrets_refused = 0
        self._secret: sg.Secret | None = None
        self._active_response: str | None = None  # default conversation, not yet done at the service
        self._newest_turn = first_turn
        self._floor = first_turn
        self._sounding_turn = first_turn  # the turn last reported audible
        self._heard_turn = first_turn  # the newest turn heard to its end
        self._key_down = False
        self._speech_seen = False
        self._turns_heard = 0
        self._input_ended = False
        self._speech_end_s: float | None = None
        self._timeline = Timeline()
        self._frames: dict[str, int] = {}
        self._shown: sg.CallState | None = None

    # what the shell calls

    def start(self, now: float) -> list[fx.Effect]:
        """Begin: ask for a client secret."""
        self._now = now
        self._effects.append(fx.ToPlayback(sg.SetVolume(self._plan.volume)))
        self._on_line(On.START)
        return self._settle()

    def deadline(self) -> float | None:
        """When `tick` is due next (host clock)."""
        return min(self._timers.values(), default=None)

    def tick(self, now: float) -> list[fx.Effect]:
        """Time has passed."""
        self._now = now
        for name in [name for name, at in self._timers.items() if at <= now]:
            if self._timers.pop(name, None) is None:
                continue  # an earlier timer of this tick called it off
            if name == "line":
                self._on_line(On.DUE)
            elif name == "answer":
                self._on_turn(On.DUE)
            else:
                assert name == "last_word", "every timer is one of the three"
                self._on_line(On.STOP)
        return self._settle()

    def handle(self, signal: object, now: float) -> list[fx.Effect]:
        """Take one signal of any port in."""
        assert now >= self._now, "the host clock does not run backwards"
        self._now = now
        match signal:
            case ex.Opened() | ex.Received() | ex.ReplyBegan() | ex.ReplyOverflow() | ex.Lost() | ex.Closed():
                if signal.generation == self._generation:
                    self._on_service(signal)
            case sg.TokenGrant() | sg.TokenFailure():
                if signal.attempt == self._generation:
                    self._on_token(signal)
            case sg.Heard():
                self._on_heard(signal)
            case sg.Flushed():
                self._on_flushed(signal)
            case sg.PressTalk() | sg.ReleaseTalk():
                self._on_key(down=isinstance(signal, sg.PressTalk))
            case sg.Stop():
                self._on_line(On.STOP)
            case sg.InputOpened() | sg.InputEnded() | sg.InputFailed() | sg.SpeechEnd():
                self._on_activity(signal)
            case _:
                raise AssertionError(f"{type(signal).__name__} is no signal of the session")
        return self._settle()

    # signals

    def _on_service(self, signal: ex.ServiceSignal) -> None:
        match signal:
            case ex.Opened():
                self._on_line(On.OPENED)
            case ex.Lost():
                self._lose(signal.fault)
            case ex.Closed():
                self._frames = signal.frames
                self._on_line(On.CLOSED)
            case ex.ReplyBegan():
                if signal.turn == self._newest_turn:
                    self._timeline.mark(Mark.FIRST_DELTA, signal.at_s)
            case ex.ReplyOverflow():
                self._on_overflow()
            case ex.Received():
                self._on_event(signal)

    def _on_token(self, signal: sg.Token) -> None:
        if isinstance(signal, sg.TokenFailure):
            self._lose(signal.fault)
            return
        self._secret = signal.secret
        self._on_line(On.GRANTED)

    def _on_event(self, received: ex.Received) -> None:  # noqa: C901, PLR0912 - one flat list: the service's event, then what it means
        match received.event:
            case ev.SessionCreated():
                self._on_line(On.CREATED)
            case ev.SessionUpdated():
                self._on_line(On.UPDATED)
            case ev.ErrorEvent() as event:
                self._on_error(event)
            case ev.InputAudioBufferSpeechStarted() as event:
                self._speech_started(event.item_id)
            case ev.InputAudioBufferSpeechStopped():
                self._timeline.mark(Mark.SPEECH_STOPPED, received.at_s)
                self._on_turn(On.SPEECH_STOPPED)
            case ev.InputAudioBufferCommitted() as event:
                self._committed(event.item_id, received.at_s)
            case ev.InputAudioBufferCleared():
                if not self._key_down:
                    self._on_turn(On.NOTHING_SAID)  # the key was held too briefly to mean anything
            case ev.ResponseCreated() as event:
                self._response_created(event, received)
            case ev.ResponseDone() as event:
                self._response_done(event, received.turn)
            case ev.ConversationItemInputAudioTranscriptionDelta() as event:
                self._publish(self.conversation.add(event.item_id, "user", event.delta or ""))
            case ev.ConversationItemInputAudioTranscriptionCompleted() as event:
                self._publish(self.conversation.finish(event.item_id, "user", event.transcript))
                if not event.transcript.strip() and self._active_response is None:
                    self._on_turn(On.NOTHING_SAID)
            case ev.ResponseOutputAudioTranscriptDelta() as event:
                self._publish(self.conversation.add(event.item_id, "assistant", event.delta))
            case ev.ResponseOutputAudioTranscriptDone() as event:
                self._publish(self.conversation.finish(event.item_id, "assistant", event.transcript))
            case _:
                pass  # acknowledgements and parts whose content arrives elsewhere

    def _on_error(self, event: ev.ErrorEvent) -> None:
        fault = session_fault(event, configuring=self.line is Line.CONFIGURING)
        if fault is not None:
            self._tell(ex.Close(self._generation))
            self._lose(fault)
        elif not is_benign(event):
            self._publish(sg.FaultNotice(error_fault(event), retry_in_s=None))

    def _on_overflow(self) -> None:
        fault = Fault(
            kind="LinkFull", verdict=Verdict.RETRY, cause="reply_overflow",
            message="the answer is longer than link reply may hold, so it was cut off",
        )  # fmt: skip
        self._publish(sg.FaultNotice(fault, retry_in_s=None))
        if self._active_response is not None:
            self._send(ev.ResponseCancel(response_id=self._active_response))
        self._cut_reply()
        self._on_turn(On.HEARD_ALL)

    def _on_heard(self, heard: sg.Heard) -> None:
        if heard.turn < self._floor:
            return
        if heard.audible_s is not None and heard.turn > self._sounding_turn:
            self._sounding_turn = heard.turn
            self._on_turn(On.AUDIBLE)
            self._publish_timeline(heard.turn, heard.audible_s)
        if heard.finished and heard.turn > self._heard_turn:
            self._heard_turn = heard.turn
            self._turns_heard += heard.audible_s is not None
            if heard.turn == self._newest_turn:
                self._on_turn(On.HEARD_ALL)

    def _on_flushed(self, flushed: sg.Flushed) -> None:
        self.conversation.interrupt(flushed.item_id)
        if self.line is not Line.LIVE:
            return
        if flushed.heard_ms < 1:
            self._send(ev.ConversationItemDelete(item_id=flushed.item_id))  # truncating to nothing upsets services
        else:
            self._send(
                ev.ConversationItemTruncate(
                    item_id=flushed.item_id, content_index=flushed.content_index, audio_end_ms=int(flushed.heard_ms)
                )
            )

    def _on_key(self, *, down: bool) -> None:
        if not self._plan.push_to_talk or down == self._key_down or (down and self.line is not Line.LIVE):
            return
        self._key_down = down
        if down:
            self._send(ev.InputAudioBufferClear())
            self._speech_started(None)
        else:
            self._timeline.mark(Mark.SPEECH_STOPPED, self._now)
            self._on_turn(On.SPEECH_STOPPED)
        self._effects.append(fx.ToCapture(sg.Talk(down)))

    def _on_activity(self, signal: sg.Activity) -> None:
        match signal:
            case sg.InputOpened():
                if self._plan.hands_free:
                    self._on_key(down=True)
            case sg.SpeechEnd():
                self._speech_end_s = signal.at_s
                self._timeline.speech_ended(signal.at_s)
                if self._plan.hands_free:
                    self._on_key(down=False)
            case sg.InputEnded():
                self._input_ended = True
                self._on_key(down=False)
            case sg.InputFailed():
                self._fail(signal.fault)

    # speech and answers

    def _speech_started(self, item_id: str | None) -> None:
        if item_id is not None:
            self.conversation.announce(item_id, "user")
        self._speech_seen = True
        self._timeline = Timeline()
        if self._speech_end_s is not None:
            self._timeline.speech_ended(
                self._speech_end_s
            )  # a short word ends before the service has noticed its start
        if self._active_response is not None:
            self._on_turn(On.BARGE_IN)
        else:
            self._on_turn(On.TALK_OVER if self._newest_turn > self._heard_turn else On.SPEECH_STARTED)

    def _committed(self, item_id: str, at_s: float) -> None:
        self.conversation.announce(item_id, "user")
        self._timeline.mark(Mark.COMMITTED, at_s)
        if self._plan.push_to_talk:
            self._send(ev.ResponseCreate())
        self._on_turn(On.SPEECH_STOPPED)

    def _response_created(self, event: ev.ResponseCreated, received: ex.Received) -> None:
        self._active_response = event.response.id
        self._newest_turn = received.turn
        if self._key_down:
            self._on_turn(On.RESPONSE_ORPHANED)
            return
        self._timeline.mark(Mark.RESPONSE_CREATED, received.at_s)
        self._on_turn(On.RESPONSE_CREATED)

    def _response_done(self, event: ev.ResponseDone, turn: int) -> None:
        if event.response.id == self._active_response:
            self._active_response = None
        fault = response_fault(event)
        if fault is not None and turn >= self._floor:
            self._publish(sg.FaultNotice(fault, retry_in_s=None))
        self._on_turn(On.RESPONSE_DONE)

    # actions of the line

    def _nothing(self) -> None:
        """A decision to do nothing."""

    def _ask_token(self) -> None:
        self._generation += 1
        self._backoff.attempt(self._now)
        self._timers["line"] = self._now + self._plan.connect_deadline_s
        self._effects.append(fx.AskToken(sg.TokenAsk(self._generation)))

    def _open_socket(self) -> None:
        assert self._secret is not None, "granted means there is a secret"
        self._timers["line"] = self._now + self._plan.connect_deadline_s
        self._tell(ex.Open(self._generation, self._secret))
        self._secret = None

    def _await_session(self) -> None:
        self._timers["line"] = self._now + self._plan.configure_deadline_s

    def _send_settings(self) -> None:
        self._send(self._plan.update)

    def _go_live(self) -> None:
        self._timers.pop("line", None)
        self._backoff.healthy(self._now)
        self._secrets_refused = 0
        self._tell(ex.Flow(self._generation))
        if not self._was_live:
            self._was_live = True
            self._effects.append(fx.ToCapture(sg.Listen(on=True)))

    def _time_out(self) -> None:
        self._tell(ex.Close(self._generation))
        self._fault = Fault(
            kind="ConnectionLost", verdict=Verdict.RETRY, cause="timeout",
            message="the service did not answer in time; check service.url and the network",
        )  # fmt: skip
        self._back_off()

    def _back_off(self) -> None:
        assert self._fault is not None, "a line is lost for a reason"
        due_s = self._backoff.lost(self._now, self._fault)
        self._timers["line"] = due_s
        self._active_response = None
        self._publish(sg.FaultNotice(self._fault, retry_in_s=round(due_s - self._now, 3)))
        self._on_turn(On.LOST)

    def _hang_up(self) -> None:
        self._timers = {"line": self._now + DRAIN_S}
        self._effects.append(fx.ToCapture(sg.Listen(on=False)))
        self._tell(ex.Close(self._generation))

    def _finish(self) -> None:
        self._timers.clear()
        self._publish(sg.FinishedNotice(turns=self._turns_heard, heard_speech=self._speech_seen, frames=self._frames))
        self._effects.append(fx.Finish(self._fault if self._fault and self._fault.verdict is Verdict.STOP else None))

    # actions of the talk

    def _cut_reply(self) -> None:
        self._timers.pop("answer", None)
        self._floor = self._newest_turn + 1
        self._heard_turn = max(self._heard_turn, self._newest_turn)
        self._effects.append(fx.RaiseFloor(self._floor))
        if self._plan.push_to_talk and self._active_response is not None:
            self._send(ev.ResponseCancel(response_id=self._active_response))  # no detector there does it for us

    def _cancel_orphan(self) -> None:
        assert self._active_response is not None, "an orphan was just created"
        self._cut_reply()

    def _expect_answer(self) -> None:
        self._timers["answer"] = self._now + STALL_S

    def _stop_expecting(self) -> None:
        self._timers.pop("answer", None)

    def _replace_session(self) -> None:
        if self.line is not Line.LIVE:
            return
        self._tell(ex.Close(self._generation))
        message = f"no answer within {STALL_S:.0f} s; the session is replaced"
        self._lose(Fault(kind="ConnectionLost", verdict=Verdict.RETRY, cause="stall", message=message))

    # mechanics

    def _on_line(self, event: On) -> None:
        if (self.line, event) not in LINE:
            raise MissingTransitionError(f"line {self.line}, turn {self.turn}: no cell for {event!s}")
        self.line, action = LINE[self.line, event]
        self._act(action)

    def _on_turn(self, event: On) -> None:
        if (self.turn, event) not in TURN:
            raise MissingTransitionError(f"turn {self.turn}, line {self.line}: no cell for {event!s}")
        self.turn, action = TURN[self.turn, event]
        self._act(action)

    def _act(self, action: str) -> None:
        method: Callable[[], None] = getattr(self, f"_{action}")
        method()  # after the state has changed, so that an action may drive the other machine

    def _lose(self, fault: Fault) -> None:
        if fault.kind == "CredentialExpired":
            self._secrets_refused += 1
            if self._secrets_refused >= SECRETS_REFUSED_MAX:
                fault = msgspec.structs.replace(fault, kind="CredentialRefused", verdict=Verdict.STOP)
        if fault.verdict is Verdict.STOP:
            self._fail(fault)
            return
        self._fault = fault
        self._on_line(On.LOST)

    def _fail(self, fault: Fault) -> None:
        self._publish(sg.FaultNotice(fault, retry_in_s=None))
        if fault.verdict is Verdict.STOP:
            self._fault = fault
            self._on_line(On.STOP)

    def _send(self, event: ev.ClientEvent) -> None:
        self._tell(ex.Send(self._generation, event))

    def _tell(self, intent: ex.Intent) -> None:
        self._effects.append(fx.Tell(intent))

    def _publish(self, notice: sg.AnyNotice | None) -> None:
        if notice is not None:
            self._effects.append(fx.Publish(notice))

    def _publish_timeline(self, turn: int, audible_s: float) -> None:
        self._timeline.mark(Mark.FIRST_AUDIBLE_SAMPLE, audible_s)
        timeline_ms = {mark: round(ms, 1) for mark, ms in self._timeline.timeline_ms().items()}
        self._speech_end_s = None
        if timeline_ms:
            self._publish(sg.TimelineNotice(turn=turn, timeline_ms=timeline_ms))

    def _settle(self) -> list[fx.Effect]:
        self._plan_end()
        shown = self._call_state()
        if shown is not self._shown:
            self._shown = shown
            self._publish(sg.StateNotice(state=shown, at_s=self._now))
        effects, self._effects = self._effects, []
        return effects

    def _plan_end(self) -> None:
        """A finite input ends the call once everything said has been answered and heard."""
        done = (
            self._input_ended
            and self.line is Line.LIVE
            and self.turn is Turn.QUIET
            and self._active_response is None
            and self._heard_turn >= self._newest_turn
        )
        if not done:
            self._timers.pop("last_word", None)
        elif "last_word" not in self._timers:
            self._timers["last_word"] = self._now + (LAST_FRAMES_S if self._turns_heard else LAST_WORD_S)

    def _call_state(self) -> sg.CallState:
        match self.line:
            case Line.LIVE:
                return SHOWN[self.turn]
            case Line.DRAINING | Line.CLOSED:
                stopped = self._fault is not None and self._fault.verdict is Verdict.STOP
                return sg.CallState.ERROR if stopped else sg.CallState.IDLE
            case Line.IDLE:
                return sg.CallState.IDLE
            case _:
                failed = self._was_live or self._backoff.failures > 0
                return sg.CallState.RECONNECTING if failed else sg.CallState.CONNECTING
