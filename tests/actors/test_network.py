import base64
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from pipeline.actors.network import GARBAGE_MAX, network
from pipeline.core.ledger import Ledger
from pipeline.core.overflow import Hold, Overflow
from pipeline.core.turn import GAP_S
from pipeline.edges.websocket import QUEUE
from pipeline.realtime import events as ev
from pipeline.realtime import exchange as ex
from pipeline.realtime.codec import encode_append
from pipeline.runtime.floor import Floor
from pipeline.runtime.local_link import LocalLink, open_local_link
from pipeline.vocabulary.errors import ConnectionLostError, ServiceBusyError
from pipeline.vocabulary.frames import EncodedFrame, ReplyPacket
from pipeline.vocabulary.signals import Secret

Link = Callable[[], LocalLink[Any]]
CANARY = Secret("ek_canary_network")


class Rig:
    """A network actor between a session and a service, both played by the test."""

    def __init__(self, nursery: trio.Nursery, link: Link, floor: Floor, realtime: Any, reply: LocalLink[Any]) -> None:
        self.uplink, self.intents, self.service, self.reply = link(), link(), link(), reply
        self.realtime = realtime
        self.seq = 0
        self.ledger = Ledger()
        self.scope = trio.CancelScope()
        self._network = partial(network, connector=realtime.connector, floor=floor, ledger=self.ledger)
        self._nursery = nursery
        self.start()

    def start(self) -> None:
        """Start an incarnation of the actor; `scope` ends it."""
        self.scope = trio.CancelScope()
        self._nursery.start_soon(self._live, self.scope)

    async def _live(self, scope: trio.CancelScope) -> None:
        with scope:
            await self._network(self.uplink.receiver, self.intents.receiver, self.reply.sender, self.service.sender)

    def asks(self, intent: ex.Intent) -> None:
        self.intents.sender.send_nowait(intent)

    async def told(self) -> Any:
        return await self.service.receiver.receive()

    async def open(self, generation: int = 1, *, flow: bool = True) -> Any:
        self.asks(ex.Open(generation, CANARY))
        assert await self.told() == ex.Opened(generation)
        if flow:
            self.asks(ex.Flow(generation))
        await trio.sleep(0.01)
        return self.realtime.wires[-1]

    def captures(self, count: int, *, ends_turn: bool = False) -> None:
        for index in range(count):
            message = encode_append(self.seq.to_bytes(2, "little") * 480)
            last = ends_turn and index == count - 1
            self.uplink.sender.send_nowait(EncodedFrame(self.seq, trio.current_time(), message, 20.0, last))
            self.seq += 1

    def packets(self) -> list[ReplyPacket]:
        packets = []
        while self.reply.receiver.statistics().items:
            packets.append(self.reply.receiver.receive_nowait())
        return packets


@pytest.fixture
def rig(actors: trio.Nursery, link: Link, floor: Floor, realtime: Any) -> Rig:
    return Rig(actors, link, floor, realtime, link())


def created(response: str) -> ev.ResponseCreated:
    return ev.ResponseCreated(event_id="e", response=ev.Response(id=response, status="in_progress"))


def done(response: str) -> ev.ResponseDone:
    return ev.ResponseDone(event_id="e", response=ev.Response(id=response, status="completed"))


def delta(response: str, pcm: bytes = bytes(960), event_id: str = "e") -> ev.ResponseOutputAudioDelta:
    return ev.ResponseOutputAudioDelta(
        event_id=event_id, response_id=response, item_id="a1", output_index=0, content_index=0,
        delta=base64.b64encode(pcm).decode(),
    )  # fmt: skip


def numbers(wire: Any) -> list[int]:
    """The numbers of the captured frames that the service got."""
    appended = [event["audio"] for event in wire.sent if event["type"] == "input_audio_buffer.append"]
    return [int.from_bytes(base64.b64decode(audio)[:2], "little") for audio in appended]


