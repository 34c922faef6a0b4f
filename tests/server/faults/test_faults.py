"""Every fault by itself: what a client gets of it. A fault that nothing here shows fails the last test."""

import base64
import binascii
import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.server.faults.catalogue import KINDS
from pipeline.server.faults.door import HttpRefusal, InBandRefusal, Silence
from pipeline.server.faults.line import Upgrade
from pipeline.server.faults.schema import Close, Drop

Probe = Callable[..., Any]
Test = TypeVar("Test", bound=Callable[..., None])

SOUND = "response.output_audio.delta"
ASKED = (
    "input_audio_buffer.append",
    "session.update",
    "conversation.item.create",
    "input_audio_buffer.commit",
    "response.create",
    "response.cancel",
    "conversation.item.truncate",
)
SHOWN: set[str] = set()


def shows(fault: str) -> Callable[[Test], Test]:
    """This test is the expectation of that fault."""

    def note(test: Test) -> Test:
        SHOWN.add(fault)
        return test

    return note


# at the door


@shows("refuse_upgrade")
def test_the_upgrade_is_refused_with_a_status(probe: Probe) -> None:
    assert probe("refuse_upgrade status=429 retry_after_s=7").line.upgrade() == Upgrade(0.0, HttpRefusal(429, 7))


@shows("slow_upgrade")
def test_the_upgrade_is_late_and_delays_add_up(probe: Probe) -> None:
    assert probe("slow_upgrade delay_s=2", "slow_upgrade delay_s=1", "refuse_upgrade").line.upgrade() == Upgrade(
        3.0, HttpRefusal(503, None)
    )


@shows("unanswered_upgrade")
def test_the_upgrade_is_never_answered(probe: Probe) -> None:
    assert probe("unanswered_upgrade").line.upgrade().answer == Silence()


@shows("auth_failure")
def test_the_key_is_refused_after_the_upgrade(probe: Probe) -> None:
    answer = probe("auth_failure").line.upgrade().answer
    assert isinstance(answer, InBandRefusal)
    assert (answer.code, answer.close) == ("invalid_api_key", Close(3000, "invalid_request_error.invalid_api_key"))


@shows("model_failure")
def test_the_model_is_refused_after_the_upgrade(probe: Probe) -> None:
    answer = probe("model_failure code=missing_model").line.upgrade().answer
    assert (answer.code, answer.close) == ("missing_model", Close(4000, "invalid_request_error.missing_model"))


@shows("expired_key")
def test_the_key_has_expired_at_the_first_request(probe: Probe, script: Any) -> None:
    line = probe("expired_key")
    assert line.server(script.created())[0]["type"] == "session.created"
    assert line.client({"type": "session.update", "event_id": "mine"}) == []
    (error,) = line.got()
    assert (error["error"]["message"], error["error"]["event_id"]) == ("Ephemeral token expired", "mine")


@shows("no_session")
def test_the_session_is_never_created(probe: Probe, script: Any) -> None:
    assert probe("no_session").server(script.created(), updated := script.updated()) == [updated]


@shows("slow_settings")
def test_settings_are_confirmed_late_and_nothing_else_is(probe: Probe, script: Any) -> None:
    line = probe("slow_settings delay_s=5")
    assert line.server(script.created(), updated := script.updated(), script.started()) != []
    assert line.wait(10) == [(5.0, updated)]


@shows("wrong_format")
def test_settings_show_another_format(probe: Probe, script: Any) -> None:
    (pcm,) = probe("wrong_format").server(script.updated())
    assert pcm["session"]["audio"]["output"] == {"voice": "v", "format": {"type": "audio/pcm", "rate": 16000}}
    (law,) = probe("wrong_format format=audio/pcmu").server(script.updated())
    assert law["session"]["audio"]["output"]["format"] == {"type": "audio/pcmu"}


@shows("wrong_expiry")
def test_the_session_expires_in_the_past(probe: Probe, script: Any) -> None:
    got = probe("wrong_expiry expires_at=1").server(script.created(), script.updated())
    assert [event["session"]["expires_at"] for event in got] == [1, 1]


