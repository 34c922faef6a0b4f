"""The links of the map as one process sees them: whole where both ends live here, else the end that does."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from pipeline.runtime.floor import Floor
from pipeline.runtime.graph import ActorSpec, LinkSpec, Placement, payload_of
from pipeline.runtime.local_link import LocalLink, open_local_link
from pipeline.runtime.ports import LinkStatistics
from pipeline.runtime.process_link import CrossingLink, Inlet, Outlet


class Links(NamedTuple):
    """What a process has open.

    Attributes:
        local: links with both ends here, by name.
        outlets: links that begin here, by the process in which they end.
        inlets: links that end here, by the process in which they begin.
    """

    local: dict[str, LocalLink[Any]]
    outlets: dict[str, list[Outlet]]
    inlets: dict[str, list[Inlet]]

    @property
    def ends(self) -> dict[str, tuple[object, object]]:
        """Link name → (sender, receiver), for `graph.bind`; None for the end that lives elsewhere."""
        ends: dict[str, tuple[object, object]] = {
            name: (each.sender, each.receiver) for name, each in self.local.items()
        }
        ends |= {each.link.spec.name: (each.sender, None) for group in self.outlets.values() for each in group}
        ends |= {each.link.spec.name: (None, each.receiver) for group in self.inlets.values() for each in group}
        return ends

    def statistics(self) -> list[LinkStatistics]:
        """Counters of every end that lives here."""
        crossing = [each for side in (self.outlets, self.inlets) for group in side.values() for each in group]
        return [each.sender.statistics() for each in self.local.values()] + [each.statistics() for each in crossing]


@contextmanager
def open_links(
    actors: Sequence[ActorSpec], links: Sequence[LinkSpec], placement: Placement, here: str, floor: Floor
) -> Iterator[Links]:
    """Open what this process needs of the map; closes it on leaving, when no actor is left to use it.

    Args:
        actors: all of the map, wherever they live: the types of crossing values are read from them.
        links: all of the map; both processes number the crossing ones by their place in it.
        placement: actor → process.
        here: the name of this process.
        floor: this process's floor.
    """
    opened = Links({}, {}, {})
    with ExitStack() as closing:
        for number, spec in enumerate(links):
            source, target = (placement[end.partition(".")[0]] for end in (spec.source, spec.target))
            if source == here == target:
                obeyed = floor if spec.obeys_floor else None
                link = opened.local[spec.name] = open_local_link(spec.name, spec.hold, spec.overflow, floor=obeyed)
                closing.callback(link.close)
            elif source == here:
                outlet = Outlet(CrossingLink(number, spec, payload_of(spec, actors)), floor)
                opened.outlets.setdefault(target, []).append(outlet)
                closing.callback(outlet.close)
            elif target == here:
                inlet = Inlet(CrossingLink(number, spec, payload_of(spec, actors)), floor)
                opened.inlets.setdefault(source, []).append(inlet)
                closing.callback(inlet.close)
        yield opened
