"""Life and death of the actors of one process, in Erlang/OTP's words: rest_for_one, restart intensity, significant.

It starts, stops and restarts, and decides nothing else. Links are not its business: they live longer than the actors,
so a new incarnation finds its ports as the old one left them.
"""

import traceback
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec
import trio

from pipeline.core.retry import RestartIntensity
from pipeline.runtime.graph import ActorSpec, Restart
from pipeline.vocabulary.errors import CrashLoopError, Fault, LinkClosedError, TalkwireError, Verdict


class Happening(StrEnum):
    """What can befall an actor."""

    FAILED = "failed"
    """It raised `error`."""
    RESTARTED = "restarted"
    """It ended, so it and those started after it were started again."""
    OVERDUE = "overdue"
    """It was told to stop and is still there after its grace."""


class Incident(msgspec.Struct, frozen=True):
    """Something for the log and the status: who ("actor capture", "process audio"), what, and why."""

    who: str
    what: Happening
    fault: Fault | None = None


Report = Callable[[Incident], None]


class Condition(StrEnum):
    """How an actor is."""

    WAITING = "waiting"
    """It has not been started yet."""
    RUNNING = "running"
    ENDED = "ended"
    """For good, or until it is started again."""
    OVERDUE = "overdue"
    """It was told to stop and is still there after its grace."""


class ActorState(msgspec.Struct):
    """How an actor stands, for the status.

    Attributes:
        name: the actor.
        condition: how it is.
        restarts: incarnations after the first, whichever actor was the cause.
        failure: what it failed with last.
    """

    name: str
    condition: Condition = Condition.WAITING
    restarts: int = 0
    failure: Fault | None = None


def new_states(actors: Sequence[ActorSpec]) -> dict[str, ActorState]:
    """States for `run` to keep, by name."""
    return {actor.name: ActorState(actor.name) for actor in actors}


async def run(
    actors: Sequence[ActorSpec],
    arguments: Mapping[str, Mapping[str, object]],
    states: Mapping[str, ActorState],
    *,
    intensity: RestartIntensity,
    report: Report,
) -> None:
    """Run actors until a significant one ends for good, or none is left that could still do something.

    They start in the given order. When one has to be restarted, those after it are stopped (last first) and all of
    them start again. An actor that ended for good stays ended. At the end, and when this is cancelled, the actors are
    stopped last first, one at a time, each within its grace. Trio cannot kill a task: an actor that shields itself
    beyond its grace is reported and no longer holds up the others, but this still returns after it.

    Args:
        actors: in the order of starting.
        arguments: actor name → all its arguments, see `graph.bind`.
        states: kept up to date; see `new_states`.
        intensity: how many restarts are too many, for all of them together.
        report: is told every incident; must neither wait nor raise.

    Raises:
        TalkwireError: with verdict "stop", as an actor raised it, also while cleaning up.
        CrashLoopError: too many restarts, or an actor that cannot be replaced because it does not end.
        Exception: what a significant actor that is never restarted failed with.
    """
    failure = None
    async with trio.open_nursery() as nursery:
        supervisor = _Supervisor(nursery, actors, arguments, states, intensity, report)
        try:
            failure = await supervisor.watch()
        finally:
            with trio.CancelScope(shield=True):  # bounded by the graces
                await supervisor.stop()
    failure = failure or supervisor.refusal()
    if failure is not None:
        raise failure


def most_telling(error: Exception) -> Exception:
    """The one error of a (nested) group that says most about the cause; any other error is returned as it is.

    First what forbids to go on, then what nobody foresaw, then known failures, and a closed link last: it is an echo.
    """
    if not isinstance(error, ExceptionGroup):
        return error
    return min((most_telling(each) for each in error.exceptions), key=_rank)


def fault_of(error: Exception) -> Fault:
    """An error as a value that is safe to show: the text of a foreign one may hold speech or a secret."""
    if isinstance(error, TalkwireError):
        return error.fault()
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" in {Path(place[0].filename).name}:{place[0].lineno}" if place else ""
    return Fault(kind="Actor", verdict=Verdict.RESTART, message=f"{type(error).__name__}{where}")


def _rank(error: Exception) -> int:
    if _stops(error):
        return 0
    if not isinstance(error, TalkwireError):
        return 1
    return 3 if isinstance(error, LinkClosedError) else 2


def _stops(error: Exception | None) -> bool:
    return isinstance(error, TalkwireError) and error.verdict is Verdict.STOP


