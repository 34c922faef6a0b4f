"""All judges together."""

from pipeline.proving.frame_judge import FrameJudge
from pipeline.proving.line_judges import AttemptJudge, LineJudge, PromptnessJudge
from pipeline.proving.oracle import Oracle, Verdict
from pipeline.proving.sound_judge import SoundJudge


class Bench:
    """All judges of one run, and what they have found."""

    def __init__(self, frame_ms: int, fade_ms: float) -> None:
        self.verdict = Verdict()
        self.frames = FrameJudge(self.verdict)
        self.line = LineJudge(self.verdict)
        others = AttemptJudge(self.verdict), PromptnessJudge(self.verdict)
        self.oracle = Oracle(
            self.verdict, [SoundJudge(self.verdict, frame_ms, fade_ms), self.frames, self.line, *others]
        )

    def close(self, books: dict[str, int], now: float) -> None:
        """The run is over."""
        self.verdict.owed.expire(now)
        self.frames.close(books, now)
