import pytest

from pipeline import topology
from pipeline.runtime import graph


@pytest.mark.parametrize("placement", topology.PLACEMENTS.values(), ids=topology.PLACEMENTS)
def test_the_map_can_be_started(placement: graph.Placement) -> None:
    graph.check(topology.ACTORS, topology.LINKS, placement, topology.INSEPARABLE)


def test_captured_speech_queues_at_most_as_long_as_promised() -> None:
    uplink = next(delay for delay in graph.delays(topology.ACTORS, topology.LINKS) if delay.actors[0] == "capture")
    assert uplink.hold_ms == 2_200
