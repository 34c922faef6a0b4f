import pytest
from msgspec.structs import replace

from pipeline.core.troubles import troubles
from pipeline.vocabulary.control import ActorStatus, DeviceState, DeviceStatus, ProcessStatus, SessionStatus
from pipeline.vocabulary.signals import CallState
from tests.snapshots import AUDIO, CAPTURE, MAIN, SESSION

NO_LINE = {CallState.CONNECTING, CallState.RECONNECTING, CallState.ERROR}
OPEN = DeviceStatus("x", DeviceState.OPEN)


def found(
    session: SessionStatus = SESSION,
    microphone: DeviceStatus = OPEN,
    loudspeaker: DeviceStatus = OPEN,
    audio: ProcessStatus = AUDIO,
    actor: ActorStatus = CAPTURE,
) -> list[str]:
    return troubles(session, microphone, loudspeaker, [MAIN, audio], [actor])


@pytest.mark.parametrize("state", sorted(set(CallState) - NO_LINE))
def test_a_call_that_goes_on_is_healthy_whatever_it_does(state: CallState) -> None:
    assert found(replace(SESSION, state=state)) == []


def test_what_was_mended_and_what_was_asked_for_is_no_trouble() -> None:
    mended = replace(AUDIO, restarts=3, ended="crashed")
    assert found(microphone=DeviceStatus("x", DeviceState.CLOSED), audio=mended) == []
    assert found(microphone=DeviceStatus("x", DeviceState.ENDED), actor=replace(CAPTURE, restarts=1, failure="x")) == []
    assert found(actor=replace(CAPTURE, state="waiting")) == []


def test_each_thing_that_is_wrong_is_a_sentence_with_its_cause() -> None:
    assert found(audio=replace(AUDIO, state="starting", ended="crashed")) == [
        "process audio is starting: the last one crashed"
    ]
    assert found(audio=replace(AUDIO, state="down")) == ["process audio is down"]
    assert found(audio=replace(AUDIO, beat_age_s=1.44)) == ["process audio has not said for 1.4 s that it lives"]
    assert found(actor=replace(CAPTURE, state="ended", failure="out of paper")) == [
        "actor capture has ended: out of paper"
    ]
    assert found(actor=replace(CAPTURE, state="overdue")) == ["actor capture does not end"]
    assert found(microphone=DeviceStatus("x", DeviceState.FAILED, "unplugged")) == ["the microphone failed: unplugged"]
    assert found(loudspeaker=DeviceStatus("x", DeviceState.FAILED, "hung")) == ["the loudspeaker failed: hung"]
    assert found(loudspeaker=DeviceStatus("x", DeviceState.GONE)) == ["the loudspeaker is gone with its process"]
    assert found(loudspeaker=DeviceStatus("x", DeviceState.GONE), audio=replace(AUDIO, ended="crashed")) == [
        "the loudspeaker is gone with its process, which crashed"
    ]
    assert found(replace(SESSION, state=CallState.RECONNECTING, fault="cut")) == [
        "there is no line to the service: cut"
    ]
    assert found(replace(SESSION, state=CallState.CONNECTING)) == ["there is no line to the service"]


def test_actors_of_a_process_that_is_down_are_not_told_once_more() -> None:
    assert found(audio=replace(AUDIO, state="down"), actor=replace(CAPTURE, state="down")) == ["process audio is down"]


def test_the_cause_stands_before_its_consequences() -> None:
    both = found(replace(SESSION, state=CallState.ERROR), audio=replace(AUDIO, state="down"))
    assert both == ["process audio is down", "there is no line to the service"]
