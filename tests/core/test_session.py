"""The session as scripts: what happens on the left, what it decides on the right."""

import math
from random import Random

import pytest

from pipeline.core import effects as fx
from pipeline.core import line as ln
from pipeline.core import turn as tn
from pipeline.core.devices import Devices
from pipeline.core.line import DRAIN_S, LINE, SECRETS_REFUSED_MAX, Line, LineMachine
from pipeline.core.machine import mermaid
from pipeline.core.session import LAST_FRAMES_S, LAST_WORD_S, OPEN_AGAIN_S, Session, SessionPlan
from pipeline.core.turn import STALL_S, TURN, Turn, TurnMachine
from pipeline.realtime import events as ev
from pipeline.realtime import exchange as ex
from pipeline.realtime.session_config import session_update, without_voice
from pipeline.vocabulary import signals as sg
from pipeline.vocabulary.configuration import load
from pipeline.vocabulary.control import DeviceState, DeviceStatus
from pipeline.vocabulary.errors import (
    ConnectionLostError,
    CredentialExpiredError,
    DeviceError,
    Fault,
    MissingTransitionError,
    Verdict,
)
from pipeline.vocabulary.settings import RetrySettings, ServiceSettings, Settings

RETRY = RetrySettings(first_s=0.25, cap_s=10, busy_cap_s=60, reset_after_s=30, attempts_per_minute=15)
SERVICE = ServiceSettings(url="ws://127.0.0.1/", connect_deadline_s=10, configure_deadline_s=10, close_deadline_s=1)
UPDATE = ev.SessionUpdate(session=ev.Session(type="realtime"))
LOST = ConnectionLostError("gone", cause="reset").fault()


class Script:
    """Drives one session and remembers what it decided."""

    def __init__(self, *, push_to_talk: bool = False, hands_free: bool = False, devices: Devices | None = None) -> None:
        plan = SessionPlan(
            update=UPDATE, push_to_talk=push_to_talk, hands_free=hands_free, volume=1.0, service=SERVICE, retry=RETRY,
        )  # fmt: skip
        self.devices = devices or Devices()
        self.session = Session(plan, Random(1), self.devices)
        self.now = 100.0
        self.generation = 0
        self.effects: list[fx.Effect] = self.session.start(self.now)

    def hears(self, signal: object) -> list[fx.Effect]:
        self.effects = self.session.handle(signal, self.now)
        return self.effects

    def service(self, event: ev.ServerEvent, turn: int = 0) -> list[fx.Effect]:
        return self.hears(ex.Received(self.generation, turn, self.now, event))

    def waits(self, seconds: float) -> list[fx.Effect]:
        self.now += seconds
        self.effects = self.session.tick(self.now)
        return self.effects

    def live(self) -> "Script":
        self.generation += 1
        self.hears(sg.TokenGrant(self.generation, sg.Secret("ek"), self.now + 30))
        self.hears(ex.Opened(self.generation))
        self.service(ev.SessionCreated(event_id="e", session=ev.Session()))
        self.service(ev.SessionUpdated(event_id="e", session=ev.Session()))
        assert self.session.line.state is Line.LIVE
        return self

    def speech_started(self, item: str = "u1") -> list[fx.Effect]:
        return self.service(ev.InputAudioBufferSpeechStarted(event_id="e", audio_start_ms=0, item_id=item))

    def speech_stopped(self, item: str = "u1") -> list[fx.Effect]:
        return self.service(ev.InputAudioBufferSpeechStopped(event_id="e", audio_end_ms=0, item_id=item))

    def committed(self, item: str = "u1") -> list[fx.Effect]:
        return self.service(ev.InputAudioBufferCommitted(event_id="e", item_id=item))

    def response_created(self, turn: int, response: str = "r1") -> list[fx.Effect]:
        return self.service(
            ev.ResponseCreated(event_id="e", response=ev.Response(id=response, status="in_progress")), turn
        )

    def response_done(self, turn: int, response: str = "r1", status: str = "completed") -> list[fx.Effect]:
        return self.service(ev.ResponseDone(event_id="e", response=ev.Response(id=response, status=status)), turn)

    def heard(self, turn: int, ms: float, *, finished: bool = False) -> list[fx.Effect]:
        return self.hears(sg.Heard(turn, "a1", 0, ms, finished, self.now))

    def error(self, code: str, message: str = "no") -> list[fx.Effect]:
        body = ev.ErrorBody(type="invalid_request_error", code=code, message=message)
        return self.service(ev.ErrorEvent(event_id="e", error=body))

    def sent(self) -> list[ev.ClientEvent]:
        return [
            effect.intent.event
            for effect in self.effects
            if isinstance(effect, fx.Tell) and isinstance(effect.intent, ex.Send)
        ]

    def turn(self) -> Turn:
        return self.session.turn.state

    def line(self) -> Line:
        return self.session.line.state

    def states(self) -> list[sg.CallState]:
        return [notice.state for notice in self.notices() if isinstance(notice, sg.StateNotice)]

    def notices(self) -> list[sg.Notice]:
        return [effect.notice for effect in self.effects if isinstance(effect, fx.Publish)]

    def faults(self) -> list[Fault]:
        return [notice.fault for notice in self.notices() if isinstance(notice, sg.FaultNotice)]


