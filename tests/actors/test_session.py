from collections.abc import AsyncGenerator, Callable
from functools import partial
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from pipeline.actors.session import session
from pipeline.core.devices import Devices
from pipeline.core.session import Session, SessionPlan
from pipeline.realtime import events as ev
from pipeline.realtime import exchange as ex
from pipeline.runtime.floor import Floor
from pipeline.runtime.local_link import LocalLink
from pipeline.vocabulary import signals as sg
from pipeline.vocabulary.configuration import load
from pipeline.vocabulary.errors import AudioFileError, TalkwireError

Link = Callable[[], LocalLink[Any]]


class Rig:
    """A session actor whose ports the test holds."""

    def __init__(self, link: Link, floor: Floor) -> None:
        names = ("service", "activity", "heard", "flushed", "tokens", "intents", "asks", "microphone", "loudspeaker")
        self.links = {name: link() for name in names}
        self.floor = floor
        self.notices: list[sg.Notice] = []
        self.press, self._presses = trio.open_memory_channel[sg.Command](10)

    async def commands(self) -> AsyncGenerator[sg.Command, None]:
        async for command in self._presses:
            yield command

    async def run(self) -> None:
        settings = load()
        plan = SessionPlan(
            update=ev.SessionUpdate(session=ev.Session(type="realtime")), push_to_talk=False, hands_free=False,
            volume=0.5, service=settings.service, retry=settings.retry,
        )  # fmt: skip
        receiving = ("service", "activity", "heard", "flushed", "tokens")
        ports: dict[str, Any] = {
            name: link.receiver if name in receiving else link.sender for name, link in self.links.items()
        }
        machine = partial(Session, plan, Random(1), Devices())
        await session(**ports, machine=machine, floor=self.floor, notify=self.notices.append, commands=self)

    async def answer_token(self) -> sg.TokenAsk:
        ask: sg.TokenAsk = await self.links["asks"].receiver.receive()
        self.links["tokens"].sender.send_nowait(sg.TokenGrant(ask.attempt, sg.Secret("ek"), trio.current_time() + 30))
        return ask

    def hears(self, name: str, signal: object) -> None:
        self.links[name].sender.send_nowait(signal)


@pytest.fixture
def rig(link: Link, floor: Floor) -> Rig:
    return Rig(link, floor)


async def go_live(rig: Rig, generation: int = 1) -> None:
    assert (await rig.answer_token()).attempt == generation
    opened = await rig.links["intents"].receiver.receive()
    assert opened == ex.Open(generation, sg.Secret("ek"))
    rig.hears("service", ex.Opened(generation))
    for event in (
        ev.SessionCreated(event_id="e", session=ev.Session()),
        ev.SessionUpdated(event_id="e", session=ev.Session()),
    ):
        rig.hears("service", ex.Received(generation, 0, trio.current_time(), event))
    await trio.sleep(0.01)


async def test_effects_go_out_of_the_right_ports(autojump_clock: MockClock, actors: trio.Nursery, rig: Rig) -> None:
    actors.start_soon(rig.run)
    await go_live(rig)
    rig.hears("flushed", sg.OutputOpened("wav:"))
    assert await rig.links["loudspeaker"].receiver.receive() == sg.SetVolume(0.5)
    assert await rig.links["microphone"].receiver.receive() == sg.Listen(on=True)
    assert isinstance(await rig.links["intents"].receiver.receive(), ex.Send)
    assert await rig.links["intents"].receiver.receive() == ex.Flow(1)
    response = ev.ResponseCreated(event_id="e", response=ev.Response(id="r", status="in_progress"))
    rig.hears("service", ex.Received(1, 1, trio.current_time(), response))
    speech = ev.InputAudioBufferSpeechStarted(event_id="e", audio_start_ms=0, item_id="u")
    rig.hears("service", ex.Received(1, 0, trio.current_time(), speech))
    await trio.sleep(0.01)
    assert rig.floor.value == 2


async def test_time_alone_moves_the_session(autojump_clock: MockClock, actors: trio.Nursery, rig: Rig) -> None:
    actors.start_soon(rig.run)
    await trio.sleep(60)
    asked = rig.links["asks"].receiver.statistics().sent
    assert 4 <= asked <= 15, "an attempt every ten seconds that pass without a secret, and some pause between them"


async def test_stop_returns_once_network_has_closed(autojump_clock: MockClock, actors: trio.Nursery, rig: Rig) -> None:
    async def network() -> None:
        async for intent in rig.links["intents"].receiver:
            if isinstance(intent, ex.Close):
                rig.hears("service", ex.Closed(intent.generation, {"captured": 7, "sent": 7}))

    actors.start_soon(network)
    rig.press.send_nowait(sg.Stop())
    await rig.run()
    assert rig.notices[-1] == sg.FinishedNotice(turns=0, heard_speech=False, frames={"captured": 7, "sent": 7})


async def test_a_failure_that_cannot_be_mended_is_raised_as_the_error_it_was(
    autojump_clock: MockClock, actors: trio.Nursery, rig: Rig
) -> None:
    rig.hears("activity", sg.InputFailed(AudioFileError("cannot read question.wav: not a WAV").fault()))
    with pytest.raises(AudioFileError, match="not a WAV"):
        await rig.run()


async def test_signals_after_the_end_change_nothing(autojump_clock: MockClock, actors: trio.Nursery, rig: Rig) -> None:
    for _ in range(3):
        rig.hears("activity", sg.InputFailed(AudioFileError("cannot read").fault()))
    with pytest.raises(TalkwireError):
        await rig.run()
    assert len([notice for notice in rig.notices if isinstance(notice, sg.FinishedNotice)]) == 1
