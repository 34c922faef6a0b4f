"""A Realtime service that notes when sound comes in and answers, when told to, with a tone. It runs beside the bench.

It speaks just enough protocol, and so little of it that it takes nothing from the machine that counts.
"""

import time
from bisect import bisect_left
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count, pairwise
from operator import attrgetter
from typing import Final, NamedTuple

import numpy as np
import trio
import trio_websocket

from bench.peer import event_text, hand_out_secret
from bench.report import BenchError
from pipeline.vocabulary.frames import BYTES_PER_MS, RATE_HZ

TONE_HZ: Final = 1_000
AMPLITUDE: Final = 8_000
"""-12 dBFS."""
DELTA_MS: Final = 100
"""Of sound in one delta, as services send it."""
GAP_S: Final = 0.06
"""Three frames of sound that never come are no jitter any more."""
LOOK_BACK_S: Final = 1.0
"""Before a mishap something has come in, together with whatever came in with it."""
POLL_S: Final = 0.01


class Arrival(NamedTuple):
    """An event with sound of the microphone: when it came in (host clock), and how much it brought."""

    at_s: float
    sound_s: float


class ToneService:
    """The service as the bench sees it.

    Attributes:
        url: of the service.
        token_url: of a token backend that hands out secrets for it.
        arrivals: of the microphone's sound.
    """

    def __init__(self, port: int, token_port: int) -> None:
        self.url, self.token_url = f"ws://127.0.0.1:{port}/", f"http://127.0.0.1:{token_port}/"
        self.arrivals: list[Arrival] = []
        self._line: trio_websocket.WebSocketConnection | None = None
        self._answers = count()

    async def heard(self, patience_s: float) -> None:
        """Wait until the microphone is heard. Raises BenchError if it is not."""
        before = len(self.arrivals)
        with trio.move_on_after(patience_s):
            while True:
                if len(self.arrivals) > before:
                    return
                await trio.sleep(POLL_S)
        raise BenchError(f"the microphone was not heard within {patience_s:g} s")

    async def gap_after(self, at_s: float, patience_s: float) -> tuple[float, float]:
        """When sound last came before, and first came after, the gap that a fault at this moment makes (host clock).

        Frames of a quiet room come together, so a pause alone is no gap: what comes after one has been lost.

        Raises BenchError if the microphone does not fall silent, or does not come back.
        """
        with trio.move_on_after(patience_s):
            while True:
                recent = self.arrivals[bisect_left(self.arrivals, at_s - LOOK_BACK_S, key=attrgetter("at_s")) :]
                for (last_s, _), (next_s, sound_s) in pairwise(recent):
                    if next_s > at_s and next_s - last_s - sound_s > GAP_S:
                        return last_s, next_s
                await trio.sleep(POLL_S)
        raise BenchError(f"the microphone did not fall silent and come back within {patience_s:g} s")

    async def answer(self, seconds: float) -> None:
        """Send a tone as one reply, faster than it can be played, as services do."""
        if self._line is None:
            raise BenchError("there is no line to answer on")
        number = next(self._answers)
        response = {"id": f"r{number}"}
        place: dict[str, object] = {
            "response_id": f"r{number}",
            "item_id": f"i{number}",
            "output_index": 0,
            "content_index": 0,
        }
        await self._line.send_message(event_text("response.created", response=response))
        sound = tone(seconds)
        size = DELTA_MS * BYTES_PER_MS
        for start in range(0, len(sound), size):
            piece = sound[start : start + size]  # all alike, and an event that comes twice is played once: so number it
            await self._line.send_message(
                event_text("response.output_audio.delta", event_id=f"e{start}", **place, delta=piece)
            )
        await self._line.send_message(event_text("response.done", response=response))

    async def hold(self, stream: trio.abc.Stream) -> None:
        """Hold one line until the endpoint hangs up."""
        try:
            async with trio.open_nursery() as nursery:
                request = await trio_websocket.wrap_server_stream(nursery, stream)
                self._line = await request.accept()
                await self._line.send_message(event_text("session.created", session={}))
                while True:
                    text = str(await self._line.get_message())
                    if "input_audio_buffer.append" in text[:100]:
                        sound_s = max(map(len, text.split('"'))) * 3 / 4 / BYTES_PER_MS / 1000
                        self.arrivals.append(Arrival(time.monotonic(), sound_s))
                    elif '"session.update"' in text[:100]:
                        await self._line.send_message(event_text("session.updated", session={}))
        except* (trio_websocket.ConnectionClosed, trio.BrokenResourceError):
            pass  # the endpoint hung up, or was killed
        await stream.aclose()


@asynccontextmanager
async def tone_service() -> AsyncGenerator[ToneService, None]:
    """A service on free ports; it ends with the context."""
    async with trio.open_nursery() as nursery:
        services = await trio.open_tcp_listeners(0, host="127.0.0.1")
        backends = await trio.open_tcp_listeners(0, host="127.0.0.1")
        service = ToneService(services[0].socket.getsockname()[1], backends[0].socket.getsockname()[1])
        nursery.start_soon(partial(trio.serve_listeners, service.hold, services))
        nursery.start_soon(partial(trio.serve_listeners, hand_out_secret, backends))
        yield service
        nursery.cancel_scope.cancel()


def tone(seconds: float) -> bytes:
    """A sine, s16le mono at RATE_HZ."""
    phase = np.arange(round(seconds * RATE_HZ)) * (2 * np.pi * TONE_HZ / RATE_HZ)
    return bytes((AMPLITUDE * np.sin(phase)).astype("<i2").data)
