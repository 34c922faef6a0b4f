"""PortAudio for one process: imported late, called from one thread at a time, each call under a deadline.

Microphone and loudspeaker of a process share one SoundSystem: PortAudio is not made for two threads at once, its list
of devices is as old as its start, and what the loudspeaker plays is what the microphone has to be told (the far end).
"""

import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import ModuleType
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import trio

from pipeline.edges.native_stderr import divert_native_stderr
from pipeline.edges.sound_card_far_end import FarEnd
from pipeline.edges.sound_card_look import can_open
from pipeline.edges.sound_card_names import NO_PORTAUDIO, Direction, SoundDevice, find, read_devices
from pipeline.edges.sound_card_stream import FIRST_CALLBACK_S, LATENCY_S, CardStream
from pipeline.vocabulary.errors import DeviceError, SoundSystemHungError

OPEN_DEADLINE_S: Final = 1.5
"""For importing sounddevice, opening and starting: 50 to 400 ms as a rule, for ever when a sound server hangs."""
CLOSE_DEADLINE_S: Final = 0.5
"""For abort and close: 1 to 5 ms as a rule."""
SLICE_S: Final = 0.1
"""Of a deadline; each counts once, however late we come to count it. A machine that was suspended, a process that was
stopped or starved of the processor is no sound system that hangs, and to be killed for it would help nobody."""
LOOK_S: Final = 3.0
"""Between two looks for a device that PortAudio's list does not have: a new start of it, or a child process."""
START_S: Final = 0.2
"""Between two starts of PortAudio while it finds nothing at all: 20 ms of work each; a server is to be seen soon."""
EAGER_S: Final = 10.0
"""At first, and after the end of the last stream, it is started as often where it finds other devices, too: 20 to 100
ms of work each, and a sound server that comes up, or up again, within seconds is not to be missed for LOOK_S."""

T = TypeVar("T")


class _Stream(Protocol):
    """A stream of sounddevice."""

    def start(self) -> None: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...


class _Opened(NamedTuple):
    """What `open_stream` needs to run and close a stream."""

    stream: CardStream
    device: SoundDevice
    handle: _Stream


