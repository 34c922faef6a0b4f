"""Sound devices by names that survive a reboot: which there are, and which one a name means.

Imports nothing heavy: the child process that looks at the devices is started again and again.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, Literal, Protocol

import msgspec

from pipeline.vocabulary.configuration import printable
from pipeline.vocabulary.errors import DeviceError
from pipeline.vocabulary.frames import RATE_HZ

Direction = Literal["input", "output"]

DEFAULT: Final = "default"
"""The name that means what the sound system itself prefers, and whatever there is while it prefers nothing."""
DEFAULT_ITSELF: Final = "default itself"
"""Only the device that ALSA calls default: it is gone while the sound server behind it is away."""
KINDS: Final[Mapping[Direction, str]] = {"input": "microphone", "output": "loudspeaker"}
CHANNELS_MAX: Final = 2
"""What a stereo microphone hears is mixed down, and a reply sounds from both sides. Many cards refuse one channel."""
CARD_RATE_HZ: Final = 48_000
INSTALL: Final = "apt install libportaudio2 pulseaudio libasound2-plugins (or the packages of PipeWire)"
NO_PORTAUDIO: Final = "PortAudio is not installed: apt install libportaudio2"
NO_DEVICES: Final = (
    f"no sound device: there is neither a card nor a sound server that runs; where one is missing: {INSTALL}"
)
_ADDRESS: Final = re.compile(r"(?:: -)?\s*\(hw:\d+,\d+\)$")
"""What ALSA appends to a card's name: its number of today, another one after the next boot."""


class SoundDevice(msgspec.Struct, frozen=True):
    """One device as PortAudio sees it.

    Attributes:
        index: PortAudio's number of it, valid until it looks again.
        name: stable over reboots and replugging.
        inputs: channels it hears with; 0 if it is no microphone.
        outputs: channels it plays on; 0 if it is no loudspeaker.
        rate_hz: what PortAudio believes to be its native rate.
        is_hardware: a card itself; else a sound server or a chain of ALSA plug-ins, which take any rate.
        default_input: it is the sound system's preferred microphone.
        default_output: its preferred loudspeaker.
    """

    index: int
    name: str
    inputs: int
    outputs: int
    rate_hz: int
    is_hardware: bool
    default_input: bool
    default_output: bool

    def channels(self, direction: Direction) -> int:
        """How many channels it has in this direction."""
        return self.inputs if direction == "input" else self.outputs

    def used_channels(self, direction: Direction) -> int:
        """How many of them we open: of a card both, what converts anyway gives and takes one."""
        return min(self.channels(direction), CHANNELS_MAX if self.is_hardware else 1)

    @property
    def rates_hz(self) -> list[int]:
        """What to open it with, best first.

        A card: what cards run at whatever PortAudio believes, its belief, what we need. What converts anyway is asked
        for what we need, so that sound is converted once and not twice.
        """
        natives = (CARD_RATE_HZ, self.rate_hz)
        return list(dict.fromkeys((*natives, RATE_HZ) if self.is_hardware else (RATE_HZ, *natives)))

    def is_default(self, direction: Direction) -> bool:
        """Whether it is the preferred one for this direction."""
        return self.default_input if direction == "input" else self.default_output


class _Enumerator(Protocol):
    """The part of sounddevice that tells what there is."""

    def query_devices(self) -> Sequence[Mapping[str, Any]]: ...
    def query_hostapis(self) -> Sequence[Mapping[str, Any]]: ...


def read_devices(sounddevice: _Enumerator) -> list[SoundDevice]:
    """The devices PortAudio found when it was initialised; asks no hardware."""
    apis = sounddevice.query_hostapis()[:1]  # of several systems on one machine the first is the native one
    preferred = {(way, api[f"default_{way}_device"]) for api in apis for way in ("input", "output")}
    return [
        SoundDevice(
            index=info["index"],
            name=stable_name(info["name"]),
            inputs=info["max_input_channels"],
            outputs=info["max_output_channels"],
            rate_hz=round(info["default_samplerate"]),
            is_hardware=_ADDRESS.search(info["name"]) is not None,
            default_input=("input", info["index"]) in preferred,
            default_output=("output", info["index"]) in preferred,
        )
        for info in sounddevice.query_devices()
    ]


def stable_name(name: str) -> str:
    """A device's name without what changes when cards are numbered anew."""
    return _ADDRESS.sub("", name).strip() or name


def find(devices: Sequence[SoundDevice], wanted: str, direction: Direction) -> SoundDevice:
    """The device that `wanted` names: a default, a whole name, or a part that no other name has; case does not matter.

    Raises:
        DeviceError: none, or more than one; names those that come near.
    """
    able = [device for device in devices if device.channels(direction)]
    kind = KINDS[direction]
    if not able:
        raise DeviceError(f"no {kind} among the sound devices" if devices else NO_DEVICES)
    if wanted == DEFAULT_ITSELF:
        named = [device for device in able if device.name == DEFAULT]
        if not named:
            raise DeviceError(f"the sound system has no default {kind} now")
        return named[0]
    if wanted.lower() == DEFAULT:
        return next((device for device in able if device.is_default(direction)), able[0])
    key = wanted.lower()
    matches = [device for device in able if device.name.lower() == key]
    matches = matches or [device for device in able if key in device.name.lower()]
    if len(matches) == 1:
        return matches[0]
    names = [device.name for device in matches]
    if names:
        raise DeviceError(f"device:{printable(wanted)} could be any of {_listed(names)}; name more of it")
    names = sorted({device.name for device in able})
    near = get_close_matches(key, [name.lower() for name in names], n=3, cutoff=0.4)
    hint = (
        f"did you mean {_listed([name for name in names if name.lower() in near])}?"
        if near
        else f"there is {_listed(names)}"
    )
    raise DeviceError(f"there is no {kind} device:{printable(wanted)}; {hint}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names))