def test_connects_configures_and_goes_live_in_this_order() -> None:
    script = Script()
    assert fx.AskToken(sg.TokenAsk(1)) in script.effects
    script.hears(sg.TokenGrant(1, sg.Secret("ek_1"), 130))
    assert fx.Tell(ex.Open(1, sg.Secret("ek_1"))) in script.effects
    assert script.hears(ex.Opened(1)) == []
    script.generation = 1
    script.service(ev.SessionCreated(event_id="e", session=ev.Session()))
    assert script.sent() == [UPDATE]
    script.service(ev.SessionUpdated(event_id="e", session=ev.Session()))
    assert script.effects[:2] == [fx.Tell(ex.Flow(1)), fx.ToCapture(sg.Listen(on=True))]
    assert script.states() == [sg.CallState.LISTENING]


def test_a_turn_is_told_state_by_state() -> None:
    script = Script().live()
    script.speech_started()
    assert script.states() == [sg.CallState.USER_SPEAKING]
    script.speech_stopped()
    assert script.states() == [sg.CallState.THINKING]
    script.committed()
    script.response_created(1)
    script.response_done(1)
    assert script.turn() is Turn.THINKING, "a service is done long before its sound is heard"
    script.heard(1, 20)
    assert script.states() == [sg.CallState.SPEAKING]
    script.heard(1, 900, finished=True)
    assert script.states() == [sg.CallState.LISTENING]


def test_the_timeline_counts_from_the_last_speech_sample() -> None:
    script = Script().live()
    script.speech_started()
    script.hears(sg.SpeechEnd(script.now))
    script.now += 0.1
    script.speech_stopped()
    script.now += 0.1
    script.committed()
    script.now += 0.1
    script.response_created(1)
    script.now += 0.05
    script.hears(ex.ReplyBegan(1, 1, script.now))
    script.now += 0.05
    script.heard(1, 0)
    timeline = [notice for notice in script.notices() if isinstance(notice, sg.TimelineNotice)]
    assert [notice.timeline_ms for notice in timeline] == [
        {
            "speech_stopped": 100,
            "committed": 200,
            "response_created": 300,
            "first_delta": 350,
            "first_audible_sample": 400,
        }
    ]


def test_each_utterance_of_an_endless_script_has_a_timeline_of_its_own() -> None:
    script = Script().live()
    for turn in (1, 2):
        script.speech_started(f"u{turn}")
        script.hears(sg.SpeechEnd(script.now))
        script.now += 0.5
        script.speech_stopped(f"u{turn}")
        script.response_created(turn, f"r{turn}")
        script.response_done(turn, f"r{turn}")
        script.heard(turn, 0)
        [timeline] = [notice for notice in script.notices() if isinstance(notice, sg.TimelineNotice)]
        assert timeline.timeline_ms["speech_stopped"] == 500
        script.heard(turn, 900, finished=True)


def test_speech_over_a_running_response_raises_the_floor_and_truncates_what_was_cut() -> None:
    script = Script().live()
    script.speech_started()
    script.speech_stopped()
    script.response_created(1)
    script.heard(1, 100)
    script.speech_started("u2")
    assert fx.RaiseFloor(2) in script.effects
    assert script.turn() is Turn.INTERRUPTED
    assert script.sent() == [], "the service's own detector has cancelled the response"
    script.hears(sg.Flushed(1, "a1", 0, 740.6))
    assert script.sent() == [ev.ConversationItemTruncate(item_id="a1", content_index=0, audio_end_ms=740)]
    script.response_done(1, status="cancelled")
    assert script.turn() is Turn.LISTENING


def test_speech_over_sound_whose_response_is_done_needs_no_confirmation() -> None:
    script = Script().live()
    script.speech_started()
    script.response_created(1)
    script.response_done(1)
    script.heard(1, 100)
    script.speech_started("u2")
    assert fx.RaiseFloor(2) in script.effects
    assert script.turn() is Turn.LISTENING


def test_an_item_of_which_nothing_was_heard_is_deleted() -> None:
    script = Script().live()
    script.hears(sg.Flushed(1, "a1", 0, 0.0))
    assert script.sent() == [ev.ConversationItemDelete(item_id="a1")]


def test_what_is_heard_of_a_turn_below_the_floor_changes_nothing() -> None:
    script = Script().live()
    script.speech_started()
    script.response_created(1)
    script.heard(1, 10)
    script.speech_started("u2")
    assert script.heard(1, 30, finished=True) == []


def test_push_to_talk_clears_talks_commits_and_answers() -> None:
    script = Script(push_to_talk=True).live()
    script.hears(sg.PressTalk())
    assert script.sent() == [ev.InputAudioBufferClear()]
    assert fx.ToCapture(sg.Talk(on=True)) in script.effects
    assert script.turn() is Turn.LISTENING
    script.hears(sg.PressTalk())
    assert script.effects == [], "a key that is down is not pressed again"
    script.hears(sg.ReleaseTalk())
    assert fx.ToCapture(sg.Talk(on=False)) in script.effects
    script.committed()
    assert script.sent() == [ev.ResponseCreate()]
    script.response_created(1)
    script.now += OPEN_AGAIN_S
    script.hears(sg.PressTalk())
    assert ev.ResponseCancel(response_id="r1") in script.sent(), "no detector at the service cancels for us"
    assert fx.RaiseFloor(2) in script.effects