class SoundSystem:
    """Opens streams and knows when PortAudio has to look again.

    Args:
        load: imports sounddevice.
        in_thread: runs a call that may block, as `trio.to_thread.run_sync` does.
        can_open: whether another process could open a device now.
        clock: the host's monotonic clock; trio has to run on the same one.
    """

    def __init__(
        self,
        *,
        load: Callable[[], Any] | None = None,
        in_thread: Callable[..., Awaitable[Any]] = trio.to_thread.run_sync,
        can_open: Callable[[str, Direction], Awaitable[bool]] = can_open,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.far_end = FarEnd()
        self._load = load or _import_sounddevice
        self._in_thread = in_thread
        self._can_open = can_open
        self._clock = clock
        self._one_call = trio.Lock()
        self._hung: SoundSystemHungError | None = None
        self._open_streams: set[_Opened] = set()
        self._is_stale = False
        self._started_s = -math.inf  # when PortAudio last began to make its list
        self._silent_s = clock()  # since when no stream has been open, if none is
        self._look_due_s: dict[tuple[str, Direction], float] = {}  # of what does not open; bounded by the settings

    @asynccontextmanager
    async def open_stream(
        self, wanted: str, direction: Direction
    ) -> AsyncGenerator[tuple[CardStream, SoundDevice], None]:
        """A running stream of the device `wanted`, closed at the end unless it is sick.

        Raises:
            DeviceError: there is no such device, it is not free, or it cannot do what is needed.
            SoundSystemHungError: a call is overdue; see there.
        """
        try:
            opened = await self._call(
                partial(self._open, wanted, direction), OPEN_DEADLINE_S, f"opening device:{wanted}"
            )
        except SoundSystemHungError:
            raise
        except DeviceError:
            await self._look_again(wanted, direction)
            raise
        self._look_due_s.pop((wanted, direction), None)
        try:
            await opened.stream.wait_callback(FIRST_CALLBACK_S)
            yield opened.stream, opened.device
        except SoundSystemHungError as error:
            self._hung = error
            raise
        finally:
            if not opened.stream.is_sick:  # else it stays among the open ones, and nothing in it is ever freed
                await self._call(partial(self._close, opened), CLOSE_DEADLINE_S, f"closing {opened.stream.label}")
                opened.stream.close()

    def demand_fresh(self) -> None:
        """To be called by open streams now and then. Raises DeviceError when PortAudio has to be started anew."""
        if self._is_stale:
            raise DeviceError("the sound devices have changed; all are opened anew")

    async def is_back(self, wanted: str, direction: Direction) -> bool:
        """Whether `wanted` can be opened now. Looks with the eyes of another process; disturbs no running stream.

        If only a new start of PortAudio would see it, all streams of this process are told to close for that.
        """
        if not await self._can_open(wanted, direction):
            return False
        try:
            await self._call(partial(self._find, wanted, direction), OPEN_DEADLINE_S, "reading the list of devices")
        except SoundSystemHungError:
            raise
        except DeviceError:
            self._is_stale = True
        return True

    async def _look_again(self, wanted: str, direction: Direction) -> None:
        """A device still does not open, while other streams keep PortAudio from looking: let a child look for it.

        Not the first time: whoever has another device in reserve shall take that at once.
        """
        now = trio.current_time()
        if now < self._look_due_s.setdefault((wanted, direction), now + LOOK_S) or not self._open_streams:
            return
        self._look_due_s[wanted, direction] = now + LOOK_S
        await self.is_back(wanted, direction)

    async def _call(self, work: Callable[[], T], deadline_s: float, what: str) -> T:
        """Not cancelled half way, for nobody would close what it opens; bounded by the deadline instead."""
        with trio.CancelScope(shield=True):
            async with self._one_call:
                if self._hung is not None:
                    raise self._hung
                with trio.CancelScope() as patience:
                    return await self._in_time(work, patience, deadline_s)
                hung = SoundSystemHungError(f"{what} took longer than {deadline_s:g} s: the sound system hangs")
                self._hung = hung
        raise hung

    async def _in_time(self, work: Callable[[], T], patience: trio.CancelScope, deadline_s: float) -> T:
        """The call; `patience` is cancelled when it has had its time, of which a stall of our own is no part."""

        async def count() -> None:
            for _ in range(round(deadline_s / SLICE_S)):
                await trio.sleep(SLICE_S)
            patience.cancel()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(count)
                done: T = await self._in_thread(work, abandon_on_cancel=True)
                nursery.cancel_scope.cancel()
        except ExceptionGroup as group:  # of one: counting cannot fail
            raise group.exceptions[0] from None
        return done

    # in the thread

    def _find(self, wanted: str, direction: Direction) -> SoundDevice:
        return find(read_devices(self._load()), wanted, direction)

    def _open(self, wanted: str, direction: Direction) -> _Opened:
        """PortAudio's list is as old as its start, so what fails is tried once more with a new one, if that may be."""
        sounddevice = self._load()
        if self._is_stale:
            if self._open_streams:
                raise DeviceError(f"device:{wanted} waits until every sound device is closed, to look for new ones")
            self._start_anew(sounddevice)
        try:
            opened = self._open_at_a_rate(sounddevice, self._find(wanted, direction), direction)
        except DeviceError:
            is_eager = self._clock() < self._silent_s + EAGER_S or not sounddevice.query_devices()
            patience_s = START_S if is_eager else LOOK_S
            if self._open_streams or self._clock() < self._started_s + patience_s:
                raise
            self._start_anew(sounddevice)
            opened = self._open_at_a_rate(sounddevice, self._find(wanted, direction), direction)
        self._open_streams.add(opened)
        return opened

    def _start_anew(self, sounddevice: Any) -> None:
        """The only way to a new list of devices, 20 to 100 ms; sounddevice has no public name for it."""
        sounddevice._terminate()  # noqa: SLF001
        sounddevice._initialize()  # noqa: SLF001
        self._started_s = self._clock()
        self._is_stale = False

    def _close(self, opened: _Opened) -> None:
        opened.handle.abort()
        opened.handle.close()
        self._open_streams.discard(opened)
        self._silent_s = self._clock()

    def _open_at_a_rate(self, sounddevice: Any, device: SoundDevice, direction: Direction) -> _Opened:
        kind = sounddevice.RawInputStream if direction == "input" else sounddevice.RawOutputStream
        channels = device.used_channels(direction)
        refusals = []
        for rate_hz in device.rates_hz:
            stream = _card_stream(device, rate_hz, channels, self._clock)
            try:
                handle = kind(
                    samplerate=rate_hz,
                    blocksize=stream.block,
                    device=device.index,
                    channels=channels,
                    dtype="int16",
                    latency=LATENCY_S,
                    callback=stream.hear if direction == "input" else stream.play,
                    finished_callback=stream.finished,
                )
            except sounddevice.PortAudioError as error:
                stream.close()
                refusals.append(f"{rate_hz} Hz: {_reason(error)}")
                continue
            try:
                handle.start()
            except sounddevice.PortAudioError as error:
                handle.close()
                stream.close()
                raise DeviceError(f"{stream.label} does not start: {_reason(error)}") from None
            return _Opened(stream, device, handle)
        has = f"{device.inputs} in, {device.outputs} out, {device.rate_hz} Hz"
        raise DeviceError(f"device:{device.name} ({has}) cannot be opened: {'; '.join(refusals)}")


def _import_sounddevice() -> ModuleType:
    divert_native_stderr()  # before anything of it can speak, and in whatever process that is
    try:
        import sounddevice
    except OSError:
        raise DeviceError(NO_PORTAUDIO) from None
    return sounddevice  # type: ignore[no-any-return]  # it ships no types


def _card_stream(device: SoundDevice, rate_hz: int, channels: int, clock: Callable[[], float]) -> CardStream:
    try:
        return CardStream(f"device:{device.name}", rate_hz, channels, clock)
    except OSError as error:  # no descriptor left
        raise DeviceError(f"device:{device.name} cannot be opened: {error.strerror}") from None


def _reason(error: Exception) -> str:
    """PortAudio's own words, on one line."""
    return " ".join(str(error.args[0] if error.args else error).rpartition(": ")[2].split())
