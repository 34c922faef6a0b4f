"""Life and death of child processes: one_for_one, readiness before "started", heartbeats, the shutdown ladder.

A child is forked by its fork server, which is started with the first life and again whenever it is gone.
"""

import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, closing, suppress
from enum import StrEnum
from functools import partial
from typing import Final, NamedTuple

import msgspec
import trio

from pipeline.core.retry import RestartIntensity
from pipeline.runtime.floor import Floor
from pipeline.runtime.forks import Forked, ForkServer, ForkServerError
from pipeline.runtime.links import Links
from pipeline.runtime.process_link import Trunk
from pipeline.runtime.reports import Beat, Begin, Ended, Happened, Ready, Report
from pipeline.runtime.supervisor import Happening, Incident
from pipeline.runtime.worker import BEAT_S, OUTAGE_EXIT
from pipeline.vocabulary.errors import CrashLoopError, Fault, Verdict, error_from

START_DEADLINE_S: Final = 5.0
"""From the start of a process until its actors run: 0.4 s here, 2 s with four times the load the machine can carry.

Sound is not touched before that, so a hung sound server makes nobody late, and a busy machine no crash loop.
"""
BEAT_DEADLINE_S: Final = 0.75
"""Three beats missed: whatever it does, it does not serve."""
LET_GO_S: Final = 0.5
"""For a child to end in order, once its parent has let go; then SIGTERM."""
TERM_S: Final = 0.3
"""From SIGTERM to SIGKILL."""
OUTAGE_PAUSE_S: Final = 0.25
"""A sound system that is away is looked for this often at most, for ever. Counted from start to start: one that hangs
has held the life before for longer, and its return must not fall into a pause."""

OUTAGE_OVER_S: Final = 30.0
"""A life of this length went on without what was away, or with it again: the next outage is news."""


class ChildSpec(NamedTuple):
    """A child process: its name in placements, and the command of the fork server that makes it."""

    name: str
    command: Sequence[str]


class Death(StrEnum):
    """How a life ended."""

    TOLD = "was told to end"
    CRASH = "crashed"
    WEDGED = "did not answer any more"
    LATE = "did not start in time"
    OUTAGE = "ended because the sound system does not answer"
    STARVED = "cannot be started: the system has no descriptors, processes or memory left for it"


OUTAGES: Final = frozenset({Death.OUTAGE, Death.STARVED})
"""The world's doing, and no defect: they do not count, and are waited out."""


class ChildState(msgspec.Struct):
    """How a child stands, for the status.

    Attributes:
        name: the process.
        pid: 0 while there is none.
        ready: its actors run.
        restarts: lives after the first.
        beat: its last word, None before the first.
        beat_s: when that came (host clock).
        started_s: when this life began (host clock).
        ended: how the life before this one ended; empty if there was none.
    """

    name: str
    pid: int = 0
    ready: bool = False
    restarts: int = 0
    beat: Beat | None = None
    beat_s: float = 0.0
    started_s: float = 0.0
    ended: str = ""


async def supervise(
    spec: ChildSpec,
    state: ChildState,
    links: Links,
    floor: Floor,
    *,
    plan: Callable[[Beat | None, Death | None], bytes],
    intensity: RestartIntensity,
    report: Callable[[Incident], None],
) -> None:
    """Keep a child process alive until cancelled; it is gone, and reaped, when this returns.

    Args:
        spec: what to run.
        state: kept up to date.
        links: of this process; those to and from the child outlive it.
        floor: of this process.
        plan: what a new life is told to do, given the last word of the one before and how it ended; asked as soon as
            that has ended.
        intensity: how many crashes are too many; an outage is none.
        report: is told every incident; must neither wait nor raise.

    Raises:
        TalkwireError: with verdict "stop", as an actor of the child raised it.
        CrashLoopError: too many crashes.
    """
    in_outage = False
    begin = plan(None, None)
    with closing(ForkServer(spec.command)) as server:
        while True:
            life = _Life(spec, state, report)
            began_s = trio.current_time()
            death = await life.live(server, links, floor, begin)
            state.ended = str(death)
            if life.refusal is not None:
                raise error_from(life.refusal)
            if trio.current_time() - began_s > OUTAGE_OVER_S:
                in_outage = False
            if death not in OUTAGES:
                in_outage = False
                if intensity.exceeded(trio.current_time()):
                    raise CrashLoopError(f"giving up after too many restarts; the last: process {spec.name} {death}")
                report(Incident(f"process {spec.name}", Happening.RESTARTED, _fault(death)))
            elif not in_outage:  # told once
                in_outage = True
                report(Incident(f"process {spec.name}", Happening.FAILED, _fault(death)))
            begin = plan(state.beat, death)
            if in_outage:
                await trio.sleep_until(began_s + OUTAGE_PAUSE_S)
            state.restarts += 1


