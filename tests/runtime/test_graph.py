"""What is refused before anything starts, each by name; binding; delays; the picture."""

from typing import NamedTuple

import msgspec
import pytest
from msgspec.structs import replace

from pipeline.core.overflow import Hold, Overflow
from pipeline.runtime.graph import (
    ActorSpec,
    GraphError,
    LinkSpec,
    Placement,
    Restart,
    bind,
    check,
    delays,
    mermaid,
)
from pipeline.runtime.ports import FloorView, Receiver, Sender


class Frame(msgspec.Struct, frozen=True):
    """Sound on the way out."""

    duration_ms: float


class Reply(NamedTuple):
    """Sound on the way in."""

    turn: int

    @property
    def duration_ms(self) -> float:
        return 20.0


class Opened(msgspec.Struct, frozen=True):
    """A signal."""


class Failed(msgspec.Struct, frozen=True):
    """Another signal."""


async def capture(frames: Sender[Frame], activity: Sender[Opened | Failed], *, device: str) -> None: ...


async def network(uplink: Receiver[Frame], reply: Sender[Reply], heard: Receiver[Opened]) -> None: ...


async def playback(speech: Receiver[Reply], heard: Sender[Opened], *, floor: FloorView, fade_ms: int = 5) -> None: ...


async def session(activity: Receiver[Failed | Opened]) -> None: ...


ACTORS = (
    ActorSpec("capture", capture),
    ActorSpec("network", network, gateway=True),
    ActorSpec("playback", playback),
    ActorSpec("session", session, Restart.TRANSIENT, significant=True),
)
LINKS = {
    link.name: link
    for link in (
        LinkSpec("mic", "capture.frames", "network.uplink", Hold(2_000, "ms"), Overflow.DROP_OLDEST, "newest first"),
        LinkSpec("reply", "network.reply", "playback.speech", Hold(400, "ms"), Overflow.WAIT, "a reason", True),
        LinkSpec("heard", "playback.heard", "network.heard", Hold(1, "items"), Overflow.LATEST, "a gauge"),
        LinkSpec("activity", "capture.activity", "session.activity", Hold(8, "items"), Overflow.FAIL, "signals"),
    )
}
SINGLE: Placement = dict.fromkeys(("capture", "network", "playback", "session"), "main")
DEVICES = (("capture", "playback"),)


def problems(
    *links: LinkSpec, actors: tuple[ActorSpec, ...] = ACTORS, placement: Placement = SINGLE, without: str = ""
) -> tuple[str, ...]:
    """The refusals of the map above with these links put in place of their namesakes."""
    changed = {**LINKS, **{link.name: link for link in links}}
    changed.pop(without, None)
    with pytest.raises(GraphError) as caught:
        check(actors, list(changed.values()), placement, DEVICES)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_a_good_map_passes() -> None:
    check(ACTORS, list(LINKS.values()), SINGLE, DEVICES)
    check(ACTORS, list(LINKS.values()), {**SINGLE, "capture": "audio", "playback": "audio"}, DEVICES)


def test_a_port_that_is_not_connected() -> None:
    assert problems(without="mic") == (
        "port capture.frames: not connected",
        "port network.uplink: not connected",
    )


def test_a_port_connected_twice() -> None:
    assert problems(replace(LINKS["mic"], name="mic2")) == (
        "port capture.frames: connected 2 times",
        "port network.uplink: connected 2 times",
    )


def test_payloads_that_differ() -> None:
    assert problems(
        replace(LINKS["mic"], target="playback.speech"),
        replace(LINKS["reply"], target="network.uplink", overflow=Overflow.FAIL),
    ) == (
        "link mic: capture.frames sends Frame, playback.speech receives Reply",
        "link reply: network.reply sends Reply, network.uplink receives Frame",
    )


def test_a_union_that_differs_in_one_member() -> None:
    swapped = replace(LINKS["heard"], target="session.activity"), replace(LINKS["activity"], target="network.heard")
    assert "link activity: capture.activity sends Opened | Failed, network.heard receives Opened" in problems(*swapped)