class _Child:
    """One incarnation of an actor. Shielded: only its supervisor cancels it, so that stopping keeps its order."""

    def __init__(self, spec: ActorSpec) -> None:
        self.spec = spec
        self.scope = trio.CancelScope(shield=True)
        self.began = trio.Event()
        self.ended = trio.Event()
        self.error: Exception | None = None
        self.is_overdue = False

    @property
    def is_finished(self) -> bool:
        """It has ended by itself, and its rule leaves it at that."""
        if not self.ended.is_set() or self.scope.cancel_called or self.spec.restart is Restart.PERMANENT:
            return False
        return self.error is None or self.spec.restart is Restart.TEMPORARY


class _Supervisor:
    def __init__(
        self,
        nursery: trio.Nursery,
        actors: Sequence[ActorSpec],
        arguments: Mapping[str, Mapping[str, object]],
        states: Mapping[str, ActorState],
        intensity: RestartIntensity,
        report: Report,
    ) -> None:
        self._nursery = nursery
        self._arguments = arguments
        self._states = states
        self._intensity = intensity
        self._report = report
        self._children = [_Child(actor) for actor in actors]
        self._one_ended = trio.lowlevel.ParkingLot()

    async def watch(self) -> Exception | None:
        """Start all and restart what has to be; returns when it is over, with the reason if that is a failure.

        Each round looks at how things stand and does one thing, for while it waits anything may end.
        """
        await self._start(range(len(self._children)))
        while True:
            if (refusal := self.refusal()) is not None:
                return refusal
            finished = [child for child in self._children if child.is_finished]
            for child in finished:
                if child.spec.significant:
                    return child.error
            if len(finished) == len(self._children):
                return None
            ended = [i for i, child in enumerate(self._children) if child.ended.is_set() and child not in finished]
            if not ended:
                await self._one_ended.park()
            elif (failure := await self._revive(ended[0])) is not None:
                return failure

    def refusal(self) -> Exception | None:
        """The first error that forbids to go on."""
        return next((child.error for child in self._children if _stops(child.error)), None)

    async def stop(self, first: int = 0) -> None:
        """Stop the actors from `first` on, last one first, each within its grace."""
        for child in reversed(self._children[first:]):
            if child.ended.is_set() or child.is_overdue:
                continue
            child.scope.cancel()
            if not child.began.is_set():
                continue  # told before its first step, so there is nothing to wait for
            with trio.move_on_after(child.spec.grace_s):
                await child.ended.wait()
            if not child.ended.is_set():
                child.is_overdue = True
                self._states[child.spec.name].condition = Condition.OVERDUE
                self._report(Incident(f"actor {child.spec.name}", Happening.OVERDUE))

    async def _revive(self, first: int) -> CrashLoopError | None:
        """One step towards a new incarnation of an actor that ended and of those after it: clear away, or start."""
        cause = self._children[first]
        if not all(child.ended.is_set() for child in self._children[first:]):
            await self.stop(first)
            overdue = [child.spec.name for child in self._children[first:] if not child.ended.is_set()]
            return CrashLoopError(f"{overdue[0]} does not stop, so it cannot be replaced") if overdue else None
        if self._intensity.exceeded(trio.current_time()):
            reason = _describe(cause.error)
            failure = CrashLoopError(f"giving up after too many restarts; the last: {cause.spec.name} {reason}")
            failure.__cause__ = cause.error
            return failure
        indices = [i for i in range(first, len(self._children)) if not self._children[i].is_finished]
        for index in indices:
            self._children[index] = _Child(self._children[index].spec)
            self._states[self._children[index].spec.name].restarts += 1
        self._report(
            Incident(f"actor {cause.spec.name}", Happening.RESTARTED, fault_of(cause.error) if cause.error else None)
        )
        await self._start(indices)
        return None

    async def _start(self, indices: Sequence[int]) -> None:
        """Start these actors, each when the one before it has run up to its first wait."""
        for index in indices:
            child = self._children[index]
            self._nursery.start_soon(self._live, child, name=child.spec.name)
            await child.began.wait()

    async def _live(self, child: _Child) -> None:
        state = self._states[child.spec.name]
        state.condition = Condition.RUNNING
        child.began.set()
        try:
            with child.scope:
                await child.spec.function(**self._arguments[child.spec.name])
        except Exception as error:  # noqa: BLE001  # the one place that must outlive any failure of an actor
            child.error = most_telling(error)
            state.failure = fault_of(child.error)
            self._report(Incident(f"actor {child.spec.name}", Happening.FAILED, state.failure))
        finally:
            state.condition = Condition.ENDED
            child.ended.set()
            self._one_ended.unpark_all()


def _describe(error: Exception | None) -> str:
    """What an actor did, in words that are safe to show: the text of a foreign error may hold anything."""
    if error is None:
        return "ended although it should not"
    return f"failed: {error.message}" if isinstance(error, TalkwireError) else f"failed with {type(error).__name__}"
