"""The floor: the lowest turn still wanted, and the barge-in it performs on every link that obeys it."""

from collections.abc import Callable


class Floor:
    """One integer that only rises; implements `ports.FloorHolder`.

    It outlives every restart of an actor, so that what a dead session declared stale never sounds again.
    """

    def __init__(self) -> None:
        self._value = 0
        self._newest = 0
        self._purges: list[Callable[[], None]] = []

    @property
    def value(self) -> int:
        """The floor now."""
        return self._value

    @property
    def newest(self) -> int:
        """The newest turn ever numbered."""
        return self._newest

    def number_turn(self) -> int:
        """Number a new turn. The count stands here because it outlives the actors: a number is never given twice."""
        self._newest += 1
        return self._newest

    def register(self, purge: Callable[[], None]) -> None:
        """Have `purge` called after every raise, before `raise_to` returns."""
        self._purges.append(purge)

    def unregister(self, purge: Callable[[], None]) -> None:
        """No longer call `purge`; nothing if it was never registered."""
        self._purges = [kept for kept in self._purges if kept != purge]

    def raise_to(self, turn: int) -> None:
        """Raise the floor; lower values are ignored. Every link purges what became stale before this returns."""
        if turn <= self._value:
            return
        self._value = turn
        for purge in self._purges:
            purge()