def test_a_hold_in_ms_of_something_without_length() -> None:
    assert problems(replace(LINKS["activity"], hold=Hold(100, "ms"))) == (
        "link activity: its hold is in ms, but Opened has no duration_ms",
        "link activity: its hold is in ms, but Failed has no duration_ms",
    )


def test_a_floor_for_something_without_a_turn() -> None:
    assert problems(replace(LINKS["mic"], obeys_floor=True)) == ("link mic: it obeys the floor, but Frame has no turn",)


def test_a_link_without_a_bound_cannot_even_be_written() -> None:
    for amount in (0, -1, float("inf")):
        with pytest.raises(ValueError, match="above zero"):
            Hold(amount, "ms")


def test_a_link_without_a_reason() -> None:
    assert problems(replace(LINKS["mic"], why=" ")) == ("link mic: no reason given for 2 s, drop_oldest",)


def test_ends_that_do_not_exist_with_the_nearest_that_do() -> None:
    wrong = replace(LINKS["mic"], source="captur.frames", target="network.uplnk")
    assert problems(wrong) == (
        'link mic: no actor captur; did you mean "capture"?',
        "link mic: network has no port 'uplnk'; did you mean \"uplink\"?",
        "port capture.frames: not connected",
        "port network.uplink: not connected",
    )


def test_an_end_without_a_port() -> None:
    assert "link mic: capture has no port ''" in problems(replace(LINKS["mic"], source="capture"))


def test_a_keyword_parameter_is_no_port() -> None:
    assert "link mic: capture has no port 'device'" in problems(replace(LINKS["mic"], source="capture.device"))


def test_a_link_the_wrong_way_round() -> None:
    assert problems(replace(LINKS["mic"], source="network.uplink", target="capture.frames")) == (
        "link mic: network.uplink is a Receiver and cannot be the source",
        "link mic: capture.frames is a Sender and cannot be the target",
    )


def test_a_cycle_made_only_of_waiting_links() -> None:
    assert problems(replace(LINKS["heard"], overflow=Overflow.WAIT)) == (
        "cycle of waiting links: playback → network → playback (links heard, reply)",
    )


def test_every_cycle_of_waiting_links_is_named() -> None:
    async def a(x: Receiver[Opened], y: Sender[Opened]) -> None: ...

    rows = tuple(ActorSpec(name, a) for name in "abcd")
    links = [
        LinkSpec(f"{source}{target}", f"{source}.y", f"{target}.x", Hold(1, "items"), Overflow.WAIT, "why")
        for source, target in ("ab", "ba", "cd", "dc")
    ]
    with pytest.raises(GraphError) as caught:
        check(rows, links, dict.fromkeys("abcd", "main"))
    assert sorted(sorted(line.split("links ")[1].rstrip(")").split(", ")) for line in caught.value.problems) == [
        ["ab", "ba"],
        ["cd", "dc"],
    ]


def test_one_link_that_does_not_wait_breaks_the_cycle() -> None:
    for overflow in (Overflow.DROP_OLDEST, Overflow.FAIL, Overflow.LATEST):
        check(ACTORS, [*{**LINKS, "heard": replace(LINKS["heard"], overflow=overflow)}.values()], SINGLE)


def test_an_actor_without_a_place_and_a_place_without_an_actor() -> None:
    placement = {"capture": "main", "netwrok": "main", "playback": "main", "session": ""}
    assert problems(placement=placement) == (
        "actor network: no place in the placement",
        "actor session: no place in the placement",
        'placement: no actor netwrok; did you mean "network"?',
    )


def test_actors_that_belong_together_apart() -> None:
    assert problems(placement={**SINGLE, "capture": "audio"}) == (
        "placement: capture in audio, playback in main, but these belong in one process",
    )


def test_names_declared_twice() -> None:
    with pytest.raises(GraphError) as caught:
        check((*ACTORS, ACTORS[0]), [*LINKS.values(), LINKS["mic"]], SINGLE)
    assert caught.value.problems[:2] == ("actor capture: declared 2 times", "link mic: declared 2 times")


