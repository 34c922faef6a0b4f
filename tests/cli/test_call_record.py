"""Notices fold into what the demo reports."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cli.call_record import CallRecord
from pipeline.vocabulary.errors import ConnectionLostError, ProtocolError
from pipeline.vocabulary.signals import (
    AnyNotice,
    CallState,
    FaultNotice,
    FinishedNotice,
    StateNotice,
    TimelineNotice,
    TranscriptNotice,
)

CALL: list[AnyNotice] = [
    StateNotice(CallState.CONNECTING, 1.0),
    FaultNotice(ConnectionLostError("the service is away").fault(), 0.1),
    StateNotice(CallState.LISTENING, 2.0),
    StateNotice(CallState.USER_SPEAKING, 2.4),
    TranscriptNotice("assistant", "item_2", "From", final=False),
    TranscriptNotice("user", "item_1", "When are you open?", final=True),
    TranscriptNotice("assistant", "item_2", "From nine. ", final=True),
    StateNotice(CallState.SPEAKING, 5.0),
    TimelineNotice(1, {"speech_stopped": 420.0, "first_audible_sample": 800.0}),
    StateNotice(CallState.LISTENING, 7.0),
    TranscriptNotice("user", "item_3", "", final=True),
    TranscriptNotice("user", "item_4", "Thanks!", final=True),
    FinishedNotice(1, heard_speech=True, frames={"captured": 100, "sent": 100}),
]


def fold(notices: list[AnyNotice]) -> CallRecord:
    record = CallRecord()
    for notice in notices:
        assert record.add(msgspec.json.encode(notice)) == notice
    return record


def test_a_whole_call() -> None:
    record = fold(CALL)
    assert record.words("user") == "When are you open? Thanks!"
    assert record.words("assistant") == "From nine."
    assert record.timeline_ms == {"speech_stopped": 420.0, "first_audible_sample": 800.0}
    assert record.reached_s[CallState.LISTENING] == 2.0
    assert record.state is CallState.LISTENING
    assert record.fault == "the service is away"
    assert record.finished == CALL[-1]


def test_words_appear_as_they_come() -> None:
    record = fold(CALL[:5])
    assert [(line.role, line.text) for line in record.lines] == [("assistant", "From")]
    assert record.finished is None


@pytest.mark.parametrize("line", [b"", b"{}", b'{"event":"state"}', b"Traceback", b"\xff", b'{"event":"news"}'])
def test_a_line_that_is_no_notice_is_refused_and_not_repeated(line: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"^the endpoint printed a line that is no notice$"):
        CallRecord().add(line)


@given(st.lists(st.sampled_from(CALL), max_size=30))
@settings(max_examples=50)
def test_notices_in_any_order_and_number_fold(notices: list[AnyNotice]) -> None:
    record = fold(notices)
    states = [notice for notice in notices if isinstance(notice, StateNotice)]
    assert record.state is (states[-1].state if states else CallState.IDLE)
    assert set(record.reached_s) == {notice.state for notice in states}