def test_a_key_held_too_briefly_means_nothing() -> None:
    script = Script(push_to_talk=True).live()
    script.hears(sg.PressTalk())
    script.service(ev.InputAudioBufferCleared(event_id="e"))
    assert script.turn() is Turn.LISTENING, "that was the answer to our own clearing"
    script.hears(sg.ReleaseTalk())
    script.service(ev.InputAudioBufferCleared(event_id="e"))
    assert script.turn() is Turn.QUIET


def test_a_response_created_while_the_key_is_down_is_cancelled() -> None:
    script = Script(push_to_talk=True).live()
    script.hears(sg.PressTalk())
    script.response_created(1)
    assert script.sent() == [ev.ResponseCancel(response_id="r1")]
    assert fx.RaiseFloor(2) in script.effects


def test_a_recording_holds_the_key_from_its_start_to_its_last_speech_sample() -> None:
    script = Script(push_to_talk=True, hands_free=True).live()
    script.hears(sg.InputOpened("wav:q.wav"))
    assert fx.ToCapture(sg.Talk(on=True)) in script.effects
    script.hears(sg.SpeechEnd(script.now))
    assert fx.ToCapture(sg.Talk(on=False)) in script.effects


def test_a_lost_line_is_tried_again_with_a_fresh_secret_and_the_settings_are_sent_again() -> None:
    script = Script().live()
    script.hears(ex.Lost(1, LOST))
    assert script.states() == [sg.CallState.RECONNECTING]
    due = script.session.deadline()
    assert due is not None
    assert due - script.now < 0.2, "a cut is tried again at once"
    script.waits(due - script.now)
    assert fx.AskToken(sg.TokenAsk(2)) in script.effects
    script.live()
    assert script.generation == 2


def test_signals_of_an_older_socket_mean_nothing() -> None:
    script = Script().live()
    assert script.hears(ex.Lost(0, LOST)) == []
    assert script.hears(ex.Opened(7)) == []


def test_an_expired_session_is_replaced() -> None:
    script = Script().live()
    script.error("session_expired")
    assert fx.Tell(ex.Close(1)) in script.effects
    assert script.line() is Line.BACKOFF


def test_every_phase_has_a_deadline() -> None:
    script = Script()
    script.waits(10)
    assert script.line() is Line.BACKOFF
    assert [fault.cause for fault in script.faults()] == ["timeout"]
    script.waits(5)
    script.generation = 2
    script.hears(sg.TokenGrant(2, sg.Secret("ek"), script.now + 30))
    script.hears(ex.Opened(2))
    script.waits(10)
    assert script.line() is Line.BACKOFF, "a socket without a session is no line"


def test_a_secret_that_is_too_old_on_arrival_is_not_used() -> None:
    script = Script()
    script.hears(sg.TokenGrant(1, sg.Secret("ek"), script.now))
    assert [fault.cause for fault in script.faults()] == ["expiry"]
    assert not [effect for effect in script.effects if isinstance(effect, fx.Tell)]


def test_settings_the_service_refuses_end_the_call_with_its_words() -> None:
    script = Script()
    script.generation = 1
    script.hears(sg.TokenGrant(1, sg.Secret("ek"), script.now + 30))
    script.hears(ex.Opened(1))
    script.service(ev.SessionCreated(event_id="e", session=ev.Session()))
    script.error("unknown_parameter", "Unknown parameter: 'session.nonsense'.")
    assert script.line() is Line.DRAINING
    script.hears(ex.Closed(1, {"captured": 0}))
    [finish] = [effect for effect in script.effects if isinstance(effect, fx.Finish)]
    assert finish.fault is not None
    assert "session.nonsense" in finish.fault.message


def test_a_key_that_is_wrong_stops_after_three_fresh_secrets() -> None:
    script = Script()
    refused = CredentialExpiredError("the service refused the client secret", cause="status_401").fault()
    for attempt in range(1, SECRETS_REFUSED_MAX + 1):
        script.hears(sg.TokenGrant(attempt, sg.Secret("ek"), script.now + 30))
        script.hears(ex.Lost(attempt, refused))
        if attempt < SECRETS_REFUSED_MAX:
            assert script.line() is Line.BACKOFF
            script.waits(11)
    assert script.line() is Line.DRAINING
    assert script.states() == [sg.CallState.ERROR]


def test_one_secret_that_is_refused_many_times_is_one_refused_secret() -> None:
    """A service whose key has expired says so of every block of sound that is on its way to it."""
    script = Script().live()
    for _ in range(2 * SECRETS_REFUSED_MAX):
        script.error("token_expired", "Ephemeral token expired")
    assert script.line() is Line.BACKOFF


def test_what_is_said_after_a_refusal_does_not_make_it_less_final() -> None:
    script = Script().live()
    script.error("insufficient_quota")
    script.error("session_expired")
    script.hears(ex.Closed(1, {"captured": 0}))
    [finish] = [effect for effect in script.effects if isinstance(effect, fx.Finish)]
    assert finish.fault is not None
    assert finish.fault.cause == "insufficient_quota"


@pytest.mark.parametrize(
    "code",
    ["response_cancel_not_active", "conversation_already_has_active_response", "input_audio_buffer_commit_empty"],
)
def test_races_are_not_errors(code: str) -> None:
    script = Script().live()
    assert script.error(code) == []


def test_other_errors_are_told_by_code_and_the_call_goes_on() -> None:
    script = Script().live()
    script.error("server_error", "we repeat what you said: my name is Daniel")
    assert [fault.message for fault in script.faults()] == ["the service reported server_error"]
    assert script.line() is Line.LIVE


