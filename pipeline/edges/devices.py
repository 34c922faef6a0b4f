"""From `audio.input` and `audio.output` to devices. A list is tried in order; a better one is taken when it is back."""

from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from difflib import get_close_matches
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar, runtime_checkable

import trio

from pipeline.core.reopening import BRIEF_S
from pipeline.dsp.level import last_speech_sample
from pipeline.edges.interfaces import InputDevice, OutputDevice
from pipeline.edges.pacing import Sound, silence
from pipeline.edges.silence import SilentLoudspeaker, SilentMicrophone
from pipeline.edges.sound_card import CardLoudspeaker, CardMicrophone
from pipeline.edges.sound_card_names import DEFAULT, DEFAULT_ITSELF
from pipeline.edges.sound_card_system import SoundSystem
from pipeline.edges.synthetic import SyntheticMicrophone, tone
from pipeline.edges.unix_socket import UnixLoudspeaker, UnixMicrophone
from pipeline.edges.wav import TAIL_S, WavLoudspeaker, WavMicrophone, read_wav
from pipeline.vocabulary.configuration import printable
from pipeline.vocabulary.errors import AudioFileError, ConfigurationError, DeviceError, Problem, SoundSystemHungError
from pipeline.vocabulary.settings import DeviceList

SYNTHETIC_SPEECH_S: Final = 2.0  # s of tone where `synthetic:` names no recording: as long as a short question
SYNTHETIC_PAUSE_S: Final = 4.0  # s between two utterances: room for a short answer
MAX_DEVICES: Final = 8  # entries of a list; every one that fails delays the rest

ASK_S: Final = 3.0  # s between two looks for a better device; each starts a process
ASK_MAX_S: Final = 60.0  # s between two when it was there and yet could not be opened

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


def input_device(
    setting: DeviceList,
    *,
    tail_s: float = TAIL_S,
    sound_system: SoundSystem | None = None,
    sound_hung: bool = False,
) -> InputDevice:
    """The microphone that `audio.input` names. Nothing is opened yet.

    `device:NAME` a sound card, on this process's `sound_system` (its own if none is given) · `wav:PATH` a recording
    once, then `tail_s` of silence · `unix:PATH` a socket · `none:` silence · `synthetic:` a tone, `synthetic:PATH` a
    recording, again and again with pauses. A list begins with what needs no sound card where `sound_hung`: the process
    before this one had to end because its sound system hung; the cards are taken when they are back.

    Raises:
        ConfigurationError: lists every entry that cannot be used.
        AudioFileError: the recording of a `synthetic:PATH` cannot be read.
    """
    cards = sound_system or SoundSystem()
    kinds: dict[str, Callable[[str], InputDevice]] = {
        "device": lambda name: _card(partial(CardMicrophone, cards), name),
        "wav": lambda path: WavMicrophone(Path(path), tail_s=tail_s),
        "unix": lambda path: UnixMicrophone(Path(path)),
        "none": lambda _: SilentMicrophone(),
        "synthetic": _synthetic,
    }
    devices = list(_parse("audio.input", setting, kinds))
    return devices[0] if len(devices) == 1 else FirstToOpen(devices, _cards(devices) if sound_hung else ())


def output_device(
    setting: DeviceList, *, sound_system: SoundSystem | None = None, sound_hung: bool = False
) -> OutputDevice:
    """The loudspeaker that `audio.output` names. Nothing is opened yet.

    `device:NAME` a sound card, on this process's `sound_system` (its own if none is given) · `wav:PATH` a recorder ·
    `unix:PATH` a socket · `none:` nobody hears. With `sound_hung` as for `input_device`.

    Raises:
        ConfigurationError: lists every entry that cannot be used.
    """
    cards = sound_system or SoundSystem()
    kinds: dict[str, Callable[[str], OutputDevice]] = {
        "device": lambda name: _card(partial(CardLoudspeaker, cards), name),
        "wav": lambda path: WavLoudspeaker(Path(path)),
        "unix": lambda path: UnixLoudspeaker(Path(path)),
        "none": lambda _: SilentLoudspeaker(),
    }
    devices = list(_parse("audio.output", setting, kinds))
    return devices[0] if len(devices) == 1 else FirstToOpen(devices, _cards(devices) if sound_hung else ())


