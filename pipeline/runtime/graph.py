"""The map as data: actors, links, placement; what is refused before anything starts; delays and the picture.

An actor's ports are its parameters of type `Receiver[T]` and `Sender[T]`; everything here is read from the annotations
and the tables, so the map cannot say one thing and the code another.
"""

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from types import UnionType
from typing import Any, Final, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

from pipeline.core.overflow import Hold, Overflow
from pipeline.runtime.ports import Receiver, Sender
from pipeline.vocabulary.errors import TalkwireError

Placement = Mapping[str, str]
"""Actor → process. It comes from the settings and no actor can see it."""

GRACE_S: Final = 0.5
"""s an actor gets to clean up: a chain of eight stays within the 5 s in which a daemon has to stop."""


class Restart(StrEnum):
    """When an actor that ended is started again (Erlang/OTP's words)."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """After a failure only."""
    TEMPORARY = "temporary"
    """Never."""


class ActorSpec(msgspec.Struct, frozen=True):
    """One row of the table of actors; their order is the order of starting.

    Attributes:
        name: what links and placements call it.
        function: the actor; `Receiver[T]`/`Sender[T]` parameters are its ports, keyword-only ones settings and edges.
        restart: when it is started again.
        significant: the whole program ends when this actor ends for good (OTP's word).
        gateway: what it sends is not what it received (the service stands between), so queueing delays end here.
        grace_s: time to clean up when it is stopped.
    """

    name: str
    function: Callable[..., Awaitable[None]]
    restart: Restart = Restart.PERMANENT
    significant: bool = False
    gateway: bool = False
    grace_s: float = GRACE_S


class LinkSpec(msgspec.Struct, frozen=True):
    """One row of the table of links.

    Attributes:
        name: for people, statistics and errors.
        source: sending port, `actor.parameter`.
        target: receiving port, `actor.parameter`.
        hold: how much it may keep.
        overflow: what happens when it is full.
        why: the reason for both.
        obeys_floor: its values carry `turn`, and those below the floor are discarded wherever they are met. Not every
            value with a turn is sound: the report of a flush is about a turn that has just become stale.
    """

    name: str
    source: str
    target: str
    hold: Hold
    overflow: Overflow
    why: str
    obeys_floor: bool = False


class GraphError(TalkwireError):
    """The map cannot be started; `problems` has one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        assert problems, "a graph error names at least one problem"
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Delay(NamedTuple):
    """The longest that sound can queue along one path."""

    actors: tuple[str, ...]
    links: tuple[LinkSpec, ...]

    @property
    def hold_ms(self) -> float:
        """Sum of the holds along the path."""
        return sum(link.hold.amount for link in self.links)

    def __str__(self) -> str:
        terms = " + ".join(f"{link.name} {link.hold.amount:g}" for link in self.links)
        return f"{' → '.join(self.actors)}: {self.hold_ms:g} ms ({terms})"


# checks


class _Port(NamedTuple):
    """A port as an actor's signature declares it."""

    side: type  # Receiver or Sender
    payload: object


_Ports = Mapping[str, Mapping[str, _Port]]


def check(
    actors: Sequence[ActorSpec],
    links: Sequence[LinkSpec],
    placement: Placement,
    inseparable: Collection[Collection[str]] = (),
) -> None:
    """Refuse a map that cannot work, before anything starts.

    Args:
        actors: in the order of starting.
        links: every port of every actor is an end of exactly one of them.
        placement: actor → process.
        inseparable: groups of actors that share something a process boundary would cut (one device, one clock).

    Raises:
        GraphError: with every problem at once.
    """
    ports = {actor.name: _ports_of(actor.function) for actor in actors}
    problems = [
        *_check_names(actors, links),
        *_check_actors(actors),
        *_check_ends(links, ports),
        *_check_payloads(links, ports),
        *_check_reasons(links),
        *_check_waiting_cycles(links),
        *_check_placement(list(ports), placement, inseparable),
    ]
    if problems:
        raise GraphError(problems)


def _ports_of(function: Callable[..., Awaitable[None]]) -> dict[str, _Port]:
    hints = get_type_hints(function)
    return {
        name: _Port(side, get_args(hint)[0])
        for name, hint in hints.items()
        if (side := get_origin(hint)) in {Receiver, Sender}
    }


def _check_names(actors: Sequence[ActorSpec], links: Sequence[LinkSpec]) -> Iterator[str]:
    for kind, rows in (("actor", actors), ("link", links)):
        for name, count in Counter(row.name for row in rows).items():
            if count > 1:
                yield f"{kind} {name}: declared {count} times"


def _check_actors(actors: Sequence[ActorSpec]) -> Iterator[str]:
    for actor in actors:
        if actor.significant and actor.restart is Restart.PERMANENT:
            yield f"actor {actor.name}: significant and permanent, but a permanent actor never ends for good"


def _check_ends(links: Sequence[LinkSpec], ports: _Ports) -> Iterator[str]:
    """Every end is a port that faces the right way, and every port is the end of one link."""
    taken: Counter[str] = Counter()
    for link in links:
        for end, side in ((link.source, Sender), (link.target, Receiver)):
            taken[end] += 1
            yield from _check_end(link, end, side, ports)
    for actor, declared in ports.items():
        for port in declared:
            count = taken[f"{actor}.{port}"]
            if count != 1:
                yield f"port {actor}.{port}: " + ("not connected" if count == 0 else f"connected {count} times")


def _check_end(link: LinkSpec, end: str, side: type, ports: _Ports) -> Iterator[str]:
    actor, _, port = end.partition(".")
    if actor not in ports:
        yield f"link {link.name}: no actor {actor}{_nearest(actor, ports)}"
    elif port not in ports[actor]:
        yield f"link {link.name}: {actor} has no port {port!r}{_nearest(port, ports[actor])}"
    elif (found := ports[actor][port].side) is not side:
        role = "source" if side is Sender else "target"
        yield f"link {link.name}: {end} is a {found.__name__} and cannot be the {role}"


def _check_payloads(links: Sequence[LinkSpec], ports: _Ports) -> Iterator[str]:
    """Both ends carry the same types, and those types carry what the bound and the floor read."""
    for link in links:
        source, target = (_find(end, ports) for end in (link.source, link.target))
        if source and target and source.payload != target.payload:
            sent, taken = _type_name(source.payload), _type_name(target.payload)
            yield f"link {link.name}: {link.source} sends {sent}, {link.target} receives {taken}"
        for needed, attribute in ((link.hold.unit == "ms", "duration_ms"), (link.obeys_floor, "turn")):
            for member in _members(source.payload) if source and needed else ():
                if not hasattr(member, attribute):
                    reason = "its hold is in ms" if attribute == "duration_ms" else "it obeys the floor"
                    yield f"link {link.name}: {reason}, but {_type_name(member)} has no {attribute}"


def _check_reasons(links: Sequence[LinkSpec]) -> Iterator[str]:
    """A bound cannot be missing (`Hold` refuses it), the reason for it can."""
    for link in links:
        if not link.why.strip():
            yield f"link {link.name}: no reason given for {_hold_text(link.hold)}, {link.overflow}"


def _check_waiting_cycles(links: Sequence[LinkSpec]) -> Iterator[str]:
    """Actors that all wait for each other's room wait for ever."""
    waiting = {
        (link.source.partition(".")[0], link.target.partition(".")[0]): link.name
        for link in links
        if link.overflow is Overflow.WAIT
    }
    while True:
        sorter: TopologicalSorter[str] = TopologicalSorter()
        for source, target in waiting:
            sorter.add(target, source)
        try:
            sorter.prepare()
        except CycleError as found:
            cycle: list[str] = found.args[1]
        else:
            return
        hops = list(pairwise(cycle))
        yield f"cycle of waiting links: {' → '.join(cycle)} (links {', '.join(waiting[hop] for hop in hops)})"
        del waiting[hops[0]]  # broken here, so that the next round finds the next cycle


def _check_placement(
    actors: Sequence[str], placement: Placement, inseparable: Collection[Collection[str]]
) -> Iterator[str]:
    for actor in actors:
        if not placement.get(actor):
            yield f"actor {actor}: no place in the placement"
    for actor in placement:
        if actor not in actors:
            yield f"placement: no actor {actor}{_nearest(actor, actors)}"
    for group in inseparable:
        places = [f"{actor} in {placement[actor]}" for actor in group if placement.get(actor)]
        if len({placement[actor] for actor in group if placement.get(actor)}) > 1:
            yield f"placement: {', '.join(places)}, but these belong in one process"


def _find(end: str, ports: _Ports) -> _Port | None:
    actor, _, port = end.partition(".")
    return ports.get(actor, {}).get(port)


def _members(payload: object) -> tuple[object, ...]:
    return get_args(payload) if get_origin(payload) in {Union, UnionType} else (payload,)


def _type_name(payload: object) -> str:
    return " | ".join(getattr(member, "__name__", str(member)) for member in _members(payload))


def _nearest(name: str, known: Collection[str]) -> str:
    """`; did you mean "x"?` for the closest known name, or nothing."""
    matches = get_close_matches(name, known, n=1)
    return f'; did you mean "{matches[0]}"?' if matches else ""


# binding


def payload_of(link: LinkSpec, actors: Sequence[ActorSpec]) -> Any:
    """The type of the values a checked link carries, as its sending actor declares it."""
    actor, _, port = link.source.partition(".")
    return next(_ports_of(spec.function)[port].payload for spec in actors if spec.name == actor)


def bind(
    actors: Sequence[ActorSpec],
    links: Sequence[LinkSpec],
    ends: Mapping[str, tuple[object, object]],
    edges: Mapping[str, Mapping[str, object]],
) -> dict[str, dict[str, object]]:
    """The keyword arguments of every actor: link ends for its ports, and what `edges` gives it.

    Args:
        actors: those that run here; ends of links that belong to others are left alone.
        links: the map.
        ends: link name → (sender, receiver); links that have no end here are left out.
        edges: actor name → its keyword-only parameters: settings, devices, the floor.

    Raises:
        GraphError: an actor lacks an argument, or is given one it does not know.
    """
    arguments = {actor.name: dict(edges.get(actor.name, {})) for actor in actors}
    problems = [f"edges: no actor {name}{_nearest(name, arguments)}" for name in edges if name not in arguments]
    for link in links:
        for end, port in zip(ends.get(link.name, ()), (link.source, link.target), strict=False):
            actor, _, parameter = port.partition(".")
            if actor in arguments:
                arguments[actor][parameter] = end
    for spec in actors:
        problems += _check_arguments(spec, arguments[spec.name])
    if problems:
        raise GraphError(problems)
    return arguments


def _check_arguments(actor: ActorSpec, given: Mapping[str, object]) -> Iterator[str]:
    parameters = inspect.signature(actor.function).parameters
    for name, parameter in parameters.items():
        if name not in given and parameter.default is parameter.empty:
            yield f"actor {actor.name}: nothing given for {name}"
    for name in given:
        if name not in parameters:
            yield f"actor {actor.name}: has no parameter {name}{_nearest(name, parameters)}"


# delays and the picture


def delays(actors: Sequence[ActorSpec], links: Sequence[LinkSpec]) -> list[Delay]:
    """Worst-case queueing delay of every path that sound takes, from where it enters to where it leaves.

    Only links that hold ms count; a path begins and ends at a gateway or where no such link goes on.
    """
    gateways = {actor.name for actor in actors if actor.gateway}
    outgoing: dict[str, list[LinkSpec]] = {actor.name: [] for actor in actors}
    for link in links:
        if link.hold.unit == "ms":
            outgoing[link.source.partition(".")[0]].append(link)
    fed = {link.target.partition(".")[0] for onward in outgoing.values() for link in onward}
    starts = [name for name, onward in outgoing.items() if onward and (name in gateways or name not in fed)]

    def extend(delay: Delay) -> Iterator[Delay]:
        here = delay.actors[-1]
        ends_here = delay.links and here in gateways
        onward = [] if ends_here or here in delay.actors[:-1] else outgoing[here]
        if not onward:
            yield delay
        for link in onward:
            target = link.target.partition(".")[0]
            yield from extend(Delay((*delay.actors, target), (*delay.links, link)))

    return [path for start in starts for path in extend(Delay((start,), ()))]


def mermaid(actors: Sequence[ActorSpec], links: Sequence[LinkSpec], placement: Placement) -> str:
    """The map as a Mermaid flowchart, the same for the same tables: thick arrows carry sound, thin ones signals."""
    lines = ["flowchart LR"]
    for process in dict.fromkeys(placement[actor.name] for actor in actors):
        lines.append(f"  subgraph {process}")
        lines += [f"    {actor.name}" for actor in actors if placement[actor.name] == process]
        lines.append("  end")
    for link in links:
        source, target = (end.partition(".")[0] for end in (link.source, link.target))
        arrow = "==>" if link.hold.unit == "ms" else "-->"
        rule = link.overflow.replace("_", " ")
        lines.append(f'  {source} {arrow}|"{link.name}: {_hold_text(link.hold)}, {rule}"| {target}')
    return "\n".join(lines) + "\n"


def _hold_text(hold: Hold) -> str:
    if hold.unit == "items":
        return f"{hold.amount:g}"
    return f"{hold.amount / 1000:g} s" if hold.amount >= 1000 else f"{hold.amount:g} ms"