def test_no_answer_replaces_the_session() -> None:
    script = Script().live()
    script.speech_started()
    script.speech_stopped()
    script.waits(STALL_S)
    assert fx.Tell(ex.Close(1)) in script.effects
    assert [fault.cause for fault in script.faults()] == ["stall"]
    assert (script.line(), script.turn()) == (Line.BACKOFF, Turn.QUIET)


def test_noise_the_service_took_for_speech_ends_with_its_empty_transcript() -> None:
    script = Script().live()
    script.speech_started()
    script.speech_stopped()
    script.service(
        ev.ConversationItemInputAudioTranscriptionCompleted(
            event_id="e", item_id="u1", content_index=0, transcript=" ", usage=ev.Usage(type="duration")
        )
    )
    assert script.turn() is Turn.QUIET


def test_a_finished_input_ends_the_call_once_its_answer_was_heard() -> None:
    script = Script().live()
    script.speech_started()
    script.speech_stopped()
    script.response_created(1)
    script.hears(sg.InputEnded(100))
    script.response_done(1)
    script.heard(1, 10)
    script.heard(1, 900, finished=True)
    script.waits(LAST_FRAMES_S)
    assert script.line() is Line.DRAINING
    script.hears(ex.Closed(1, {"captured": 100, "sent": 100}))
    assert script.notices()[0] == sg.FinishedNotice(turns=1, heard_speech=True, frames={"captured": 100, "sent": 100})
    assert script.effects[-1] == fx.Finish(None)


def test_an_input_without_speech_gets_a_last_chance_and_ends() -> None:
    script = Script().live()
    script.hears(sg.InputEnded(100))
    script.waits(LAST_WORD_S - 0.1)
    assert script.line() is Line.LIVE
    script.waits(0.1)
    script.hears(ex.Closed(1, {}))
    assert script.notices()[0] == sg.FinishedNotice(turns=0, heard_speech=False, frames={})


def test_stopping_waits_for_network_only_so_long() -> None:
    script = Script().live()
    script.hears(sg.Stop())
    assert script.effects[:2] == [fx.Tell(ex.Close(1)), fx.ToCapture(sg.Listen(on=False))]
    script.waits(DRAIN_S)
    assert script.effects[-1] == fx.Finish(None)


def test_a_reply_too_long_to_hold_is_cut_off_and_told() -> None:
    script = Script().live()
    script.speech_started()
    script.response_created(1)
    script.hears(ex.ReplyOverflow(1, 1))
    assert fx.RaiseFloor(2) in script.effects
    assert script.sent() == [ev.ResponseCancel(response_id="r1")]
    assert [fault.cause for fault in script.faults()] == ["reply_overflow"]


def test_transcripts_are_told_as_they_come() -> None:
    script = Script().live()
    script.speech_started("u1")
    delta = ev.ResponseOutputAudioTranscriptDelta(
        event_id="e", response_id="r1", item_id="a1", output_index=0, content_index=0, delta="We open"
    )
    script.service(delta, 1)
    assert script.notices() == [sg.TranscriptNotice("assistant", "a1", "We open", final=False)]


def test_a_missing_cell_names_state_and_event() -> None:
    script = Script()
    with pytest.raises(MissingTransitionError, match="line connecting: no cell for settings confirmed"):
        script.session.line.on(ln.On.UPDATED)


def test_every_action_of_the_tables_exists() -> None:
    for machine, actions in (
        (LineMachine, {action for _, action in LINE.values()}),
        (TurnMachine, {action for _, action in TURN.values()}),
    ):
        assert [action for action in actions if not hasattr(machine, f"_{action}")] == []


def test_the_talk_is_total() -> None:
    missing = [(turn, event) for turn in Turn for event in set(tn.On) - {tn.On.DUE} if (turn, event) not in TURN]
    assert missing == []


def test_the_line_can_be_stopped_from_everywhere_and_every_state_is_reached() -> None:
    assert [line for line in Line if line is not Line.CLOSED and (line, ln.On.STOP) not in LINE] == []
    assert {target for target, _ in LINE.values()} | {Line.IDLE} == set(Line)


def test_the_picture_shows_each_arrow_that_does_something() -> None:
    picture = mermaid(LINE)
    assert "configuring --> live: settings confirmed / go_live" in picture
    assert "nothing" not in picture


def test_losing_a_line_in_the_middle_of_an_answer_lets_it_play_out() -> None:
    script = Script().live()
    script.speech_started()
    script.response_created(1)
    script.heard(1, 10)
    script.hears(ex.Lost(1, LOST))
    assert script.turn() is Turn.SPEAKING
    assert not [effect for effect in script.effects if isinstance(effect, fx.RaiseFloor)]
    assert Verdict.RETRY in [fault.verdict for fault in script.faults()]


def test_a_microphone_that_starts_again_is_told_to_listen_again() -> None:
    script = Script()
    assert script.hears(sg.InputReady("level")) == [], "nobody listens before the service does"
    script.live()
    script.hears(sg.InputReady("level"))
    assert script.effects == [fx.ToCapture(sg.Listen(on=True))]
    script.hears(ex.Lost(1, LOST))
    assert script.hears(sg.InputReady("level")) == [fx.ToCapture(sg.Listen(on=True))], "speech of an outage is kept"
    script.hears(sg.Stop())
    assert script.hears(sg.InputReady("level")) == []


