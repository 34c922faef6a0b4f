"""How soon a device that failed is tried again."""

from pipeline.core.reopening import BRIEF_S, REOPEN_MAX_S, REOPEN_S, Reopening


def test_a_device_that_is_away_is_tried_four_times_a_second_for_ever() -> None:
    reopening = Reopening()
    assert {reopening.failed(now * REOPEN_S) for now in range(10_000)} == {REOPEN_S}


def test_one_that_opens_only_to_fail_is_tried_ever_less_often_until_it_works() -> None:
    reopening, now, pauses = Reopening(), 0.0, []
    for _ in range(8):
        reopening.opened(now)
        pauses.append(reopening.failed(now + 0.01))
        now += pauses[-1]
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, REOPEN_MAX_S, REOPEN_MAX_S, REOPEN_MAX_S]
    assert reopening.failed(now) == REOPEN_S, "somebody has pulled it out, perhaps to put it back properly"
    reopening.opened(now)
    assert reopening.failed(now + 0.01) == REOPEN_MAX_S, "in vain"
    reopening.opened(now)
    assert reopening.failed(now + BRIEF_S) == REOPEN_S
    reopening.opened(now)
    assert reopening.failed(now + 0.01) == REOPEN_S
