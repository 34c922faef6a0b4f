"""Torture: one short talk again and again, with a fault at its first stream operation, at the second, at every one.

As curl and SQLite do it: a fault at a random moment finds what is likely, one at every moment finds what is rare.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final, NamedTuple

import trio

from pipeline.proving import happenings as hp
from pipeline.proving.simulated_devices import Utterance
from pipeline.proving.simulation import Outcome, play
from pipeline.proving.toxics import HalfOpen
from pipeline.proving.world import Plan, World

SCRIPT: Final = (Utterance(1, 1.0, 1.24), Utterance(2, 2.3, 2.5))
"""Two utterances, the second into the answer to the first."""
LENGTH_S: Final = 60.0
BLACK_HOLE_S: Final = 20.0
FRAME_MS: Final = 40


class Torment(NamedTuple):
    """One run: this fault (`cut` or `black-hole`) at this stream operation."""

    fault: str
    operation: int
    outcome: Outcome


def torture(seed: int = 0, every: int = 1) -> Iterator[Torment]:
    """A run for each fault and each `every`-th stream operation of the talk."""
    for fault in ("cut", "black-hole"):
        for operation in range(1, count_operations(seed) + 1, every):
            yield Torment(fault, operation, torment(fault, operation, seed))


def count_operations(seed: int = 0) -> int:
    """How many stream operations the talk has when nothing goes wrong."""
    most = 0

    def prepare(world: World) -> None:
        def count(operation: int) -> None:
            nonlocal most
            most = operation

        world.network.on_operation = count

    _play(seed, prepare)
    return most


def torment(fault: str, operation: int, seed: int = 0) -> Outcome:
    """The talk with this fault at this stream operation."""

    def prepare(world: World) -> None:
        def strike(number: int) -> None:
            if number == operation:
                FAULTS[fault](world)

        world.network.on_operation = strike

    return _play(seed, prepare)


def _play(seed: int, prepare: Callable[[World], None]) -> Outcome:
    plan = Plan(seed=seed, duration_s=LENGTH_S, frame_ms=FRAME_MS)
    return play(plan, SCRIPT, [], prepare=prepare)


def _cut(world: World) -> None:
    world.trace.add(hp.Troubled("cut"))
    world.network.cut()
    world.trace.add(hp.Calmed("cut"))


def _black_hole(world: World) -> None:
    hole = ExitStack()  # open before the operation is done, so not left to a task

    async def close() -> None:
        await trio.sleep(BLACK_HOLE_S)
        hole.close()
        world.trace.add(hp.Calmed("black-hole"))

    world.trace.add(hp.Troubled("black-hole"))
    hole.enter_context(world.network.poisoned(HalfOpen()))
    hole.enter_context(world.network.swallowing())
    world.start_soon(close)


FAULTS: Final[dict[str, Callable[[World], None]]] = {"cut": _cut, "black-hole": _black_hole}