def test_a_held_key_survives_the_restart_of_the_microphone() -> None:
    script = Script(push_to_talk=True).live()
    script.hears(sg.PressTalk())
    assert script.hears(sg.InputReady("level")) == [fx.ToCapture(sg.Talk(on=True)), fx.ToCapture(sg.Listen(on=True))]


def test_a_loudspeaker_that_opens_is_told_the_volume() -> None:
    script = Script().live()
    assert script.hears(sg.OutputOpened("wav:")) == [fx.ToPlayback(sg.SetVolume(1.0))]


def test_an_answer_ends_where_it_was_last_heard_when_the_loudspeaker_starts_again() -> None:
    script = Script().live()
    script.speech_started()
    script.response_created(1)
    script.heard(1, 640)
    script.hears(sg.OutputOpened("wav:"))
    assert script.sent() == [ev.ConversationItemTruncate(item_id="a1", content_index=0, audio_end_ms=640)]
    assert fx.RaiseFloor(2) in script.effects
    assert script.turn() is Turn.QUIET


def test_a_late_secret_of_an_earlier_attempt_is_not_used() -> None:
    script = Script()
    script.waits(10)
    script.waits(5)
    assert script.session.line.desk.generation == 2
    assert script.hears(sg.TokenGrant(1, sg.Secret("ek_old"), script.now + 30)) == []
    script.hears(sg.TokenGrant(2, sg.Secret("ek_new"), script.now + 30))
    assert fx.Tell(ex.Open(2, sg.Secret("ek_new"))) in script.effects


def test_refused_secrets_are_forgotten_once_a_session_was_live() -> None:
    script = Script()
    refused = CredentialExpiredError("the service refused the client secret", cause="status_401").fault()
    for _ in range(3 * SECRETS_REFUSED_MAX):
        generation = script.session.line.desk.generation
        script.hears(sg.TokenGrant(generation, sg.Secret("ek"), script.now + 30))
        script.hears(ex.Lost(generation, refused))
        script.waits(120)
        script.generation = script.session.line.desk.generation - 1
        script.live()
        script.hears(ex.Lost(script.generation, LOST))
        script.waits(120)
    assert script.line() is Line.CONNECTING


def test_an_answer_that_has_begun_to_arrive_is_no_stall_however_quiet_it_is() -> None:
    script = Script().live()
    script.speech_started()
    script.speech_stopped()
    script.response_created(1)
    script.hears(ex.ReplyBegan(1, 1, script.now))
    script.waits(STALL_S + 1)
    assert script.line() is Line.LIVE


def test_a_new_session_is_not_told_about_items_of_the_old_one() -> None:
    script = Script().live()
    script.speech_started()
    script.response_created(1)
    script.heard(1, 100)
    script.hears(ex.Lost(1, LOST))
    script.waits(5)
    script.live()
    script.speech_started("u2")
    assert fx.RaiseFloor(2) in script.effects
    script.hears(sg.Flushed(1, "a1", 0, 500.0))
    assert script.sent() == []


def test_a_cut_turn_without_sound_has_no_item_to_delete() -> None:
    script = Script().live()
    script.hears(sg.Flushed(1, "", 0, 0.0))
    assert script.sent() == []


def test_speech_that_an_outage_held_back_gets_its_time_after_the_input_has_ended() -> None:
    script = Script().live()
    script.speech_started()
    script.response_created(1)
    script.response_done(1)
    script.heard(1, 900)
    script.heard(1, 900, finished=True)
    script.hears(ex.Lost(1, LOST))
    script.hears(sg.InputEnded(100))
    script.waits(5)
    script.live()
    script.waits(LAST_WORD_S - 0.1)
    assert script.line() is Line.LIVE
    script.speech_started("u2")
    script.waits(LAST_WORD_S)
    assert script.line() is Line.LIVE


def test_a_loudspeaker_outage_is_told() -> None:
    script = Script().live()
    script.hears(sg.OutputFailed(Fault(kind="Device", verdict=Verdict.RESTART, message="unplugged; plug it in")))
    assert [fault.message for fault in script.faults()] == ["unplugged; plug it in"]


def test_speech_that_no_key_let_through_is_no_zero_of_a_timeline() -> None:
    script = Script(push_to_talk=True).live()
    script.hears(sg.SpeechEnd(script.now))
    script.now += 5
    script.hears(sg.PressTalk())
    script.now += 1
    script.hears(sg.SpeechEnd(script.now))
    script.now += 0.1
    script.hears(sg.ReleaseTalk())
    script.committed()
    script.response_created(1)
    script.heard(1, 20)
    [timeline] = [notice for notice in script.notices() if isinstance(notice, sg.TimelineNotice)]
    assert timeline.timeline_ms["speech_stopped"] == 100


DROP_ALL = fx.Tell(ex.Discard(math.inf))


def muted() -> Script:
    """A call whose capture has confirmed that the microphone is closed."""
    script = Script().live()
    script.hears(sg.InputReady("level"))
    script.hears(sg.InputOpened("mic"))
    script.hears(sg.Mute())
    assert script.effects == [DROP_ALL, fx.ToCapture(sg.Listen(on=False))]
    script.hears(sg.InputClosed())
    return script


def test_mute_closes_the_microphone_and_is_shown_once_it_is_closed() -> None:
    script = muted()
    assert script.states() == [sg.CallState.MUTED]
    assert script.hears(sg.Mute()) == []
    script.now += 5
    script.hears(sg.Unmute())
    assert script.effects[:2] == [fx.Tell(ex.Discard(script.now)), fx.ToCapture(sg.Listen(on=True))]
    assert script.hears(sg.Unmute()) == []
    script.hears(sg.InputOpened("mic"))
    assert script.session.status(script.now).state is sg.CallState.LISTENING


