"""Which links a process opens of the map; what every link promises is in contracts/test_links.py."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.core.overflow import Hold, Overflow
from pipeline.runtime.floor import Floor
from pipeline.runtime.graph import ActorSpec, LinkSpec
from pipeline.runtime.links import Links, open_links
from pipeline.runtime.ports import Receiver, Sender
from pipeline.vocabulary.errors import LinkClosedError
from pipeline.vocabulary.signals import Flushed

FLUSHED = Flushed(turn=1, item_id="item", content_index=0, heard_ms=40)


def link(name: str, *, obeys_floor: bool = False) -> LinkSpec:
    return LinkSpec(name, "a.x", "b.y", Hold(8, "items"), Overflow.FAIL, "a reason", obeys_floor)


async def sends(x: Sender[Flushed]) -> None: ...


async def receives(y: Receiver[Flushed]) -> None: ...


ACTORS = [ActorSpec("a", sends), ActorSpec("b", receives)]


@contextmanager
def opened(*links: LinkSpec, floor: Floor | None = None, a: str = "main", b: str = "main") -> Iterator[Links]:
    """The links as process `main` sees them."""
    with open_links(ACTORS, links, {"a": a, "b": b}, "main", floor or Floor()) as found:
        yield found


async def test_the_map_is_opened_by_name_and_closed_on_leaving() -> None:
    with opened(link("one"), link("two")) as found:
        links = found.local
        assert list(links) == ["one", "two"]
        assert links["two"].sender.statistics().name == "two"
        await links["one"].sender.send(1)
        assert links["two"].receiver.statistics().items == 0
    for each in links.values():
        with pytest.raises(LinkClosedError):
            await each.sender.send(1)


async def test_only_links_that_obey_the_floor_are_purged() -> None:
    floor = Floor()
    with opened(link("reply", obeys_floor=True), link("flushed"), floor=floor) as found:
        links = found.local
        for each in links.values():
            await each.sender.send(FLUSHED)
        floor.raise_to(2)
        assert links["reply"].receiver.statistics().stale == 1
        assert links["flushed"].receiver.receive_nowait() == FLUSHED


async def test_of_a_link_that_crosses_a_process_has_the_end_that_lives_there() -> None:
    with opened(link("out"), b="audio") as found:
        assert (list(found.local), list(found.outlets), list(found.inlets)) == ([], ["audio"], [])
        sender, receiver = found.ends["out"]
        assert sender is not None
        assert receiver is None
        assert [each.name for each in found.statistics()] == ["out"]
    with opened(link("in"), a="audio") as found:
        assert (list(found.local), list(found.outlets), list(found.inlets)) == ([], [], ["audio"])
        assert found.ends["in"][0] is None
    with opened(link("elsewhere"), a="audio", b="audio") as found:
        assert found.ends == {}


async def test_closing_reaches_the_ends_of_links_that_cross() -> None:
    with opened(link("out"), b="audio") as found:
        sender = found.outlets["audio"][0].sender
    with pytest.raises(LinkClosedError):
        sender.send_nowait(FLUSHED)
