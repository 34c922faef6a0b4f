"""A sounddevice without PortAudio: scripted cards whose callbacks come when the test's clock says so.

What it copies from the real one: the list of devices is as old as the last `_initialize`; a callback that raises ends
its stream, as cffi's `error=paAbort` does; PortAudio's clock is not the host's.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import trio

from pipeline.edges.interfaces import InputBlock, InputDevice, OutputDevice
from pipeline.edges.sound_card_names import Direction, find, read_devices
from pipeline.edges.sound_card_system import SoundSystem
from pipeline.vocabulary.errors import DeviceError

OTHER_CLOCK_S: Final = 1e9  # PortAudio's clock is the wall's under PulseAudio
CAPTURE_DELAY_S: Final = 0.03
PLAYBACK_DELAY_S: Final = 0.08


class PortAudioError(Exception):
    """As sounddevice raises it."""


class FakeCard:
    """One device.

    Attributes:
        name: as PortAudio spells it.
        inputs, outputs: channels.
        rates: what it is said to have, the native one first.
        accepted: what it really opens with.
        heard: what its microphone hears, as one channel at the rate it was opened with; silence afterwards.
    """

    def __init__(self, name: str, *, inputs: int = 1, outputs: int = 1, rates: Sequence[int] = (24_000,)) -> None:
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        self.rates = rates
        self.heard = b""
        self.accepted: Sequence[int] | None = None
        self.is_plugged = True


class FakeStream:
    """A RawInputStream or RawOutputStream; `tick` is one callback."""

    def __init__(self, module: "FakeSounddevice", way: str, settings: Mapping[str, Any]) -> None:
        self.module = module
        self.way = way
        self.settings = settings
        self.card = module.listed[settings["device"]]
        self.state = "opened"
        self.played = bytearray()
        self.taken = 0
        if not self.card.is_plugged:
            raise PortAudioError("Error opening Raw Stream: Device unavailable [PaErrorCode -9985]")
        if settings["samplerate"] not in (self.card.rates if self.card.accepted is None else self.card.accepted):
            raise PortAudioError("Error opening Raw Stream: Invalid sample rate [PaErrorCode -9997]")
        module.streams.append(self)

    @property
    def block(self) -> int:
        return int(self.settings["blocksize"])

    def start(self) -> None:
        self.state = "running"

    def abort(self) -> None:
        self.state = "aborted"

    def close(self) -> None:
        assert self.state != "closed", "PortAudio would crash"
        self.state = "closed"

    def finish(self) -> None:
        """The device is gone."""
        self.state = "finished"
        self.settings["finished_callback"]()

    def tick(self, *, later_s: float = 0.0, xrun: bool = False) -> None:
        """One callback, now; `later_s` moves the time of its sound against what it should be."""
        clock_s = trio.current_time() + OTHER_CLOCK_S
        times = SimpleNamespace(
            currentTime=clock_s,
            inputBufferAdcTime=clock_s - CAPTURE_DELAY_S + later_s,
            outputBufferDacTime=clock_s + PLAYBACK_DELAY_S + later_s,
        )
        flags = SimpleNamespace(input_overflow=xrun, output_underflow=xrun)
        data = bytearray(self.block * 2 * self.settings["channels"])
        if self.way == "input":
            mono = self.card.heard[2 * self.taken :][: 2 * self.block].ljust(2 * self.block, b"\0")
            self.taken += self.block
            data[:] = np.frombuffer(mono, "<i2").repeat(self.settings["channels"]).tobytes()
        try:
            self.settings["callback"](memoryview(data), self.block, times, flags)
        except Exception:  # noqa: BLE001 as cffi does
            self.finish()
        else:
            self.played += data if self.way == "output" else b""


class FakeSounddevice:
    """Stands in for the module; `await run()` in a nursery lets the callbacks of all running streams come."""

    PortAudioError = PortAudioError

    def __init__(self, *cards: FakeCard) -> None:
        self.cards = list(cards)
        self.streams: list[FakeStream] = []
        self.starts = 0
        self.delay_s = 0.0  # of microphones, beyond CAPTURE_DELAY_S
        self.holds_its_breath = False  # no callback comes, as when the server hangs
        self._initialize()

    def RawInputStream(self, **settings: object) -> FakeStream:  # noqa: N802 sounddevice's name
        return FakeStream(self, "input", settings)

    def RawOutputStream(self, **settings: object) -> FakeStream:  # noqa: N802 sounddevice's name
        return FakeStream(self, "output", settings)

    def query_devices(self) -> Sequence[Mapping[str, Any]]:
        return [
            {
                "name": card.name,
                "index": index,
                "max_input_channels": card.inputs,
                "max_output_channels": card.outputs,
                "default_samplerate": float(card.rates[0]),
            }
            for index, card in enumerate(self.listed)
        ]

    def query_hostapis(self) -> Sequence[Mapping[str, Any]]:
        first = 0 if self.listed else -1
        return [{"name": "ALSA", "default_input_device": first, "default_output_device": first}]

    def _terminate(self) -> None:
        assert all(stream.state == "closed" for stream in self.streams), "it would close them under our feet"

    def _initialize(self) -> None:
        self.listed = [card for card in self.cards if card.is_plugged]
        self.starts += 1

    @property
    def open_streams(self) -> list[FakeStream]:
        return [stream for stream in self.streams if stream.state != "closed"]

    async def run(self) -> None:
        """A callback of every running stream each 20 ms."""
        while True:
            await trio.sleep(0.02)
            for stream in self.streams:
                if stream.state == "running" and not self.holds_its_breath:
                    stream.tick(later_s=-self.delay_s)

    def system(self) -> SoundSystem:
        """A SoundSystem on this fake, under trio's clock and without threads."""
        return SoundSystem(load=lambda: self, in_thread=at_once, can_open=self.can_open, clock=trio.current_time)

    async def can_open(self, wanted: str, direction: Direction) -> bool:
        """What another process would find out now."""
        await trio.lowlevel.checkpoint()
        try:
            find(read_devices(FakeSounddevice(*self.cards)), wanted, direction)
        except DeviceError:
            return False
        return True


async def at_once(work: Callable[[], Any], *, abandon_on_cancel: bool) -> object:
    """Stands in for a thread."""
    assert abandon_on_cancel, "a call that hangs has to be left behind"
    await trio.lowlevel.checkpoint()
    return work()


async def never(work: Callable[[], Any], *, abandon_on_cancel: bool) -> object:
    """A thread that hangs."""
    assert abandon_on_cancel, "a call that hangs has to be left behind"
    await trio.sleep_forever()


# what tests do with a device


async def take(device: InputDevice, blocks: int, frame_ms: int = 20) -> list[InputBlock]:
    async with device.open(frame_ms) as stream:
        return [await anext(stream) for _ in range(blocks)]


async def keep_asking(device: OutputDevice, pcm: bytes = b"") -> None:
    """Play, then silence, for ever."""
    async with device.open(20) as stream:
        at = 0
        while True:
            request = await stream.wait_request()
            size = 2 * request.samples
            await stream.write(pcm[at : at + size].ljust(size, b"\0"))
            at += size


async def listen_on(device: InputDevice, blocks: int, then: Callable[[], None]) -> None:
    """Take some blocks, let something happen, and listen for ever."""
    async with device.open(20) as stream:
        for _ in range(blocks):
            await anext(stream)
        then()
        async for _ in stream:
            pass


@asynccontextmanager
async def playing(device: OutputDevice, pcm: bytes = b"") -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_asking, device, pcm)
        await trio.sleep(0.2)
        yield
        nursery.cancel_scope.cancel()