def hammer(script: Script, first: sg.Command, second: sg.Command, times: int = 100) -> list[fx.Effect]:
    """Ask for both by turns, a millisecond apart; the effects."""
    effects = []
    for _ in range(times):
        for command in (first, second):
            script.now += 0.001
            effects += script.hears(command)
    return effects


def test_who_hammers_on_mute_closes_the_microphone_at_once_and_opens_it_four_times_a_second() -> None:
    script = Script().live()
    script.hears(sg.InputReady("level"))
    effects = hammer(script, sg.Mute(), sg.Unmute())
    assert effects.count(fx.ToCapture(sg.Listen(on=False))) == 2, "0.2 s, so it was opened once in between"
    assert len([each for each in effects if isinstance(each, fx.Tell | fx.ToCapture)]) == 6
    deadline_s = script.session.deadline()
    assert script.session.status(script.now).muted, "as long as it is not opened"
    assert deadline_s is not None
    assert deadline_s - script.now <= OPEN_AGAIN_S
    assert fx.ToCapture(sg.Listen(on=True)) in script.waits(deadline_s - script.now)
    assert not script.session.status(script.now).muted, "what was asked last"


def test_who_hammers_and_ends_with_mute_stays_muted() -> None:
    script = Script().live()
    script.hears(sg.InputReady("level"))
    hammer(script, sg.Mute(), sg.Unmute())
    script.hears(sg.Mute())
    assert not any(isinstance(each, fx.ToCapture) for each in script.waits(1))
    assert script.session.status(script.now).muted


def test_who_hammers_on_the_talk_key_presses_it_four_times_a_second_and_releases_it_at_once() -> None:
    script = Script(push_to_talk=True).live()
    effects = hammer(script, sg.PressTalk(), sg.ReleaseTalk())
    assert effects.count(fx.ToCapture(sg.Talk(on=True))) == 1
    assert effects.count(fx.ToCapture(sg.Talk(on=False))) == 1
    script.hears(sg.PressTalk())
    assert fx.ToCapture(sg.Talk(on=True)) in script.waits(OPEN_AGAIN_S)


def test_a_capture_that_is_dead_is_told_nothing_and_its_successor_how_things_stand() -> None:
    devices = Devices()
    script = Script(devices=devices).live()
    script.hears(sg.InputReady("level"))
    devices.lose()
    for _ in range(50):
        script.now += 1
        assert not any(
            isinstance(each, fx.ToCapture) for each in (*script.hears(sg.Mute()), *script.hears(sg.Unmute()))
        )
    assert fx.ToCapture(sg.Listen(on=True)) in script.hears(sg.InputReady("level"))


def test_what_was_being_said_when_it_was_muted_is_not_answered() -> None:
    script = Script().live()
    script.speech_started()
    script.hears(sg.Mute())
    assert script.effects[:2] == [DROP_ALL, fx.Tell(ex.Send(1, ev.InputAudioBufferClear()))], "nothing after the clear"
    script.service(ev.InputAudioBufferCleared(event_id="e"))
    assert script.session.turn.state is Turn.QUIET


def test_speech_that_the_service_tells_of_after_the_mute_is_not_answered_either() -> None:
    script = muted()
    script.speech_started()
    assert fx.Tell(ex.Send(1, ev.InputAudioBufferClear())) in script.effects
    script.service(ev.InputAudioBufferCleared(event_id="e"))
    assert script.session.turn.state is Turn.QUIET


def test_an_answer_under_way_is_heard_to_its_end_while_muted() -> None:
    script = Script().live()
    script.speech_started()
    script.speech_stopped()
    script.response_created(1)
    script.heard(1, 100)
    script.hears(sg.Mute())
    assert script.effects == [DROP_ALL, fx.ToCapture(sg.Listen(on=False))]
    assert script.session.status(script.now).state is sg.CallState.SPEAKING


def test_a_held_key_is_let_go_by_mute_and_cannot_be_pressed() -> None:
    script = Script(push_to_talk=True).live()
    script.hears(sg.PressTalk())
    script.hears(sg.Mute())
    assert fx.ToCapture(sg.Talk(on=False)) in script.effects
    assert fx.Tell(ex.Send(1, ev.InputAudioBufferClear())) in script.effects
    assert script.hears(sg.ReleaseTalk()) == []
    assert script.hears(sg.PressTalk()) == []


def test_what_was_muted_before_the_first_live_moment_stays_closed() -> None:
    script = Script()
    script.hears(sg.Mute())
    script.live()
    assert not [effect for effect in script.effects if isinstance(effect, fx.ToCapture)]


def test_a_capture_that_starts_while_muted_is_not_told_to_listen() -> None:
    assert muted().hears(sg.InputReady("level")) == []


def test_the_next_incarnation_of_the_session_knows_what_is_muted_and_open() -> None:
    script = muted()
    script.hears(sg.OutputOpened("loud"))
    heir = Script(devices=script.devices).live()
    assert not [effect for effect in heir.effects if isinstance(effect, fx.ToCapture)]
    assert heir.session.status(heir.now).muted
    assert heir.devices.loudspeaker == DeviceStatus("loud", DeviceState.OPEN)


