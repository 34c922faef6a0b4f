"""The look at the devices by another process: what it may meet, played by a sounddevice of the test's own."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.edges import sound_card_look, sound_card_probe
from pipeline.edges.sound_card_names import NO_DEVICES, NO_PORTAUDIO
from pipeline.vocabulary.errors import DeviceError, SoundSystemHungError

WORKS = """
class PortAudioError(Exception): pass
def query_hostapis(): return [{"default_input_device": 0, "default_output_device": -1}]
def query_devices():
    return [{"name": "Busy", "index": 0, "max_input_channels": 1, "max_output_channels": 0,
             "default_samplerate": 8000.0}]
def check_input_settings(device, channels, dtype, samplerate):
    if samplerate != {rate}: raise PortAudioError("Invalid sample rate")
"""


Pretend = Callable[[str], None]


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Give the child this code for its sounddevice."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(code: str) -> None:
        (tmp_path / "sounddevice.py").write_text(code)

    return write


async def test_the_devices_come_from_the_child(pretend: Pretend) -> None:
    pretend(WORKS)
    (device,) = await sound_card_look.look()
    assert (device.name, device.default_input, device.rate_hz) == ("Busy", True, 8_000)
    assert "sounddevice" not in sys.modules


@pytest.mark.parametrize(("rate_hz", "opens"), [(24_000, True), (8_000, True), (11_025, False)])
async def test_a_device_is_back_when_it_would_open(pretend: Pretend, rate_hz: int, opens: bool) -> None:  # noqa: FBT001
    pretend(WORKS.replace("{rate}", str(rate_hz)))
    assert await sound_card_look.can_open("busy", "input") is opens
    assert not await sound_card_look.can_open("busy", "output")
    assert not await sound_card_look.can_open("other", "input")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise OSError('PortAudio library not found')", NO_PORTAUDIO),
        ("query_hostapis = query_devices = list", NO_DEVICES),
        ("1 / 0", "PortAudio cannot start: the look at the sound devices ended with 1"),
    ],
)
async def test_what_is_missing_is_told_in_one_line(pretend: Pretend, code: str, message: str) -> None:
    pretend(code)
    with pytest.raises(DeviceError) as caught:
        await sound_card_look.look()
    assert caught.value.message == message


async def test_a_child_that_hangs_is_killed(pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_card_look, "DEADLINE_S", 0.1)
    monkeypatch.setattr(sound_card_look, "MARGIN_S", 0.1)
    pretend("import signal; signal.pause()")
    with pytest.raises(SoundSystemHungError, match="it hangs"):
        await sound_card_look.look()
    assert not await sound_card_look.can_open("x", "input")
    assert sound_card_probe.DEADLINE_S == 3, "and would have ended itself"