class _Life:
    """One incarnation."""

    def __init__(self, spec: ChildSpec, state: ChildState, report: Callable[[Incident], None]) -> None:
        self._spec = spec
        self._state = state
        self._report = report
        self._ready = trio.Event()
        self.refusal: Fault | None = None

    async def live(self, server: ForkServer, links: Links, floor: Floor, plan: bytes) -> Death:
        """From start to end; how it died. Cancelled: it is ended by the ladder first."""
        self._state.ready, self._state.beat = False, None
        try:
            with trio.fail_after(START_DEADLINE_S):
                child, ours = await _start(server)
        except (ForkServerError, FileNotFoundError, PermissionError):  # the last two: its program is gone
            return Death.CRASH
        except OSError:
            return Death.STARVED
        except trio.TooSlowError:
            server.close()
            return Death.LATE
        self._state.pid = child.pid
        self._state.started_s = self._state.beat_s = trio.current_time()
        with suppress(OSError):  # killed before it has begun: its pidfd tells
            ours.send(msgspec.msgpack.encode(Begin(plan)))
        name = self._spec.name
        trunk = Trunk(
            trio.socket.from_stdlib_socket(ours),
            links.outlets.get(name, []),
            links.inlets.get(name, []),
            floor,
            leads=True,
            on_report=self._take,
        )
        death = Death.TOLD
        try:
            death = await self._watch(child.pidfd, trunk)
        finally:
            with trio.CancelScope(shield=True):
                exit_code = await _end(server, child, at_once=death in {Death.WEDGED, Death.LATE})
            self._state.pid, self._state.ready = 0, False
        return Death.OUTAGE if death is Death.CRASH and exit_code == OUTAGE_EXIT else death

    async def _watch(self, pidfd: int, trunk: Trunk) -> Death:
        death = Death.CRASH
        async with trio.open_nursery() as nursery:

            async def until(wait: Callable[[], Awaitable[object]], verdict: Death) -> None:
                nonlocal death
                await wait()
                death = verdict
                nursery.cancel_scope.cancel()

            async def gone() -> None:
                await trio.lowlevel.wait_readable(pidfd)

            nursery.start_soon(until, gone, Death.CRASH)
            nursery.start_soon(until, trunk.run, Death.CRASH)
            nursery.start_soon(until, self._too_late, Death.LATE)
            nursery.start_soon(until, partial(self._wedged, trunk), Death.WEDGED)
        return death

    async def _too_late(self) -> None:
        """Returns when the child is not ready in time."""
        with trio.move_on_after(START_DEADLINE_S):
            await self._ready.wait()
        if self._ready.is_set():
            await trio.sleep_forever()

    async def _wedged(self, trunk: Trunk) -> None:
        """Returns when the child has not said for too long that it lives.

        What it has said and this process has not read counts for it, however long this process stood still.
        """
        await self._ready.wait()
        while True:
            heard_s = self._state.beat_s
            await trio.sleep_until(heard_s + BEAT_DEADLINE_S)
            if self._state.beat_s != heard_s:
                continue
            if self._is_silent_since(heard_s, trunk):
                await trio.sleep(BEAT_S)
                if self._is_silent_since(heard_s, trunk):
                    return
            await trio.sleep(BEAT_S / 10)  # to read what there is

    def _is_silent_since(self, heard_s: float, trunk: Trunk) -> bool:
        return self._state.beat_s == heard_s and not trunk.has_unread

    def _take(self, body: bytes) -> None:
        match msgspec.msgpack.decode(body, type=Report):
            case Ready():
                self._state.ready = True
                self._ready.set()
            case Beat() as beat:
                self._state.beat, self._state.beat_s = beat, trio.current_time()
            case Happened(incident):
                self._report(incident)
            case Ended(fault):
                self.refusal = fault


async def _start(server: ForkServer) -> tuple[Forked, socket.socket]:
    """A child and our end of its trunk; nothing is left of that if it fails. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ExitStack() as undo, theirs:
        undo.callback(ours.close)
        child = await server.fork(theirs)
        undo.pop_all()
    return child, ours


async def _end(server: ForkServer, child: Forked, *, at_once: bool) -> int:
    """The ladder: the trunk is closed by now, then SIGTERM, then SIGKILL; afterwards there is no such process.

    Bounded, and not to be cancelled. `at_once` is for what does not listen any more: the last step is the first.
    Returns its exit code, negative for a signal.
    """
    ladder = ((None, LET_GO_S), (signal.SIGTERM, TERM_S), (signal.SIGKILL, None))
    for number, patience_s in ladder[-1:] if at_once else ladder:
        if number is not None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, number)
        with trio.move_on_after(float("inf") if patience_s is None else patience_s):
            await trio.lowlevel.wait_readable(child.pidfd)
            break
    os.close(child.pidfd)
    return await server.reap(child.pid)


def _fault(death: Death) -> Fault:
    return Fault(kind="Process", verdict=Verdict.RESTART, cause=death.name.lower(), message=str(death))
