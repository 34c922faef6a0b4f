"""What there is to see of a running endpoint, gathered from who knows it."""

import os

import trio

from pipeline import __version__, topology
from pipeline.core.devices import Devices
from pipeline.core.ledger import Ledger
from pipeline.core.session import Session
from pipeline.core.troubles import troubles
from pipeline.edges.process_memory import resident_bytes
from pipeline.runtime.graph import LinkSpec, Placement
from pipeline.runtime.links import Links
from pipeline.runtime.ports import LinkStatistics
from pipeline.runtime.processes import ChildState
from pipeline.runtime.supervisor import ActorState
from pipeline.vocabulary.control import (
    ActorStatus,
    LinkSide,
    LinkStatus,
    ProcessStatus,
    SnapshotNotice,
    VoiceStatus,
)


class Overview:
    """The state objects of one running endpoint, each kept up to date by its owner.

    Args:
        main: the name of this process.
        placement: actor → process.
        links: of this process.
        actors: of this process.
        children: the other processes.
        started_s: host clock when the endpoint started.

    Attributes:
        devices: what the session knows of them.
        ledger: the books of captured frames.
        begun: there is a session, so there is something to see.
    """

    def __init__(
        self,
        main: str,
        placement: Placement,
        links: Links,
        actors: dict[str, ActorState],
        children: list[ChildState],
        started_s: float,
    ) -> None:
        self.devices = Devices()
        self.ledger = Ledger()
        self.begun = trio.Event()
        self._session: Session | None = None
        self._main = main
        self._placement = placement
        self._links = links
        self._actors = actors
        self._children = children
        self._started_s = started_s

    def follow(self, session: Session) -> None:
        """A new incarnation of the session has begun."""
        self._session = session
        self.begun.set()

    def snapshot(self, now: float) -> SnapshotNotice:
        """Everything as it is at `now` (host clock), once it has begun."""
        assert self._session is not None, "nobody is answered before it has begun"
        devices, session = self.devices, self._session.status(now)
        processes, actors = self._processes(now), [self._actor(spec.name) for spec in topology.ACTORS]
        return SnapshotNotice(
            version=__version__,
            at_s=now,
            uptime_s=now - self._started_s,
            troubles=troubles(session, devices.microphone, devices.loudspeaker, processes, actors),
            session=session,
            microphone=devices.microphone,
            loudspeaker=devices.loudspeaker,
            voice=VoiceStatus(devices.detector, devices.voice_active, devices.utterances, self.ledger.speech_frames),
            frames=self.ledger.books(),
            processes=processes,
            actors=actors,
            links=self._link_states(),
        )

    def _processes(self, now: float) -> list[ProcessStatus]:
        pid = os.getpid()
        rows = [ProcessStatus(self._main, pid, "running", 0, now - self._started_s, None, resident_bytes(pid), "")]
        for child in self._children:
            state = "running" if child.ready else "starting" if child.pid else "down"
            rows.append(
                ProcessStatus(
                    name=child.name,
                    pid=child.pid,
                    state=state,
                    restarts=child.restarts,
                    uptime_s=now - child.started_s if child.pid else 0.0,
                    beat_age_s=now - child.beat_s if child.pid else None,
                    resident_bytes=resident_bytes(child.pid) if child.pid else None,
                    ended=child.ended,
                )
            )
        return rows

    def _actor(self, name: str) -> ActorStatus:
        process = self._placement[name]
        known = self._actors
        if process != self._main:
            beats = [child.beat for child in self._children if child.name == process and child.ready and child.beat]
            known = {state.name: state for beat in beats for state in beat.actors}
        state = known.get(name)
        if state is None:
            return ActorStatus(name, process, "down", 0, "")
        failure = state.failure.message if state.failure else ""
        return ActorStatus(name, process, str(state.condition), state.restarts, failure)

    def _link_states(self) -> list[LinkStatus]:
        known = {self._main: {each.name: each for each in self._links.statistics()}}
        for child in self._children:
            if child.pid and child.beat:
                known[child.name] = {each.name: each for each in child.beat.links}
        return [self._link(spec, known) for spec in topology.LINKS]

    def _link(self, spec: LinkSpec, known: dict[str, dict[str, LinkStatistics]]) -> LinkStatus:
        source, target = (end.partition(".")[0] for end in (spec.source, spec.target))
        places = dict.fromkeys((self._placement[source], self._placement[target]))
        sides = [_side(place, known[place][spec.name]) for place in places if spec.name in known.get(place, {})]
        return LinkStatus(spec.name, source, target, spec.hold.amount, spec.hold.unit, spec.overflow.value, sides)


def _side(process: str, link: LinkStatistics) -> LinkSide:
    return LinkSide(
        process, link.held, link.items, link.sent, link.received, link.dropped, link.stale, link.waiting, link.lost
    )