def test_the_microphone_stays_open_while_the_session_is_replaced() -> None:
    script = Script().live()
    heir = Script(devices=script.devices)
    assert heir.states() == [sg.CallState.RECONNECTING]
    heir.live()
    assert not [effect for effect in heir.effects if isinstance(effect, fx.ToCapture)]
    heir.hears(sg.Stop())
    assert fx.ToCapture(sg.Listen(on=False)) in heir.effects


def test_local_speech_is_told_and_counted() -> None:
    script = Script().live()
    script.hears(sg.VoiceBegan(99.5))
    assert script.effects == [fx.Publish(sg.VoiceNotice(active=True, at_s=99.5))]
    script.hears(sg.VoiceEnded(100.0))
    assert script.effects == [fx.Publish(sg.VoiceNotice(active=False, at_s=100.0))]
    assert script.devices.utterances == 1


def test_speech_whose_capture_died_is_over() -> None:
    script = Script().live()
    script.hears(sg.VoiceBegan(99.5))
    script.hears(sg.InputReady("silero"))
    assert fx.Publish(sg.VoiceNotice(active=False, at_s=script.now)) in script.effects
    assert (script.devices.voice_active, script.devices.utterances, script.devices.detector) == (False, 1, "silero")


def test_how_the_devices_stand_follows_what_is_told_of_them() -> None:
    script = Script().live()
    fault = DeviceError("unplugged; plug it in").fault()
    seen = []
    for signal in (sg.InputOpened("mic"), sg.InputFailed(fault), sg.InputOpened("other"), sg.InputEnded(3)):
        script.hears(signal)
        seen.append(script.devices.microphone)
    assert seen == [
        DeviceStatus("mic", DeviceState.OPEN),
        DeviceStatus("mic", DeviceState.FAILED, "unplugged; plug it in"),
        DeviceStatus("other", DeviceState.OPEN),
        DeviceStatus("other", DeviceState.ENDED),
    ]
    script.hears(sg.OutputOpened("loud"))
    script.hears(sg.OutputFailed(fault))
    assert script.devices.loudspeaker == DeviceStatus("loud", DeviceState.FAILED, "unplugged; plug it in")


def test_sound_that_was_lost_is_told_and_what_nobody_missed_is_only_counted() -> None:
    script = Script().live()
    script.hears(sg.InputOpened("mic"))
    script.hears(sg.InputGlitched(sg.Glitches(xruns=2)))
    assert script.effects == []
    script.hears(sg.InputGlitched(sg.Glitches(discarded_ms=360.0)))
    [effect] = script.effects
    assert isinstance(effect, fx.Publish)
    assert isinstance(effect.notice, sg.FaultNotice)
    fault = effect.notice.fault
    assert (fault.kind, fault.cause, fault.verdict) == ("SoundLost", "glitch", Verdict.RETRY)
    assert fault.message.startswith("the microphone mic lost sound, 360 ms that came too late")
    script.hears(sg.OutputGlitched(sg.Glitches(starved=1)))
    assert script.effects == []
    assert script.devices.microphone.glitches == sg.Glitches(xruns=2, discarded_ms=360.0)
    assert script.devices.loudspeaker.glitches == sg.Glitches(starved=1)


def test_the_status_tells_how_long_the_line_is_up_and_when_its_session_ends() -> None:
    script = Script().live()
    script.service(ev.SessionUpdated(event_id="e", session=ev.Session(expires_at=1_800_000_000)))
    script.waits(7)
    status = script.session.status(script.now)
    assert (status.line, status.turn, status.state) == ("live", "quiet", sg.CallState.LISTENING)
    assert (status.live_age_s, status.state_age_s, status.expires_at) == (7, 7, 1_800_000_000)
    script.hears(ex.Lost(1, LOST))
    status = script.session.status(script.now)
    assert (status.line, status.live_age_s, status.fault) == ("backoff", None, "gone")
    script.waits(1)
    script.live()
    assert script.session.status(script.now).expires_at is None


def adopting(*overrides: str) -> tuple[Settings, ev.SessionUpdate, ev.SessionUpdate]:
    """Settings, the update that asks for them at the beginning of a session, and later in it."""
    settings = load((), overrides)
    update = session_update(settings)
    return settings, update, without_voice(update)


def test_new_settings_are_told_to_a_live_session_without_the_voice_it_has_locked() -> None:
    script = Script().live()
    settings, _, change = adopting("conversation.instructions=Be brief.", "audio.volume=0.5")
    assert fx.ToPlayback(sg.SetVolume(0.5)) in script.hears(sg.Adopt(settings))
    assert script.sent() == [change]
    assert change.session.audio is not None
    assert change.session.audio.output is None
    assert script.hears(sg.Adopt(settings)) == [], "nothing new"
    script.hears(sg.OutputOpened("none:"))
    assert fx.ToPlayback(sg.SetVolume(0.5)) in script.effects


def test_new_settings_reach_a_session_that_is_just_being_configured() -> None:
    script = Script()
    settings, _, change = adopting()
    script.hears(sg.TokenGrant(1, sg.Secret("ek"), 130))
    script.hears(ex.Opened(1))
    script.generation = 1
    script.service(ev.SessionCreated(event_id="e", session=ev.Session()))
    script.hears(sg.Adopt(settings))
    assert script.sent() == []
    script.service(ev.SessionUpdated(event_id="e", session=ev.Session()))
    assert script.sent() == [change]
    assert script.line() is Line.LIVE