async def test_a_frame_under_way_when_the_line_is_closed_counts_as_sent(
    autojump_clock: MockClock, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = await rig.open()
    connection, released = wire.peer.line, trio.Event()
    send = connection.send

    async def hold(text: str) -> None:
        with trio.CancelScope(shield=True):
            await released.wait()
        await send(text)

    monkeypatch.setattr(connection, "send", hold)
    rig.captures(1)
    await trio.sleep(0.1)
    rig.asks(ex.Close(1))
    await trio.sleep(0.1)
    released.set()
    assert await rig.told() == ex.Closed(1, {"captured": 1, "sent": 1, "spooled": 0})
    assert numbers(wire) == [0]


async def test_nothing_captured_is_sent_before_the_settings_are_confirmed(autojump_clock: MockClock, rig: Rig) -> None:
    wire = await rig.open(flow=False)
    rig.captures(5)
    rig.asks(ex.Send(1, ev.ResponseCreate()))
    await trio.sleep(1)
    assert wire.types() == ["response.create"]
    rig.asks(ex.Flow(1))
    await trio.sleep(0.1)
    assert numbers(wire) == [0, 1, 2, 3, 4]


async def test_control_overtakes_sound_that_waits(autojump_clock: MockClock, rig: Rig) -> None:
    wire = await rig.open()
    rig.realtime.reading = trio.Event()
    rig.captures(QUEUE + 20)
    await trio.sleep(0.1)
    rig.asks(ex.Send(1, ev.ResponseCancel()))
    await trio.sleep(0.1)
    rig.realtime.reading.set()
    await trio.sleep(0.1)
    assert wire.types().index("response.cancel") <= QUEUE + 2, "only what the socket had taken goes first"
    assert numbers(wire) == list(range(QUEUE + 20))


async def test_speech_of_an_outage_goes_to_the_next_session_in_order(autojump_clock: MockClock, rig: Rig) -> None:
    first = await rig.open()
    rig.captures(2)
    await trio.sleep(0.1)
    first.peer.drop(ConnectionLostError("gone", cause="reset"))
    lost = await rig.told()
    assert (lost.generation, lost.fault.cause) == (1, "reset")
    rig.captures(3)
    await trio.sleep(1)
    second = await rig.open(2)
    await trio.sleep(0.1)
    assert (numbers(first), numbers(second)) == ([0, 1], [2, 3, 4])


async def test_a_frame_whose_send_failed_is_sent_again(autojump_clock: MockClock, rig: Rig) -> None:
    first = await rig.open()
    rig.realtime.reading = trio.Event()
    rig.captures(QUEUE + 2)
    await trio.sleep(0.1)
    first.peer.drop(ConnectionLostError("gone", cause="reset"))
    await rig.told()
    rig.realtime.reading.set()
    second = await rig.open(2)
    await trio.sleep(0.1)
    assert numbers(second)[-1] == QUEUE + 1
    assert numbers(second)[0] in {QUEUE, QUEUE + 1}, "at least the frame whose send was cut"


async def test_a_frame_under_way_when_the_line_is_closed_was_sent_and_is_not_sent_again(
    autojump_clock: MockClock, rig: Rig
) -> None:
    first = await rig.open()
    rig.realtime.reading = trio.Event()
    rig.captures(QUEUE + 3)
    await trio.sleep(0.1)
    rig.asks(ex.Close(1))
    await trio.sleep(0.1)
    rig.realtime.reading.set()
    closed = await rig.told()
    await trio.sleep(0.1)
    second = await rig.open(2)
    await trio.sleep(0.1)
    assert closed.frames["sent"] == len(numbers(first))
    assert numbers(first) + numbers(second) == list(range(QUEUE + 3))


async def test_a_refused_connection_is_reported_with_its_reason(autojump_clock: MockClock, rig: Rig) -> None:
    rig.realtime.connector.refusals.append(ServiceBusyError("try later", cause="status_503", retry_after_s=7.0))
    rig.asks(ex.Open(1, CANARY))
    lost = await rig.told()
    assert (lost.fault.kind, lost.fault.retry_after_s) == ("ServiceBusy", 7.0)
    assert CANARY.value not in repr(lost)


async def test_the_end_of_talk_commits_after_the_last_frame(autojump_clock: MockClock, rig: Rig) -> None:
    wire = await rig.open()
    rig.captures(5, ends_turn=True)
    await trio.sleep(0.1)
    assert wire.types() == ["input_audio_buffer.append"] * 5 + ["input_audio_buffer.commit"]


async def test_too_little_talk_is_cleared_instead_of_committed(autojump_clock: MockClock, rig: Rig) -> None:
    wire = await rig.open()
    rig.captures(4, ends_turn=True)
    await trio.sleep(0.1)
    assert wire.types()[-1] == "input_audio_buffer.clear"


async def test_talk_that_was_cleared_does_not_count_for_the_next(autojump_clock: MockClock, rig: Rig) -> None:
    wire = await rig.open()
    rig.captures(10)
    await trio.sleep(0.1)
    rig.asks(ex.Send(1, ev.InputAudioBufferClear()))
    await trio.sleep(0.1)
    rig.captures(2, ends_turn=True)
    await trio.sleep(0.1)
    assert wire.types()[-3:] == ["input_audio_buffer.append"] * 2 + ["input_audio_buffer.clear"]


async def test_what_was_captured_and_not_sent_outlives_the_actor(autojump_clock: MockClock, rig: Rig) -> None:
    await rig.open()
    rig.captures(2)
    await trio.sleep(0.1)
    rig.scope.cancel()
    await rig.told()
    rig.start()
    rig.captures(3)
    wire = await rig.open(2)
    await trio.sleep(0.1)
    assert numbers(wire) == [2, 3, 4]
    assert rig.ledger.books() == {"captured": 5, "sent": 5, "spooled": 0}


async def test_speech_of_an_outage_is_not_sent_once_it_was_muted(autojump_clock: MockClock, rig: Rig) -> None:
    rig.captures(3)
    await trio.sleep(0.1)
    rig.asks(ex.Discard(math.inf))
    await trio.sleep(0.1)
    rig.captures(2)  # before the microphone was closed
    await trio.sleep(0.1)
    wire = await rig.open()
    await trio.sleep(0.1)
    rig.asks(ex.Discard(trio.current_time()))
    await trio.sleep(0.1)
    rig.captures(1)
    await trio.sleep(0.1)
    assert numbers(wire) == [5]
    assert rig.ledger.books() == {"captured": 6, "sent": 1, "spooled": 0, "dropped_muted": 5}


async def test_replies_are_numbered_and_their_first_sound_is_told_once(autojump_clock: MockClock, rig: Rig) -> None:
    wire = await rig.open()
    for response in ("r1", "r2"):
        await wire.say(created(response))
        await wire.say(delta(response))
        await wire.say(delta(response, b"\1"))
        await wire.say(done(response))
    await trio.sleep(0.1)
    told = [await rig.told() for _ in range(6)]
    assert [(type(signal).__name__, signal.turn) for signal in told] == [
        ("Received", 1), ("ReplyBegan", 1), ("Received", 1), ("Received", 2), ("ReplyBegan", 2), ("Received", 2),
    ]  # fmt: skip
    packets = rig.packets()
    assert [(packet.turn, packet.ends_turn) for packet in packets] == [
        (1, False), (1, False), (1, True), (2, False), (2, False), (2, True),
    ]  # fmt: skip
    assert packets[0].duration_ms == pytest.approx(20)


async def test_sound_of_an_unknown_or_finished_response_is_dropped(autojump_clock: MockClock, rig: Rig) -> None:
    wire = await rig.open()
    await wire.say(delta("stranger"))
    await wire.say(created("r1"))
    await wire.say(done("r1"))
    await wire.say(delta("r1"))
    await trio.sleep(0.1)
    assert [packet.payload for packet in rig.packets()] == [""]


async def test_a_loss_ends_the_replies_that_were_under_way(autojump_clock: MockClock, rig: Rig) -> None:
    wire = await rig.open()
    await wire.say(created("r1"))
    await wire.say(delta("r1"))
    wire.peer.drop(ConnectionLostError("gone", cause="close_1001"))
    await trio.sleep(0.1)
    assert [packet.ends_turn for packet in rig.packets()] == [False, True]


async def test_a_reply_too_long_to_hold_is_reported_and_the_reader_goes_on(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link, floor: Floor, realtime: Any
) -> None:
    reply: LocalLink[Any] = open_local_link("reply", Hold(100, "ms"), Overflow.FAIL)
    rig = Rig(actors, link, floor, realtime, reply)
    wire = await rig.open()
    await wire.say(created("r1"))
    for number in range(20):
        await wire.say(delta("r1", event_id=f"e{number}"))
    await wire.say(created("r2"))
    await trio.sleep(0.1)
    told = [await rig.told() for _ in range(4)]
    assert [type(signal).__name__ for signal in told] == ["Received", "ReplyBegan", "ReplyOverflow", "Received"]


async def test_a_delta_said_twice_is_played_once(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link, floor: Floor, realtime: Any
) -> None:
    reply: LocalLink[Any] = open_local_link("reply", Hold(1_000, "ms"), Overflow.FAIL)
    wire = await Rig(actors, link, floor, realtime, reply).open()
    await wire.say(created("r1"))
    for event_id in ("e1", "e1", "e2"):
        await wire.say(delta("r1", event_id=event_id))
    await trio.sleep(0.1)
    assert reply.receiver.statistics().items == 2


async def test_unknown_events_are_ignored_and_unreadable_ones_end_the_session_only_in_numbers(
    autojump_clock: MockClock, rig: Rig
) -> None:
    wire = await rig.open()
    await wire.say('{"type": "future.event", "event_id": "e"}')
    for _ in range(GARBAGE_MAX - 1):
        await wire.say("not json")
    await trio.sleep(0.1)
    assert not wire.closed
    await wire.say("[]")
    lost = await rig.told()
    assert lost.fault.kind == "Protocol"


async def test_closing_renders_the_books(autojump_clock: MockClock, rig: Rig) -> None:
    wire = await rig.open()
    rig.captures(3)
    await trio.sleep(0.1)
    rig.asks(ex.Close(1))
    assert await rig.told() == ex.Closed(1, {"captured": 3, "sent": 3, "spooled": 0})
    assert wire.closed


async def test_closing_without_a_socket_renders_the_books_too(autojump_clock: MockClock, rig: Rig) -> None:
    rig.captures(2)
    await trio.sleep(0.1)
    rig.asks(ex.Close(9))
    assert await rig.told() == ex.Closed(9, {"captured": 2, "sent": 0, "spooled": 2})


async def test_intents_for_a_socket_that_is_gone_mean_nothing(autojump_clock: MockClock, rig: Rig) -> None:
    wire = await rig.open(2)
    rig.asks(ex.Send(1, ev.ResponseCancel()))
    rig.asks(ex.Flow(1))
    await trio.sleep(0.1)
    assert wire.sent == []


async def test_a_line_that_is_closed_ends_the_replies_that_were_under_way(autojump_clock: MockClock, rig: Rig) -> None:
    wire = await rig.open()
    await wire.say(created("r1"), delta("r1"))
    rig.asks(ex.Close(1))
    await trio.sleep(0.1)
    assert [packet.ends_turn for packet in rig.packets()] == [False, True]


async def test_turns_are_numbered_above_those_of_an_earlier_life(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link, realtime: Any
) -> None:
    floor = Floor()
    for _ in range(41):
        floor.number_turn()
    rig = Rig(actors, link, floor, realtime, link())
    wire = await rig.open()
    await wire.say(created("r1"))
    assert (await rig.told()).turn == 42


async def told_all(rig: Rig) -> list[Any]:
    await trio.sleep(0.01)
    told = []
    while rig.service.receiver.statistics().items:
        told.append(rig.service.receiver.receive_nowait())
    return [signal for signal in told if not isinstance(signal, ex.Received)]


@pytest.mark.parametrize("end", [None, "sound", "response"])
async def test_a_reply_whose_sound_breaks_off_is_reported_once(
    autojump_clock: MockClock, rig: Rig, end: str | None
) -> None:
    wire = await rig.open()
    await wire.say(created("r1"))
    for _ in range(3):
        await trio.sleep(GAP_S - 0.2)  # after `created` nothing is owed by this clock; between deltas it is in time
        await wire.say(delta("r1", event_id=f"e{trio.current_time()}"))
    if end == "sound":
        await wire.say(
            ev.ResponseOutputAudioDone(
                event_id="e", response_id="r1", item_id="a1", output_index=0, content_index=0
            )
        )  # fmt: skip
    elif end == "response":
        await wire.say(done("r1"))
    await trio.sleep(GAP_S - 0.2)
    assert [type(signal) for signal in await told_all(rig)] == [ex.ReplyBegan]
    await trio.sleep(3 * GAP_S)
    assert await told_all(rig) == ([] if end else [ex.ReplyStalled(1, 1)])