# what the client asks


@shows("update_refused")
@shows("commit_race")
@shows("active_response_race")
@shows("truncate_error")
@shows("restore_refused")
@pytest.mark.parametrize(
    ("fault", "event", "code"),
    [
        ("update_refused", {"type": "session.update"}, "unknown_parameter"),
        ("commit_race", {"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty"),
        ("active_response_race", {"type": "response.create"}, "conversation_already_has_active_response"),
        ("truncate_error", {"type": "conversation.item.truncate", "audio_end_ms": 500}, "invalid_value"),
        ("restore_refused", {"type": "conversation.item.create"}, "invalid_value"),
    ],
)
def test_what_the_client_asks_is_refused(probe: Probe, fault: str, event: dict[str, Any], code: str) -> None:
    line = probe(f"{fault} times=1")
    event["event_id"] = "mine"
    assert line.client({"type": "input_audio_buffer.clear"}, event) == [{"type": "input_audio_buffer.clear"}]
    (error,) = line.got()
    assert (error["type"], error["error"]["code"], error["error"]["event_id"]) == ("error", code, "mine")
    assert line.client(event) == [event], "once refused, it is obeyed"


def test_a_truncation_is_refused_with_both_lengths(probe: Probe) -> None:
    line = probe("truncate_error short_ms=85")
    line.client({"type": "conversation.item.truncate", "audio_end_ms": 500})
    assert line.got()[0]["error"]["message"] == "Audio content of 415ms is already shorter than 500ms"


def test_the_second_response_is_refused_by_the_name_of_the_first(probe: Probe, script: Any) -> None:
    line = probe("active_response_race")
    line.server(*script.begin(4))
    line.client({"type": "response.create"})
    assert "in progress: resp_4." in line.got()[0]["error"]["message"]


@shows("cancel_race")
def test_a_cancel_is_called_idle_and_obeyed(probe: Probe) -> None:
    line = probe("cancel_race")
    assert line.client({"type": "response.cancel"}) == [{"type": "response.cancel"}]
    assert line.got()[0]["error"]["code"] == "response_cancel_not_active"


# endings


@shows("session_expired")
def test_the_session_expires_early(probe: Probe) -> None:
    error, close = probe("session_expired after_s=9").wait(20)
    assert (error[0], error[1]["error"]["code"]) == (9.0, "session_expired")
    assert close == (9.0, Close(1001, error[1]["error"]["message"]))


@shows("close")
def test_the_connection_is_closed_in_the_middle_of_a_reply(probe: Probe, script: Any) -> None:
    line = probe("close code=1012 turn=2 after_audio_ms=300")
    assert Close(1012, "") not in line.server(*script.reply(1))
    got = line.server(*script.begin(2), *script.deltas(3, 2))
    assert line.kinds(got)[-3:] == [SOUND, SOUND, "Close"]
    assert line.server(*script.end(2)) == [], "nothing follows a close frame"


@shows("drop")
def test_the_connection_is_dropped(probe: Probe) -> None:
    assert probe("drop after_s=1").wait(2) == [(1.0, Drop())]


@shows("half_open")
def test_a_half_open_line_neither_hears_nor_speaks(probe: Probe, script: Any) -> None:
    line = probe("half_open after_s=1", "slow_settings delay_s=2")
    assert line.server(script.created(), script.updated()) != []
    assert (line.line.hears, line.line.speaks) == (True, True)
    assert line.wait(3) == [], "what was under way is lost"
    assert (line.line.hears, line.line.speaks) == (False, False)
    assert line.server(script.updated()) == []


@shows("deaf")
def test_a_deaf_server_still_speaks(probe: Probe, script: Any) -> None:
    line = probe("deaf after_s=1")
    line.wait(1)
    assert (line.line.hears, line.line.speaks) == (False, True)
    assert line.server(updated := script.updated()) == [updated]


# replies


@shows("stalled_response")
def test_a_response_stalls_until_it_is_cancelled(probe: Probe, script: Any) -> None:
    line = probe("stalled_response times=1")
    assert line.kinds(line.server(*script.begin())) == ["response.created"]
    (cancel,) = line.reached()
    assert (cancel["type"], cancel["response_id"]) == ("response.cancel", "resp_1")
    assert line.server(*script.end(status="cancelled", reason="client_cancelled")) == []
    assert line.client({"type": "response.create"}) == []
    assert line.got()[0]["error"]["code"] == "conversation_already_has_active_response"
    assert line.client({"type": "response.cancel"}) == []
    (done,) = line.got()
    assert (done["type"], done["response"]["status"]) == ("response.done", "cancelled")
    assert line.server(*(reply := script.reply(2))) == reply


def test_a_response_stalls_after_so_much_sound(probe: Probe, script: Any) -> None:
    line = probe("stalled_response after_audio_ms=400")
    got = line.server(*script.begin(), *script.deltas(4))
    assert len(line.sound(got)) == 400 * 48
    assert [event["type"] for event in line.reached()] == ["response.cancel"]
    assert line.server(*script.end(status="cancelled", reason="client_cancelled")) == []
    line.client({"type": "response.cancel"})
    assert [event["type"] for event in line.got()] == ["response.done"]


def test_a_response_too_short_to_stall_ends_well(probe: Probe, script: Any) -> None:
    line = probe("stalled_response after_audio_ms=60000")
    assert line.server(*(reply := script.reply(1))) == reply
    assert line.server(*(reply := script.reply(2))) == reply
    assert line.reached() == []


def test_a_stalled_response_is_cancelled_before_the_server_has_ended_it(probe: Probe, script: Any) -> None:
    line = probe("stalled_response")
    line.server(*script.begin())
    assert [event["event_id"] for event in line.client({"type": "response.cancel"})] == ["event_fault_cancel"]
    got = line.server(*script.end(status="cancelled", reason="client_cancelled"))
    assert line.kinds(got) == ["response.done"]


def test_speech_ends_a_stalled_response(probe: Probe, script: Any) -> None:
    line = probe("stalled_response")
    line.server(*script.begin(), *script.end(status="cancelled", reason="client_cancelled"))
    started, done = line.server(script.started())
    assert started["type"] == "input_audio_buffer.speech_started"
    assert done["response"]["status_details"]["reason"] == "turn_detected"


@shows("response_failed")
def test_a_response_fails_without_an_error_event(probe: Probe, script: Any) -> None:
    line = probe("response_failed code=insufficient_quota")
    line.server(script.event("response.created", response=script.response()))
    (cancel,) = line.reached()
    assert cancel["type"] == "response.cancel"
    (done,) = line.server(script.event("response.done", response=script.response(1, "cancelled")))
    assert done["response"]["status"] == "failed"
    assert done["response"]["status_details"]["error"]["code"] == "insufficient_quota"


@shows("response_incomplete")
def test_a_response_stops_half_way(probe: Probe, script: Any) -> None:
    line = probe("response_incomplete reason=content_filter after_audio_ms=400")
    got = line.server(*script.begin(), *script.deltas(4))
    assert len(line.sound(got)) == 400 * 48
    assert [event["type"] for event in line.reached()] == ["response.cancel"]
    done = line.server(*script.end(status="cancelled", reason="client_cancelled"))[-1]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("incomplete", "content_filter")


def test_the_server_s_answer_to_a_fault_s_own_cancel_is_not_told(probe: Probe, script: Any) -> None:
    line = probe("response_failed")
    line.server(script.event("response.created", response=script.response()))
    (cancel,) = line.reached()
    assert line.server(script.event("error", error={"event_id": cancel["event_id"]})) == []
    assert line.server(mine := script.event("error", error={"event_id": "mine"})) == [mine]


@shows("late_deltas")
def test_sound_comes_after_the_response_is_done(probe: Probe, script: Any) -> None:
    line = probe("late_deltas count=2 spacing_ms=20")
    got = line.server(*script.reply())
    assert line.kinds(got)[-2:] == ["response.done", SOUND]
    ((at_s, late),) = line.wait(1)
    assert (at_s, late["type"], late["response_id"]) == (0.02, SOUND, "resp_1")
    assert late["event_id"] != got[-1]["event_id"]


@pytest.mark.parametrize("by", ["speech", "client"])
def test_sound_comes_after_the_response_was_cancelled(probe: Probe, script: Any, by: str) -> None:
    line = probe("late_deltas count=2 after=cancel spacing_ms=0")
    line.server(*script.begin(), *script.deltas())
    got = line.server(script.started()) if by == "speech" else line.client({"type": "response.cancel"}) + line.got()
    assert line.kinds(got)[1:] == [SOUND, SOUND]
    line.server(*script.end(status="cancelled"))
    assert line.kinds(line.server(script.started())) == ["input_audio_buffer.speech_started"], "nothing sounds any more"


@shows("broken_arguments")
def test_arguments_are_no_json_and_every_event_tells_the_same(probe: Probe, script: Any) -> None:
    got = probe("broken_arguments").server(*script.call())
    broken = '{"door": {"n": 1'
    assert "".join(event["delta"] for event in got if event["type"].endswith("arguments.delta")) == broken
    assert got[4]["arguments"] == got[5]["item"]["arguments"] == got[6]["response"]["output"][0]["arguments"] == broken


# sound


@shows("burst")
def test_a_reply_comes_in_one_burst(probe: Probe, script: Any) -> None:
    line = probe("burst within_ms=200")
    reply = script.reply(1, count=4)
    assert line.server(*reply[:-1]) == reply[:4]
    first = line.server(reply[-1])
    rest = line.wait(1)
    assert first + [event for _, event in rest] == reply[4:]
    assert 0.1 < rest[-1][0] <= 0.2


@shows("underrun")
def test_sound_comes_slower_than_it_plays_and_its_end_with_it(probe: Probe, script: Any) -> None:
    line = probe("underrun real_time_factor=0.5 jitter_ms=30")
    reply = script.reply(1, count=4)
    got = [(0.0, event) for event in line.server(*reply)] + line.wait(10)
    assert [event for _, event in got] == reply
    times = [at_s for at_s, event in got if event["type"] == SOUND]
    assert [round(at_s - place * 0.4, 6) for place, at_s in enumerate(times)] == [
        pytest.approx(0.015, abs=0.015) for _ in times
    ]
    assert got[-1][0] == times[-1]


@shows("odd_bytes")
def test_deltas_end_inside_a_sample_and_no_byte_is_lost(probe: Probe, script: Any) -> None:
    line = probe("odd_bytes")
    reply = script.reply(1, count=3)
    got = line.server(*reply)
    sizes = [len(b64decode(event["delta"])) for event in got if event["type"] == SOUND]
    assert [size % 2 for size in sizes] == [1, 1, 1, 1]
    assert line.sound(got) == line.sound(reply)


def test_a_delta_that_is_spoilt_already_cannot_be_shifted(probe: Probe, script: Any) -> None:
    got = probe("bad_base64 times=1", "odd_bytes").server(*script.reply(1, count=2))
    assert [event["delta"][0] == "%" for event in got if event["type"] == SOUND] == [True, False, False]


@shows("empty_delta")
def test_an_empty_delta_comes_before_each(probe: Probe, script: Any) -> None:
    got = probe("empty_delta").server(*script.deltas(2))
    assert [bool(event["delta"]) for event in got] == [False, True, False, True]


@shows("bad_base64")
def test_a_delta_is_not_base64(probe: Probe, script: Any) -> None:
    (event,) = probe("bad_base64").server(*script.deltas(1))
    with pytest.raises(binascii.Error):
        b64decode(event["delta"], validate=True)


@shows("big_frame")
def test_a_delta_comes_in_a_frame_over_1_mib(probe: Probe, script: Any) -> None:
    line = probe("big_frame")
    line.line.server_said(str(script.deltas(1)[0]).replace("'", '"'), 0.0)
    (frame,) = line.line.take_for_client(0.0)
    assert len(frame) > 1 << 20


# turns


@shows("flipped_barge_in")
def test_the_end_of_the_reply_comes_before_the_speech_that_caused_it(probe: Probe, script: Any) -> None:
    line = probe("flipped_barge_in")
    line.server(*script.begin())
    got = line.server(script.started(), *script.end(status="cancelled", reason="turn_detected"))
    assert line.kinds(got)[-2:] == ["response.done", "input_audio_buffer.speech_started"]
    assert line.kinds(line.server(script.started())) == ["input_audio_buffer.speech_started"]


def test_speech_that_interrupts_nothing_is_told_before_its_end(probe: Probe, script: Any) -> None:
    line = probe("flipped_barge_in")
    line.server(*script.begin())
    stopped = script.event("input_audio_buffer.speech_stopped", item_id="item_u", audio_end_ms=9)
    assert line.server(started := script.started(), stopped) == [started, stopped]


@shows("false_start")
def test_the_detector_starts_for_nothing(probe: Probe) -> None:
    line = probe("false_start every_s=5 times=2 after_s=1")
    got = line.wait(60)
    assert [(at_s, event["type"]) for at_s, event in got] == [
        (1.0, "input_audio_buffer.speech_started"),
        (6.0, "input_audio_buffer.speech_started"),
    ]
    assert got[0][1]["item_id"] != got[1][1]["item_id"]
    stopped = probe("false_start missing=committed times=1").wait(60)
    assert [event["type"].rpartition(".")[2] for _, event in stopped] == ["speech_started", "speech_stopped"]


@shows("missed_speech")
def test_the_detector_gets_silence_of_the_same_length(probe: Probe) -> None:
    line = probe("missed_speech")
    for sound in (b"\1\2", b"\1\2" * 481):
        (got,) = line.client({"type": "input_audio_buffer.append", "audio": base64.b64encode(sound).decode()})
        assert base64.b64decode(got["audio"]) == bytes(len(sound))
    other = {"type": "input_audio_buffer.commit"}
    assert line.client(other) == [other]


@shows("late_transcription")
def test_the_words_come_late(probe: Probe, script: Any) -> None:
    line = probe("late_transcription delay_s=4")
    assert line.server(words := script.words(), *(reply := script.reply())) == reply
    assert line.wait(9) == [(4.0, words)]


@shows("swapped_transcriptions")
def test_the_words_come_in_the_wrong_order(probe: Probe, script: Any) -> None:
    first, second, third = script.words("item_1"), script.words("item_2"), script.words("item_3")
    line = probe("swapped_transcriptions times=1")
    assert line.server(first, second, third) == [second, first, third]


@shows("failed_transcription")
def test_the_transcription_fails(probe: Probe, script: Any) -> None:
    (failed,) = probe("failed_transcription").server(script.words())
    assert failed["type"] == "conversation.item.input_audio_transcription.failed"
    assert (failed["item_id"], failed["error"]["code"]) == ("item_u", "audio_unintelligible")


@shows("missing_transcription")
def test_the_words_never_come(probe: Probe, script: Any) -> None:
    line = probe("missing_transcription")
    assert line.server(script.words()) == []
    assert line.wait(60) == []


# how events are written


@shows("duplicate_event")
def test_an_event_comes_twice(probe: Probe, script: Any) -> None:
    call = script.call()
    done = call[4]
    assert probe(f"duplicate_event event={done['type']}").server(*call) == [*call[:5], done, *call[5:]]
    assert probe("duplicate_event times=2").server(*call[:3]) == [call[0], call[0], call[1], call[1], call[2]]


@shows("unknown_event")
def test_an_event_nobody_knows_comes_first(probe: Probe, script: Any) -> None:
    line = probe("unknown_event")
    assert line.kinds(line.server(script.created())) == ["future.event", "session.created"]


@shows("extra_fields")
def test_events_hold_fields_nobody_knows(probe: Probe, script: Any) -> None:
    added = script.begin()[2]
    (got,) = probe("extra_fields").server(added)
    assert got == {**added, "previous_item_id": None, "obfuscation": got["obfuscation"], "future": got["future"]}


@shows("missing_events")
def test_optional_events_never_come(probe: Probe, script: Any) -> None:
    line = probe("missing_events")
    got = set(line.kinds(line.server(*script.reply(), script.event("rate_limits.updated", rate_limits=[]))))
    optional = {"response.content_part.added", "response.content_part.done", "conversation.item.done"}
    assert not got & (optional | {"rate_limits.updated"})
    assert {"response.created", "response.output_item.done", "response.done"} <= got


@shows("beta_names")
def test_a_reply_has_the_names_of_the_beta_protocol(probe: Probe, script: Any) -> None:
    line = probe("beta_names")
    got = line.kinds(line.server(*script.reply()))
    assert {"response.audio.delta", "response.audio.done"} <= set(got)
    assert not any(kind.startswith("response.output_audio.") for kind in got)


@shows("part_types")
def test_content_parts_have_the_other_spelling(probe: Probe, script: Any) -> None:
    reply = script.reply()
    short = probe("part_types").server(*reply)
    assert short[-1]["response"]["output"][0]["content"][0]["type"] == "audio"
    assert short[-2]["item"]["content"][0]["type"] == "audio"
    long = probe("part_types spelling=long").server(*reply)
    assert long[3]["part"]["type"] == "output_audio"
    assert long[-1] == reply[-1]


@shows("malformed_json")
def test_half_an_event_comes_first(probe: Probe, script: Any) -> None:
    half, whole = probe("malformed_json").server(created := script.created())
    assert half.startswith('{"type":"session.created"')
    assert whole == created


@shows("binary_frame")
def test_a_binary_frame_comes_first(probe: Probe, script: Any) -> None:
    noise, whole = probe("binary_frame").server(created := script.created())
    assert isinstance(noise, bytes)
    assert whole == created


# all of them


@pytest.mark.parametrize("fault", KINDS)
def test_a_fault_that_never_strikes_changes_nothing(probe: Probe, script: Any, fault: str) -> None:
    line = probe(f"{fault} probability=0")
    assert line.line.upgrade() == Upgrade(0.0, None)
    asked = [{"type": kind} for kind in ASKED]
    assert line.client(*asked) == asked
    assert line.server(*(visit := script.visit())) == visit
    assert line.wait(3600) == []


@pytest.mark.parametrize("fault", KINDS)
def test_the_same_seed_does_the_same(probe: Probe, new_script: Callable[[], Any], fault: str) -> None:
    def run(seed: str) -> tuple[Any, ...]:
        line = probe(f"{fault} probability=0.5", seed=seed)
        asked = line.client(*({"type": kind, "audio": "////"} for kind in ASKED))
        door, said, rest = line.line.upgrade(), line.server(*new_script().visit()), line.wait(100)
        return door, asked, said, rest, line.line.hears

    assert len({repr(run("one")) for _ in range(3)}) == 1
    assert len({repr(run(str(seed))) for seed in range(8)}) > 1


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(["event_id", "response_id", "audio_end_ms", "item_id", "item", "session", "response"])


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(list(KINDS)),
    st.lists(st.tuples(st.sampled_from(ASKED), st.dictionaries(FIELDS, ANYTHING)), max_size=4),
)
def test_no_client_breaks_a_fault(
    probe: Probe, new_script: Callable[[], Any], fault: str, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    line, script = probe(fault), new_script()
    line.server(*script.begin())
    got = []
    for kind, fields in asked:
        line.line.client_said(json.dumps({"type": kind, **fields}), 0.0)
        got += line.got()
    line.server(*script.end())
    for frame in got:
        if isinstance(frame, dict) and frame["type"] == "error":
            assert isinstance(frame["error"]["event_id"], str | None)


def test_every_fault_is_shown() -> None:
    assert set(KINDS) - SHOWN == set()
