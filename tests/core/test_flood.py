"""A hot error fills no log, and none of its lines goes uncounted."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.flood import CAUSES_MAX, LINES_PER_S, FloodGate


def test_row_61_a_hot_error_gets_20_lines_a_second_and_the_rest_is_counted() -> None:
    gate = FloodGate()
    admitted = [gate.admit("refused", second + i / 1000) for second in range(3) for i in range(1000)]
    told = [omitted for omitted in admitted if omitted is not None]
    assert len(told) == 3 * LINES_PER_S
    assert [omitted for omitted in told if omitted] == [980, 980]
    assert gate.omitted() == {"refused": 980}


def test_other_causes_are_heard_meanwhile() -> None:
    gate = FloodGate()
    for _ in range(100):
        gate.admit("refused", 1.0)
    assert gate.admit("dns", 1.0) == 0


def test_a_flood_of_causes_is_no_leak() -> None:
    gate = FloodGate()
    for number in range(CAUSES_MAX * 3):
        for _ in range(LINES_PER_S + 1):
            gate.admit(str(number), 1.0)
    assert len(gate.omitted()) == CAUSES_MAX


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 0.2)), max_size=300))
def test_every_line_is_told_or_counted(lines: list[tuple[str, float]]) -> None:
    gate, now_s, told, counted = FloodGate(), 0.0, 0, 0
    for cause, pause_s in lines:
        now_s += pause_s
        omitted = gate.admit(cause, now_s)
        told += omitted is not None
        counted += omitted or 0
    assert told + counted + sum(gate.omitted().values()) == len(lines)
