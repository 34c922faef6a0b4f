"""What is particular to links inside one process; what all links share is in contracts/test_links.py."""

import pytest

from pipeline.core.overflow import Hold, Overflow
from pipeline.runtime.floor import Floor
from pipeline.runtime.graph import LinkSpec
from pipeline.runtime.local_link import open_local_links
from pipeline.vocabulary.errors import LinkClosedError
from pipeline.vocabulary.signals import Flushed

FLUSHED = Flushed(turn=1, item_id="item", content_index=0, heard_ms=40)


def link(name: str, *, obeys_floor: bool = False) -> LinkSpec:
    return LinkSpec(name, "a.x", "b.y", Hold(8, "items"), Overflow.FAIL, "a reason", obeys_floor)


async def test_the_map_is_opened_by_name_and_closed_on_leaving() -> None:
    with open_local_links([link("one"), link("two")], Floor()) as links:
        assert list(links) == ["one", "two"]
        assert links["two"].sender.statistics().name == "two"
        await links["one"].sender.send(1)
        assert links["two"].receiver.statistics().items == 0
    for opened in links.values():
        with pytest.raises(LinkClosedError):
            await opened.sender.send(1)


async def test_only_links_that_obey_the_floor_are_purged() -> None:
    floor = Floor()
    with open_local_links([link("reply", obeys_floor=True), link("flushed")], floor) as links:
        for opened in links.values():
            await opened.sender.send(FLUSHED)
        floor.raise_to(2)
        assert links["reply"].receiver.statistics().stale == 1
        assert links["flushed"].receiver.receive_nowait() == FLUSHED
