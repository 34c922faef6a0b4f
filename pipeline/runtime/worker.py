"""A child process from the inside: it runs the actors that are placed in it until its parent lets go of it.

Its end of the trunk is its lifeline: the end of the stream, however it came about, ends the child. If its loop does
not even turn, its parent kills it; if that one is gone, the kernel does.
"""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import trio

from pipeline.core.retry import RestartIntensity
from pipeline.runtime import graph, supervisor
from pipeline.runtime.clock import HostClock
from pipeline.runtime.floor import Floor
from pipeline.runtime.garbage import freeze_start
from pipeline.runtime.graph import ActorSpec, LinkSpec, Placement
from pipeline.runtime.lifeline import hold_lifeline
from pipeline.runtime.links import Links, open_links
from pipeline.runtime.process_link import MAX_MESSAGE_BYTES, Trunk
from pipeline.runtime.progress import Progress
from pipeline.runtime.reports import Beat, Begin, Ended, Happened, Ready, Report
from pipeline.runtime.supervisor import ActorState
from pipeline.vocabulary.errors import CrashLoopError, SoundSystemHungError, TalkwireError

BEAT_S: Final = 0.25
"""So often a child says that it lives."""
OUTAGE_EXIT: Final = SoundSystemHungError.exit_code
"""The child ends because the world outside (a sound server) is gone, not for a defect."""
PARENT: Final = "main"
"""The process that starts the others, and in which the floor's owner lives."""


class Map(NamedTuple):
    """The whole map, of which a child runs its part."""

    actors: Sequence[ActorSpec]
    links: Sequence[LinkSpec]
    placement: Placement
    restarts_max: int
    restart_period_s: float


Build = Callable[[bytes, Floor, Progress], Mapping[str, Mapping[str, object]]]
"""From the plan in `Begin`, the floor and the progress of this process to the edges and settings of the actors here."""


def run(name: str, trunk_fd: int, parent: int, the_map: Map, build: Build) -> int:
    """Be the child process `name` until the parent lets go; the exit code."""
    hold_lifeline(parent)
    return trio.run(_work, name, trunk_fd, the_map, build, clock=HostClock())


async def _work(name: str, trunk_fd: int, the_map: Map, build: Build) -> int:
    trunk_socket = trio.socket.from_stdlib_socket(socket.socket(fileno=trunk_fd))
    begin = msgspec.msgpack.decode(await trunk_socket.recv(MAX_MESSAGE_BYTES) or b"\xc0", type=Begin | None)
    if begin is None:
        return 0  # the parent was gone before it began
    floor = Floor()
    actors = [actor for actor in the_map.actors if the_map.placement[actor.name] == name]
    with open_links(the_map.actors, the_map.links, the_map.placement, name, floor) as links:
        trunk = Trunk(
            trunk_socket, links.outlets.get(PARENT, []), links.inlets.get(PARENT, []), floor,
            leads=False, on_report=lambda _: None,
        )  # fmt: skip
        progress = Progress()
        child = _Child(trunk, links, supervisor.new_states(actors), progress)
        arguments = graph.bind(actors, the_map.links, links.ends, build(begin.plan, floor, progress))
        intensity = RestartIntensity(the_map.restarts_max, the_map.restart_period_s)
        freeze_start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.beat)
            nursery.start_soon(child.run_actors, actors, arguments, intensity, nursery.cancel_scope)
            await trunk.run()
            nursery.cancel_scope.cancel()
    return child.exit_code


class _Child:
    def __init__(self, trunk: Trunk, links: Links, states: Mapping[str, ActorState], progress: Progress) -> None:
        self._trunk = trunk
        self._links = links
        self._states = states
        self._progress = progress
        self.exit_code = 0

    async def run_actors(
        self,
        actors: Sequence[ActorSpec],
        arguments: Mapping[str, Mapping[str, object]],
        intensity: RestartIntensity,
        scope: trio.CancelScope,
    ) -> None:
        """Run the actors until they end or the parent lets go."""
        self._tell(Ready())
        try:
            await supervisor.run(actors, arguments, self._states, intensity=intensity, report=self._report)
        except SoundSystemHungError:
            await self._trunk.flush()
            os._exit(OUTAGE_EXIT)  # at once: whatever would be closed hangs
        except CrashLoopError as error:  # the parent counts it, and gives this process another life
            self.exit_code = error.exit_code
        except TalkwireError as error:
            self._tell(Ended(error.fault()))
            self.exit_code = error.exit_code
        await self._trunk.flush()
        scope.cancel()

    async def beat(self) -> None:
        """Say that this process lives, for as long as it does; a parent that stands still has enough to read."""
        while True:
            if not self._trunk.is_full:
                idle_s = self._progress.idle_s(trio.current_time())
                self._tell(Beat(self._links.statistics(), list(self._states.values()), idle_s), can_wait=True)
            await trio.sleep(BEAT_S)

    def _report(self, incident: supervisor.Incident) -> None:
        self._tell(Happened(incident))

    def _tell(self, report: Report, *, can_wait: bool = False) -> None:
        self._trunk.report(msgspec.msgpack.encode(report), can_wait=can_wait)
