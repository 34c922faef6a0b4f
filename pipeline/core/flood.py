"""How many lines one cause may fill a log with: a hot error must not bury the others, nor the disk."""

from typing import Final

LINES_PER_S: Final = 20
CAUSES_MAX: Final = 256
"""So many causes are told apart; the one that has not been new for longest is forgotten beyond."""
_WINDOW_S: Final = 1.0


class FloodGate:
    """Lets LINES_PER_S lines of one cause through in any second, and counts the rest."""

    def __init__(self) -> None:
        self._causes: dict[str, _Cause] = {}

    def admit(self, cause: str, now_s: float) -> int | None:
        """Whether a line may be told now: how many of its cause were left out before it, or None to leave it out."""
        known = self._causes.setdefault(cause, _Cause(now_s))
        if len(self._causes) > CAUSES_MAX:
            del self._causes[next(iter(self._causes))]
        if now_s - known.began_s >= _WINDOW_S:
            known.began_s, known.lines = now_s, 0
        if known.lines == LINES_PER_S:
            known.omitted += 1
            return None
        known.lines += 1
        omitted, known.omitted = known.omitted, 0
        return omitted

    def omitted(self) -> dict[str, int]:
        """Lines left out and not told of, by cause."""
        return {cause: known.omitted for cause, known in self._causes.items() if known.omitted}


class _Cause:
    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.lines = 0
        self.omitted = 0
