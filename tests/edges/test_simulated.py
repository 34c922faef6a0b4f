from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from pipeline.dsp.level import last_speech_sample, rms_dbfs
from pipeline.dsp.pcm16 import to_samples
from pipeline.edges.interfaces import Connection
from pipeline.edges.simulated import SimulatedConnector, SimulatedLoudspeaker
from pipeline.edges.synthetic import counter_signal, tone
from pipeline.edges.websocket import PING_DEADLINE_S, QUEUE, SEND_DEADLINE_S
from pipeline.vocabulary.errors import ConnectionLostError, ServiceBusyError
from pipeline.vocabulary.signals import Secret

SECRET = Secret("ek_canary_7f3a")


def test_the_counter_signal_shows_the_place_of_every_sample() -> None:
    samples = to_samples(counter_signal(3).pcm)
    assert samples.size == 72_000
    assert set((samples[1:] - samples[:-1]).tolist()) == {1}


def test_a_tone_is_as_loud_as_speech_and_ends_where_it_says() -> None:
    sound = tone(1.5)
    assert len(sound.pcm) == 72_000
    assert -20 < rms_dbfs(sound.pcm) < -10
    assert sound.speech_end == last_speech_sample(sound.pcm)
    blocks = [sound.pcm[at : at + 960] for at in range(0, 72_000, 960)]
    assert len(set(blocks)) == len(blocks)


async def test_a_loudspeaker_remembers_when_each_block_left(autojump_clock: trio.testing.MockClock) -> None:
    loudspeaker, start_s = SimulatedLoudspeaker(), trio.current_time()
    async with loudspeaker.open(20) as output:
        for block in (b"\1" * 960, None):
            await output.wait_request()
            await output.write(block)
    assert [block.pcm for block in loudspeaker.heard] == [b"\1" * 960, bytes(960)]
    assert [block.leaves_s - start_s for block in loudspeaker.heard] == pytest.approx([0, 0.02])


async def test_a_refusal_meets_the_next_attempt_only(autojump_clock: trio.testing.MockClock) -> None:
    connector = SimulatedConnector()
    connector.refusals.append(ServiceBusyError("full", cause="status_503"))
    with pytest.raises(ServiceBusyError):
        async with connector.connect(SECRET):
            pytest.fail("the line must not open")
    async with connector.connect(SECRET) as line:
        await line.send("hello")
        peer = await connector.arrivals.receive()
        assert await peer.receive() == "hello"


async def fill(line: Connection) -> None:
    for _ in range(QUEUE + 1):
        await line.send("sound")


async def ping(line: Connection) -> None:
    await line.ping()


@pytest.mark.parametrize(
    ("use", "cause", "after_s"), [(ping, "ping_timeout", PING_DEADLINE_S), (fill, "send_timeout", SEND_DEADLINE_S)]
)
async def test_a_half_open_line_is_noticed(
    autojump_clock: trio.testing.MockClock, use: Callable[[Connection], Awaitable[None]], cause: str, after_s: float
) -> None:
    connector = SimulatedConnector()
    async with connector.connect(SECRET) as line:
        peer = await connector.arrivals.receive()
        peer.answers_pings = False
        start_s = trio.current_time()
        with pytest.raises(ConnectionLostError) as caught:
            await use(line)
        assert caught.value.cause == cause
        assert trio.current_time() - start_s == pytest.approx(after_s)
        with pytest.raises(ConnectionLostError):
            await line.receive()