def test_the_next_session_is_configured_with_the_new_settings_whole() -> None:
    script = Script().live()
    script.hears(ex.Lost(1, LOST))
    settings, update, _ = adopting("retry.cap_s=20")
    assert script.hears(sg.Adopt(settings)) == []
    script.waits(1)
    script.generation = 2
    script.hears(sg.TokenGrant(2, sg.Secret("ek"), script.now + 30))
    script.hears(ex.Opened(2))
    script.service(ev.SessionCreated(event_id="e", session=ev.Session()))
    assert script.sent() == [update]
    script.service(ev.SessionUpdated(event_id="e", session=ev.Session()))
    assert script.sent() == []


def broken_off(turn: int) -> Script:
    """An answer whose sound breaks off, before any of it was heard."""
    script = Script().live()
    script.speech_started()
    script.speech_stopped()
    script.response_created(turn)
    script.hears(ex.ReplyBegan(1, turn, script.now))
    return script


@pytest.mark.parametrize("heard_ms", [0, 100])
def test_an_answer_that_breaks_off_replaces_the_session_and_what_came_of_it_is_heard(heard_ms: float) -> None:
    script = broken_off(1)
    if heard_ms:
        script.heard(1, heard_ms)
    script.hears(ex.ReplyStalled(1, 1))
    assert fx.Tell(ex.Close(1)) in script.effects
    assert [fault.cause for fault in script.faults()] == ["stall"]
    script.heard(1, 200)
    assert (script.line(), script.turn()) == (Line.BACKOFF, Turn.SPEAKING)
    script.heard(1, 400, finished=True)
    assert script.turn() is Turn.QUIET


def test_an_answer_that_was_talked_over_may_break_off() -> None:
    script = broken_off(1)
    script.heard(1, 100)
    script.speech_started("u2")
    assert script.hears(ex.ReplyStalled(1, 1)) == []
    assert script.line() is Line.LIVE


def failing_answer(script: Script, turn: int, status: str = "failed") -> list[Fault]:
    script.speech_started(f"u{turn}")
    script.speech_stopped(f"u{turn}")
    script.response_created(turn, f"r{turn}")
    script.response_done(turn, f"r{turn}", status)
    faults = script.faults()
    if script.line() is Line.LIVE:
        script.heard(turn, 0, finished=True)
    return faults


def test_two_answers_that_fail_within_a_minute_replace_the_session() -> None:
    script = Script().live()
    assert [fault.cause for fault in failing_answer(script, 1)] == ["failed"]
    script.waits(59)
    assert [fault.cause for fault in failing_answer(script, 2)] == ["failed", "poisoned"]
    assert script.line() is Line.BACKOFF


@pytest.mark.parametrize(("status", "pause_s"), [("failed", 61), ("incomplete", 1), ("cancelled", 1)])
def test_answers_that_fail_seldom_or_only_end_early_leave_the_session(status: str, pause_s: float) -> None:
    script = Script().live()
    for turn in range(1, 4):
        failing_answer(script, turn, status)
        script.waits(pause_s)
    assert script.line() is Line.LIVE


def test_a_failure_said_twice_counts_once_and_one_of_the_session_before_not_at_all() -> None:
    script = Script().live()
    failing_answer(script, 1)
    script.response_done(1, "r1", "failed")
    assert script.line() is Line.LIVE
    script.hears(ex.Lost(1, LOST))
    script.waits(5)
    script.live()
    failing_answer(script, 2)
    assert script.line() is Line.LIVE


def says_in_vain(script: Script) -> list[fx.Effect]:
    script.hears(sg.VoiceBegan(script.now))
    script.waits(1)
    return script.hears(sg.VoiceEnded(script.now))


def test_a_session_that_hears_nothing_is_replaced() -> None:
    script = Script().live()
    says_in_vain(script)
    script.waits(4)
    says_in_vain(script)
    script.waits(STALL_S - 5)
    assert [fault.cause for fault in script.faults()] == ["unheard"]
    assert script.line() is Line.BACKOFF


def test_one_utterance_in_vain_or_one_of_two_that_is_heard_leaves_the_session() -> None:
    script = Script().live()
    says_in_vain(script)
    script.waits(STALL_S)
    script.hears(sg.VoiceBegan(script.now))
    script.speech_started()
    script.waits(1)
    script.hears(sg.VoiceEnded(script.now))
    script.service(ev.InputAudioBufferCleared(event_id="e"))
    script.waits(STALL_S)
    says_in_vain(script)
    script.waits(STALL_S)
    assert script.line() is Line.LIVE


def test_what_the_microphone_hears_of_an_answer_is_no_utterance() -> None:
    script = Script().live()
    script.response_created(1)
    script.heard(1, 100)
    for _ in range(3):
        says_in_vain(script)
        script.waits(STALL_S)
    assert script.line() is Line.LIVE


def test_what_a_mute_cuts_off_or_the_talk_key_did_not_let_through_is_no_utterance() -> None:
    script = Script().live()
    for _ in range(3):
        script.hears(sg.VoiceBegan(script.now))
        script.waits(1)
        script.hears(sg.Mute())
        script.hears(sg.VoiceEnded(script.now))
        script.hears(sg.Unmute())
        script.waits(STALL_S)
    assert script.line() is Line.LIVE
    script = Script(push_to_talk=True).live()
    for _ in range(3):
        says_in_vain(script)
        script.waits(STALL_S)
    assert script.line() is Line.LIVE