def test_a_significant_actor_that_never_ends() -> None:
    actors = (replace(ACTORS[0], significant=True), *ACTORS[1:])
    assert problems(actors=actors) == (
        "actor capture: significant and permanent, but a permanent actor never ends for good",
    )


def test_every_problem_at_once() -> None:
    found = problems(
        replace(LINKS["mic"], why=""),
        replace(LINKS["heard"], overflow=Overflow.WAIT),
        replace(LINKS["activity"], target="session.activty"),
        placement={**SINGLE, "capture": "audio"},
    )
    assert [line.split(":")[0] for line in found] == [
        "link activity",
        "port session.activity",
        "link mic",
        "cycle of waiting links",
        "placement",
    ]


# binding

ENDS = {name: (f"{name} sender", f"{name} receiver") for name in LINKS}
EDGES = {"capture": {"device": "wav"}, "playback": {"floor": "floor"}}


def test_ports_and_edges_are_bound_by_name() -> None:
    assert bind(ACTORS, list(LINKS.values()), ENDS, EDGES) == {
        "capture": {"device": "wav", "frames": "mic sender", "activity": "activity sender"},
        "network": {"uplink": "mic receiver", "reply": "reply sender", "heard": "heard receiver"},
        "playback": {"floor": "floor", "speech": "reply receiver", "heard": "heard sender"},
        "session": {"activity": "activity receiver"},
    }


def test_actors_that_run_elsewhere_are_left_alone() -> None:
    assert bind(ACTORS[1:2], list(LINKS.values()), ENDS, {}) == {
        "network": {"uplink": "mic receiver", "reply": "reply sender", "heard": "heard receiver"}
    }


def test_arguments_that_are_missing_or_unknown() -> None:
    edges = {"capture": {"devise": "wav"}, "playbak": {"floor": "floor"}}
    with pytest.raises(GraphError) as caught:
        bind(ACTORS, list(LINKS.values()), ENDS, edges)
    assert caught.value.problems == (
        'edges: no actor playbak; did you mean "playback"?',
        "actor capture: nothing given for device",
        'actor capture: has no parameter devise; did you mean "device"?',
        "actor playback: nothing given for floor",
    )


# delays and the picture


def test_delays_add_up_along_each_path_and_end_at_a_gateway() -> None:
    assert list(map(str, delays(ACTORS, list(LINKS.values())))) == [
        "capture → network: 2000 ms (mic 2000)",
        "network → playback: 400 ms (reply 400)",
    ]
    through = (ACTORS[0], replace(ACTORS[1], gateway=False), *ACTORS[2:])
    assert list(map(str, delays(through, list(LINKS.values())))) == [
        "capture → network → playback: 2400 ms (mic 2000 + reply 400)"
    ]
    assert delays(through, list(LINKS.values()))[0].hold_ms == 2_400


def test_delays_of_a_loop_end() -> None:
    async def a(x: Receiver[Frame], y: Sender[Frame]) -> None: ...

    rows = [ActorSpec("a", a, gateway=True), ActorSpec("b", a), ActorSpec("c", a)]
    links = [
        LinkSpec(f"{source}{target}", f"{source}.y", f"{target}.x", Hold(10, "ms"), Overflow.FAIL, "why")
        for source, target in ("ab", "bc", "cb")
    ]
    assert [path.hold_ms for path in delays(rows, links)] == [30]


def test_the_picture_is_the_map() -> None:
    placement = {**SINGLE, "capture": "audio", "playback": "audio"}
    assert mermaid(ACTORS, list(LINKS.values()), placement) == (
        "flowchart LR\n"
        "  subgraph audio\n"
        "    capture\n"
        "    playback\n"
        "  end\n"
        "  subgraph main\n"
        "    network\n"
        "    session\n"
        "  end\n"
        '  capture ==>|"mic: 2 s, drop oldest"| network\n'
        '  network ==>|"reply: 400 ms, wait"| playback\n'
        '  playback -->|"heard: 1, latest"| network\n'
        '  capture -->|"activity: 8, fail"| session\n'
    )
