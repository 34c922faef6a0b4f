"""How many tokens a session may use: a bucket that is full at the beginning and refills evenly. Pure."""

from typing import Final

PERIOD_S: Final = 60.0


class RateLimit:
    """Tokens of one session.

    Args:
        tokens_per_minute: the bucket's size, and what flows into it in a minute.
        now: the moment it is full, in s.
    """

    def __init__(self, tokens_per_minute: int, now: float) -> None:
        self.limit = tokens_per_minute
        self._left = float(tokens_per_minute)
        self._at_s = now

    def remaining(self, now: float) -> int:
        """What may be used at this moment; not below zero."""
        self._refill(now)
        return max(0, int(self._left))

    def spend(self, tokens: int, now: float) -> None:
        """Use tokens; a response may overdraw, the next one waits for it."""
        self._refill(now)
        self._left -= tokens

    def reset_s(self, now: float) -> float:
        """How long until the bucket is full again."""
        self._refill(now)
        return (self.limit - self._left) * PERIOD_S / self.limit

    def wait_s(self, now: float) -> float:
        """How long until there is a token again; 0 if there is one."""
        self._refill(now)
        return max(0.0, (1 - self._left) * PERIOD_S / self.limit)

    def _refill(self, now: float) -> None:
        self._left = min(self.limit, self._left + (now - self._at_s) * self.limit / PERIOD_S)
        self._at_s = now
