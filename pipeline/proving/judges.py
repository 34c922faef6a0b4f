"""All judges together."""

from pipeline.proving.frame_judge import FrameJudge
from pipeline.proving.hearing_judge import HearingJudge
from pipeline.proving.line_judges import AttemptJudge, LineJudge
from pipeline.proving.mute_judge import MuteJudge
from pipeline.proving.oracle import Oracle, Verdict
from pipeline.proving.promptness_judge import PromptnessJudge
from pipeline.proving.service_judge import ServiceJudge
from pipeline.proving.sound_judge import SoundJudge


class Bench:
    """All judges of one run, and what they have found."""

    def __init__(self, frame_ms: int, fade_ms: float) -> None:
        self.verdict = Verdict()
        self.frames = FrameJudge(self.verdict)
        self.line = LineJudge(self.verdict)
        kinds = AttemptJudge, HearingJudge, MuteJudge, PromptnessJudge, ServiceJudge
        others = [kind(self.verdict) for kind in kinds]
        self.oracle = Oracle(
            self.verdict, [SoundJudge(self.verdict, frame_ms, fade_ms), self.frames, self.line, *others]
        )

    def close(self, books: dict[str, int], now: float) -> None:
        """The run is over."""
        self.verdict.owed.expire(now)
        self.frames.close(books, now)