class Openable(Protocol[T_co]):
    """What microphones and loudspeakers have in common."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    def open(self, frame_ms: int) -> AbstractAsyncContextManager[T_co]:
        """Open the device. Raises DeviceError or AudioFileError."""
        ...


@runtime_checkable
class Returning(Protocol):
    """A device that can tell, without being opened, that it is back."""

    async def is_back(self) -> bool:
        """Whether it could be opened now; disturbs nothing."""
        ...


class FirstToOpen(Generic[T]):
    """Several devices in the order they are wished for; each opening starts again with the best of them.

    While a lesser one is open, those before it that can be asked are: when one is back, the open one fails with a
    DeviceError, and the opening that answers this finds the better one.

    Args:
        devices: the best one first.
        dreaded: those of them that end the process if they are still as they were; tried last until one is back. One
            that twice opens only to fail becomes the last of them, or the others would never have their turn.
        name: of the one wish that all of them are for, if so. Better ones are then asked for ever less often, for a
            machine may never have them, and each question is a process.
    """

    def __init__(
        self, devices: Sequence[Openable[T]], dreaded: Collection[Openable[T]] = (), *, name: str = ""
    ) -> None:
        self._devices = devices
        self._dreaded = list(dreaded)
        self._was_brief: Openable[T] | None = None  # the last one, if it opened only to fail
        self._ask_s = ASK_S
        self._asks_less = bool(name)
        self.name = name or " or ".join(device.name for device in devices)
        """All of them, until one was opened; then that one's."""

    async def is_back(self) -> bool:
        """Whether one of them is; disturbs nothing."""
        for device in self._devices:
            if isinstance(device, Returning) and await device.is_back():
                return True
        return False

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[T, None]:
        """The first device that opens.

        Raises:
            DeviceError: none did, and one of them may come back; or a better one than the open one is back.
            AudioFileError: none did, and all of them are files.
        """
        failures: list[DeviceError | AudioFileError] = []
        for rank, device in sorted(enumerate(self._devices), key=lambda ranked: self._dread(ranked[1])):
            async with AsyncExitStack() as stack:
                try:
                    opened = await stack.enter_async_context(device.open(frame_ms))
                except SoundSystemHungError:
                    raise  # in this process no card will open; another device would only hide it
                except (DeviceError, AudioFileError) as error:
                    failures.append(error)
                    continue
                self.name = device.name
                opened_s = trio.current_time()
                try:
                    async with self._until_back(self._devices[:rank]):
                        yield opened
                except DeviceError:
                    self._judge_failure(device, trio.current_time() - opened_s)
                    raise
                finally:
                    if trio.current_time() - opened_s >= BRIEF_S:  # it worked, whatever has ended it
                        self._was_brief = None
                        if rank == 0:
                            self._ask_s = ASK_S
                return
        kind = DeviceError if any(isinstance(failure, DeviceError) for failure in failures) else AudioFileError
        raise kind("; ".join(dict.fromkeys(failure.message for failure in failures)))  # no sound system: all say so

    def _dread(self, device: Openable[T]) -> int:
        """0 for a device like any other; the higher, the later it is tried."""
        return self._dreaded.index(device) + 1 if device in self._dreaded else 0

    def _judge_failure(self, device: Openable[T], held_s: float) -> None:
        """Twice in a row the same one opened only to fail: the others have their turn. A list sees to its own."""
        if held_s >= BRIEF_S or isinstance(device, FirstToOpen):
            return
        if device is self._was_brief:
            self._dreaded = [*(each for each in self._dreaded if each is not device), device]
        self._was_brief = device

    @asynccontextmanager
    async def _until_back(self, better: Sequence[Openable[T]]) -> AsyncGenerator[None, None]:
        """Ask for the better devices while the block runs, ever less often: one that is there may still not open."""
        askable = [device for device in better if isinstance(device, Returning)]
        if not askable:
            yield
            return
        back: list[Openable[T]] = []

        async def ask(scope: trio.CancelScope) -> None:
            while not back:
                await trio.sleep(self._ask_s)
                back.extend([device for device in askable if await device.is_back()])
                if back or self._asks_less:
                    self._ask_s = min(2 * self._ask_s, ASK_MAX_S)
            self._dreaded = [device for device in self._dreaded if device not in back]
            scope.cancel()

        failures: list[BaseException] = []
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, nursery.cancel_scope)
                yield
                nursery.cancel_scope.cancel()
        except* (DeviceError, AudioFileError) as group:  # what the block raised, as if there were no nursery
            failures += group.exceptions
        if failures:
            raise failures[0]
        if back:
            raise DeviceError(f"{back[0].name} is back")


def _card(make: Callable[[str], Openable[T]], name: str) -> Openable[T]:
    """A card; the default is a list of two, for what stands in for a sound server that is away must not stay."""
    if name.lower() != DEFAULT:
        return make(name)
    return FirstToOpen([make(DEFAULT_ITSELF), make(DEFAULT)], name=f"device:{DEFAULT}")


def _cards(devices: Sequence[T]) -> list[T]:
    return [device for device in devices if isinstance(device, CardMicrophone | CardLoudspeaker | FirstToOpen)]


def _parse(field: str, setting: DeviceList, kinds: Mapping[str, Callable[[str], T]]) -> Iterator[T]:
    entries = [setting] if isinstance(setting, str) else setting
    problems = [Problem(field, f"expected 1 to {MAX_DEVICES} devices")] if not 0 < len(entries) <= MAX_DEVICES else []
    for index, entry in enumerate(entries):
        if complaint := _complaint(entry, list(kinds)):
            problems.append(Problem(field if isinstance(setting, str) else f"{field}[{index}]", complaint))
    if problems:
        raise ConfigurationError(problems)
    for entry in entries:
        scheme, _, rest = entry.partition(":")
        yield kinds[scheme](rest)


def _complaint(entry: str, schemes: list[str]) -> str:
    """What is wrong with one entry, or an empty string."""
    scheme, colon, rest = entry.partition(":")
    known = ", ".join(f"{name}:" for name in schemes)
    if not colon and entry.lower().endswith(".wav"):
        return f"a recording is named wav:{printable(entry)}"
    if not colon or scheme not in schemes:
        near = get_close_matches(scheme.lower(), schemes, n=1)
        hint = f"did you mean {near[0]}: ?" if near else f"known: {known}"
        return f"unknown kind of device {printable(scheme)}; {hint}"
    if scheme in {"wav", "unix"} and not rest:
        return f"{scheme}: needs a path, as in {scheme}:PATH"
    if scheme == "device" and not rest.strip():
        return "device: needs a name, as in device:default; talkwire devices lists them"
    if scheme == "none" and rest:
        return f"none: takes nothing behind the colon, not {printable(rest)}"
    return ""


def _synthetic(path: str) -> InputDevice:
    if path:
        pcm = read_wav(Path(path))
        utterance = Sound(pcm, last_speech_sample(pcm))
    else:
        utterance = tone(SYNTHETIC_SPEECH_S)
    return SyntheticMicrophone(cycle([utterance, silence(SYNTHETIC_PAUSE_S)]), name=f"synthetic:{path}")
