from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dsp.turn_detector import TurnDetector, TurnStarted, TurnStopped

HOP_MS = 32.0


def detector(origin_ms: float = 0, threshold: float = 0.5) -> TurnDetector:
    return TurnDetector(threshold=threshold, prefix_padding_ms=64, silence_duration_ms=96, origin_ms=origin_ms)


def changes(heard: TurnDetector, probabilities: list[float]) -> list[TurnStarted | TurnStopped | None]:
    return [heard.hear(probability, HOP_MS) for probability in probabilities]


def test_speech_starts_a_turn_with_its_padding_and_silence_ends_it() -> None:
    found = changes(detector(), [0, 0, 0, 0.9, 0.9, 0, 0, 0, 0])
    assert found[3] == TurnStarted(3 * HOP_MS - 64)
    assert found[7] == TurnStopped(8 * HOP_MS, silence_ms=96)
    assert [n for n, change in enumerate(found) if change] == [3, 7]


def test_a_pause_shorter_than_the_silence_does_not_end_the_turn() -> None:
    found = changes(detector(), [0.9, 0, 0, 0.9, 0, 0, 0.9])
    assert found[1:] == [None] * 6


def test_hovering_below_the_threshold_is_no_silence_until_it_is_quiet() -> None:
    heard = detector()
    assert changes(heard, [0.9] + [0.4] * 20)[1:] == [None] * 20
    assert changes(heard, [0.3, 0.4, 0.4])[-1] == TurnStopped(24 * HOP_MS, silence_ms=96)  # quiet once, then hovering


def test_a_tiny_threshold_can_still_be_gone_below() -> None:
    assert changes(detector(threshold=0.1), [0.2, 0, 0, 0])[-1] is not None


def test_a_turn_never_reaches_back_before_the_detector_or_the_last_turn() -> None:
    assert detector(origin_ms=500).hear(0.9, HOP_MS) == TurnStarted(500)
    heard = detector()
    end = changes(heard, [0.9, 0, 0, 0])[-1]
    assert isinstance(end, TurnStopped)
    assert heard.hear(0.9, HOP_MS) == TurnStarted(end.end_ms)


@settings(max_examples=100)
@given(probabilities=st.lists(st.floats(0, 1), max_size=80), threshold=st.floats(0, 1))
def test_turns_alternate_and_never_overlap(probabilities: list[float], threshold: float) -> None:
    found = [change for change in changes(detector(threshold=threshold), probabilities) if change]
    assert [type(change) for change in found] == [TurnStarted, TurnStopped] * (len(found) // 2) + [TurnStarted] * (
        len(found) % 2
    )
    moments = [change[0] for change in found]
    assert moments == sorted(moments)
