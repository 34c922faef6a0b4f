"""The session: signals in, effects out. Two coupled machines: the line (`core/line`), the talk over it (`core/turn`).

The coupling is two arrows: a lost line is told to the talk, and answers that do not come cost the line.
"""

import math
from random import Random
from typing import Final

import msgspec

from pipeline.core import effects as fx
from pipeline.core import line as ln
from pipeline.core import turn as tn
from pipeline.core.devices import Devices
from pipeline.core.glitches import lost_sound
from pipeline.core.line import Line, LineMachine
from pipeline.core.machine import Desk
from pipeline.core.retry import Backoff
from pipeline.core.turn import Turn, TurnMachine
from pipeline.realtime import events as ev
from pipeline.realtime import exchange as ex
from pipeline.realtime.session_config import session_update
from pipeline.vocabulary import signals as sg
from pipeline.vocabulary.control import DeviceState, SessionStatus
from pipeline.vocabulary.errors import Fault, Verdict
from pipeline.vocabulary.settings import RetrySettings, ServiceSettings, Settings

LAST_WORD_S: Final = 2.0
"""A finite input has ended and nothing happens: so long may the service still find speech in what it was sent."""
LAST_FRAMES_S: Final = 0.1
"""An answered input has ended: so long its last frames may take through the links and onto the wire."""
OPEN_AGAIN_S: Final = 0.25
"""Between two openings of the microphone by hand (unmute, or the talk key). However fast somebody hammers on that, what
is asked last comes about, closing always at once, and the links to capture and network carry a few words a second."""

SHOWN: Final = {
    Turn.QUIET: sg.CallState.LISTENING,
    Turn.LISTENING: sg.CallState.USER_SPEAKING,
    Turn.INTERRUPTED: sg.CallState.USER_SPEAKING,
    Turn.THINKING: sg.CallState.THINKING,
    Turn.SPEAKING: sg.CallState.SPEAKING,
}
"""The talk as people are told it, while the line is live."""
OF_THE_USER: Final = {sg.CallState.LISTENING, sg.CallState.USER_SPEAKING}
"""What a closed microphone makes impossible: `muted` is shown instead, but an answer that still sounds is shown."""


class SessionPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the session is to do.

    Attributes:
        update: the settings sent to every new session.
        push_to_talk: the talk key decides, not the service's detector.
        hands_free: nobody can press the key (the input is a file): it is held from its start to its last speech sample.
        volume: gain of everything played, 0 to 1.
        service: how long each phase of reaching it may take.
        retry: how to come back after a loss.
    """

    update: ev.SessionUpdate
    push_to_talk: bool
    hands_free: bool
    volume: float
    service: ServiceSettings
    retry: RetrySettings


class Session:
    """Signals in, effects out. `now` is the host clock in s; it never runs backwards.

    Args:
        plan: what to do.
        random: the dice of the backoff.
        devices: what an earlier session knew of them.
        first_turn: turns are numbered above this: an earlier session may have had some.
        first_generation: connection attempts are numbered above this, for the same reason.
    """

    def __init__(
        self, plan: SessionPlan, random: Random, devices: Devices, first_turn: int = 0, first_generation: int = 0
    ) -> None:
        self._plan = plan
        self._devices = devices
        self._desk = Desk(first_generation)
        backoff = Backoff(plan.retry, random)
        self.line = LineMachine(self._desk, plan.update, plan.service, backoff, self._on_lost)
        self.line.was_live = devices.listening  # an earlier session was: the microphone stays open meanwhile
        self.turn = TurnMachine(
            self._desk, push_to_talk=plan.push_to_talk, first_turn=first_turn, on_stall=self._on_stall
        )
        self._opened_s = {"unmute": -math.inf, "press": -math.inf}  # by hand, and when last
        self._input_ended_s: float | None = None
        self._shown: sg.CallState | None = None
        self._shown_since_s = 0.0

    def start(self, now: float) -> list[fx.Effect]:
        """Begin: ask for a client secret."""
        self._desk.now = now
        self.line.on(ln.On.START)
        return self._settle()

    def status(self, now: float) -> SessionStatus:
        """How the call stands."""
        line = self.line
        return SessionStatus(
            state=self._call_state(),
            state_age_s=now - self._shown_since_s,
            line=line.state,
            turn=self.turn.state,
            generation=self._desk.generation,
            live_age_s=now - line.live_since_s if line.is_live else None,
            expires_at=line.expires_at,
            turns_heard=self.turn.turns_heard,
            muted=self._devices.muted,
            push_to_talk=self._plan.push_to_talk,
            fault=line.fault.message if line.fault else "",
        )

    def deadline(self) -> float | None:
        """When `tick` is due next (host clock)."""
        return min(self._desk.timers.values(), default=None)

    def tick(self, now: float) -> list[fx.Effect]:
        """Time has passed."""
        self._desk.now = now
        for name in [name for name, at in self._desk.timers.items() if at <= now]:
            if self._desk.timers.pop(name, None) is None:
                continue  # an earlier timer of this tick called it off
            match name:
                case "line":
                    self.line.on(ln.On.DUE)
                case "answer":
                    self.turn.on(tn.On.DUE)
                case "hearing":
                    self.turn.miss_voice()
                case "last_word":
                    self.line.on(ln.On.STOP)
                case "unmute":
                    self._unmute()
                case "press":
                    self._press()
        return self._settle()

    def handle(self, signal: object, now: float) -> list[fx.Effect]:
        """Take one signal of any port in. Those of an older connection attempt mean nothing."""
        assert now >= self._desk.now, "the host clock does not run backwards"
        self._desk.now = now
        match signal:
            case sg.Heard():  # first, for one comes with every block
                if not self.turn.take_heard(signal):
                    return []
            case _ if isinstance(signal, ex.ServiceSignal):
                if signal.generation == self._desk.generation:
                    self._on_service(signal)
            case sg.TokenGrant() | sg.TokenFailure():
                if signal.attempt == self._desk.generation:
                    self.line.take_token(signal)
            case _ if isinstance(signal, sg.Playout):
                self._on_playout(signal)
            case _ if isinstance(signal, sg.Activity):
                self._on_activity(signal)
            case _ if isinstance(signal, sg.Command):
                self._on_command(signal)
            case _:
                raise AssertionError(f"{type(signal).__name__} is no signal of the session")
        return self._settle()

    def adopt(self, settings: Settings) -> None:
        """Use the settings that may change while the session lives (`core/reload`)."""
        volume = settings.audio.volume
        if volume != self._plan.volume:
            self._desk.decide(fx.ToPlayback(sg.SetVolume(volume)))
        self._plan = msgspec.structs.replace(self._plan, volume=volume)
        self.line.adopt(session_update(settings), settings.retry)

    def _on_service(self, signal: ex.ServiceSignal) -> None:
        match signal:
            case ex.Opened():
                self.line.on(ln.On.OPENED)
            case ex.Lost():
                self.line.lose(signal.fault)
            case ex.Closed():
                self.line.take_books(signal.frames)
            case ex.ReplyBegan() | ex.ReplyStalled() | ex.ReplyOverflow():
                self._on_sound(signal)
            case ex.Received(event=ev.SessionCreated(session=session)):
                self.line.take_session(session)
                self.line.on(ln.On.CREATED)
            case ex.Received(event=ev.SessionUpdated(session=session)):
                self.line.take_session(session)
                self.line.on(ln.On.UPDATED)
            case ex.Received(event=ev.ErrorEvent() as event):
                self.line.take_error(event)
            case ex.Received(event=event):
                self.turn.take_event(signal)
                if self._devices.muted and isinstance(event, ev.InputAudioBufferSpeechStarted):
                    self.turn.drop_speech(is_live=self.line.is_live)  # it began before, and nobody hears its end

    def _on_sound(self, signal: ex.ReplyBegan | ex.ReplyStalled | ex.ReplyOverflow) -> None:
        match signal:
            case ex.ReplyBegan():
                self.turn.take_first_delta(signal)
            case ex.ReplyStalled(turn=turn):
                self.turn.take_stall(turn)
            case ex.ReplyOverflow():
                self.turn.take_overflow()

    def _on_activity(self, signal: sg.Activity) -> None:
        self._follow_voice(signal)
        match signal:
            case sg.InputReady():
                self.turn.hold_key()
            case sg.InputOpened():
                if self._plan.hands_free:
                    self.turn.press_key(is_live=self.line.is_live)
            case sg.SpeechEnd():
                self.turn.end_speech(signal.at_s)
                if self._plan.hands_free:
                    self.turn.release_key()
            case sg.InputEnded():
                self._input_ended_s = self._desk.now
                self.turn.release_key()
            case sg.InputFailed() if signal.fault.verdict is Verdict.STOP:
                self.line.fail(signal.fault)
            case sg.InputFailed():
                self._desk.publish(sg.FaultNotice(signal.fault, retry_in_s=None))
            case sg.InputGlitched(glitches) if words := lost_sound(self._devices.microphone.name, glitches):
                fault = Fault(kind="SoundLost", verdict=Verdict.RETRY, cause="glitch", message=words)
                self._desk.publish(sg.FaultNotice(fault, retry_in_s=None))

    def _follow_voice(self, signal: sg.Activity) -> None:
        """Tell when the local detector begins and ceases to hear speech; its end may go with the capture that heard."""
        was_active = self._devices.voice_active
        self._devices.take_input(signal)
        if isinstance(signal, sg.VoiceBegan | sg.VoiceEnded):
            self.turn.take_voice(signal, is_live=self.line.is_live)
        if (active := self._devices.voice_active) is not was_active:
            at_s = signal.at_s if isinstance(signal, sg.VoiceBegan | sg.VoiceEnded) else self._desk.now
            self._desk.publish(sg.VoiceNotice(active, at_s))

    def _on_playout(self, signal: sg.Playout) -> None:
        self._devices.take_output(signal)
        match signal:
            case sg.Flushed():
                self.turn.take_flushed(signal, is_live=self.line.is_live)
            case sg.OutputOpened():
                self._desk.decide(fx.ToPlayback(sg.SetVolume(self._plan.volume)))
                self.turn.lose_loudspeaker(is_live=self.line.is_live)
            case sg.OutputFailed(fault):
                self._desk.publish(sg.FaultNotice(fault, retry_in_s=None))

    def _on_command(self, command: sg.Command) -> None:
        match command:
            case sg.PressTalk():
                if self._may_open("press"):
                    self._press()
            case sg.ReleaseTalk():
                self._desk.drop_timer("press")
                self.turn.release_key()
            case sg.Mute():
                self._mute()
            case sg.Unmute():
                if self._devices.muted and self._may_open("unmute"):
                    self._unmute()
            case sg.Adopt(settings):
                self.adopt(settings)
            case sg.Stop():
                self.line.on(ln.On.STOP)

    def _may_open(self, how: str) -> bool:
        """Whether somebody may open the microphone now; if not, it is opened as soon as that may be."""
        wait_s = self._opened_s[how] + OPEN_AGAIN_S - self._desk.now
        if wait_s > 0:
            self._desk.set_timer(how, wait_s)
        return wait_s <= 0

    def _press(self) -> None:
        if self.turn.press_key(is_live=self.line.is_live and not self._devices.muted):
            self._opened_s["press"] = self._desk.now

    def _unmute(self) -> None:
        self._opened_s["unmute"] = self._desk.now
        self._devices.muted = False
        self._desk.tell(ex.Discard(self._desk.now))

    def _mute(self) -> None:
        self._desk.drop_timer("unmute")
        self._desk.drop_timer("press")
        if not self._devices.muted:
            self._devices.mute()
            self._desk.tell(ex.Discard(math.inf))  # before the service's buffer is cleared, or more would follow
            self.turn.drop_speech(is_live=self.line.is_live)

    def _on_lost(self) -> None:
        self.turn.lose_line()

    def _on_stall(self, fault: Fault) -> None:
        if self.line.is_live:
            self.line.replace(fault)

    def _settle(self) -> list[fx.Effect]:
        self._plan_end()
        self._tell_capture()
        shown = self._call_state()
        if shown is not self._shown:
            self._shown, self._shown_since_s = shown, self._desk.now
            self._desk.publish(sg.StateNotice(state=shown, at_s=self._desk.now))
        if self.line.state is Line.CLOSED:
            talk, frames = self.turn, self.line.frames
            self._desk.publish(sg.FinishedNotice(talk.turns_heard, talk.speech_seen, frames))
            self._desk.decide(fx.Finish(self.line.failure))
        effects, self._desk.effects = self._desk.effects, []
        if self._devices.has_no_ears:  # who comes next is told how things stand then
            effects = [effect for effect in effects if not isinstance(effect, fx.ToCapture)]
        return effects

    def _tell_capture(self) -> None:
        """Open or close the microphone, if that is not as it was last told."""
        wanted = self.line.wants_microphone and not self._devices.muted
        if wanted is not self._devices.listening:
            self._devices.listening = wanted
            self._desk.decide(fx.ToCapture(sg.Listen(on=wanted)))

    def _plan_end(self) -> None:
        """A finite input ends the call once everything said has been answered and heard."""
        ended_s = self._input_ended_s
        if ended_s is None or not (self.line.is_live and self.turn.is_over):
            self._desk.drop_timer("last_word")
        elif "last_word" not in self._desk.timers:
            whole = self.turn.turns_heard > 0 and self.line.live_since_s <= ended_s  # else speech may still be spooled
            self._desk.set_timer("last_word", LAST_FRAMES_S if whole else LAST_WORD_S)

    @property
    def _is_muted(self) -> bool:
        """Only what capture has confirmed: whoever sees `muted` may rely on it."""
        return self._devices.muted and self._devices.microphone.state is not DeviceState.OPEN

    def _call_state(self) -> sg.CallState:
        match self.line.state:
            case Line.LIVE:
                shown = SHOWN[self.turn.state]
                return sg.CallState.MUTED if self._is_muted and shown in OF_THE_USER else shown
            case Line.DRAINING | Line.CLOSED:
                return sg.CallState.ERROR if self.line.failure else sg.CallState.IDLE
            case Line.IDLE:
                return sg.CallState.IDLE
            case _:
                return sg.CallState.RECONNECTING if self.line.has_failed else sg.CallState.CONNECTING
