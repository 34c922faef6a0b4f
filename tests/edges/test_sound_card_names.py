"""Names of sound devices: stable, findable, and refused when they could mean two."""

import msgspec
import pytest

from pipeline.edges.sound_card_names import NO_DEVICES, Direction, SoundDevice, find, read_devices, stable_name
from pipeline.vocabulary.errors import DeviceError


def device(name: str, index: int = 0, *, inputs: int = 2, outputs: int = 2, default: bool = False) -> SoundDevice:
    return SoundDevice(
        index, name, inputs, outputs, 44_100, is_hardware=False, default_input=default, default_output=default
    )


DEVICES = [
    device("USB Audio Device", 3),
    device("HDA Intel PCH: ALC257 Analog", 4),
    device("HDA Intel PCH: HDMI 0", 5, inputs=0),
    device("pulse", 6),
    device("default", 7, default=True),
]


@pytest.mark.parametrize(
    ("name", "stable"),
    [
        ("USB Audio Device: - (hw:1,0)", "USB Audio Device"),
        ("HDA Intel PCH: ALC257 Analog (hw:0,0)", "HDA Intel PCH: ALC257 Analog"),
        ("pulse", "pulse"),
        ("a (hw:1,0) b", "a (hw:1,0) b"),
        ("(hw:1,0)", "(hw:1,0)"),
    ],
)
def test_a_name_does_not_depend_on_how_cards_are_numbered(name: str, stable: str) -> None:
    assert stable_name(name) == stable


@pytest.mark.parametrize(
    ("wanted", "direction", "index"),
    [
        ("usb", "input", 3),
        ("USB AUDIO DEVICE", "output", 3),
        ("alc257", "output", 4),
        ("hda", "input", 4),  # the other one has no microphone
        ("default", "input", 7),
        ("Default", "output", 7),
    ],
)
def test_a_part_that_no_other_name_has_is_enough(wanted: str, direction: Direction, index: int) -> None:
    assert find(DEVICES, wanted, direction).index == index


def test_a_whole_name_wins_over_names_that_hold_it() -> None:
    assert find([device("pulse monitor", 1), device("Pulse", 2)], "pulse", "input").index == 2


def test_without_a_preferred_device_the_first_able_one_is_the_default() -> None:
    assert find([device("HDMI", 1, inputs=0), device("USB", 2)], "default", "input").index == 2


@pytest.mark.parametrize(
    ("wanted", "devices", "message"),
    [
        ("hda", DEVICES,
         "device:hda could be any of HDA Intel PCH: ALC257 Analog, HDA Intel PCH: HDMI 0; name more of it"),
        ("usb", [device("USB"), device("USB")], "device:usb could be any of USB, USB; name more of it"),
        ("puls3", DEVICES, "there is no loudspeaker device:puls3; did you mean pulse?"),
        ("xyz", [device("b\x1b"), device("a")], 'there is no loudspeaker device:xyz; there is a, "b\\u001b"'),
        ("x\n", [device("a")], 'there is no loudspeaker device:"x\\n"; there is a'),
        ("usb", [device("USB", outputs=0)], "no loudspeaker among the sound devices"),
        ("usb", [], NO_DEVICES),
    ],
)  # fmt: skip
def test_a_name_that_means_none_or_several_is_refused_with_what_comes_near(
    wanted: str, devices: list[SoundDevice], message: str
) -> None:
    with pytest.raises(DeviceError) as caught:
        find(devices, wanted, "output")
    assert caught.value.message == message


class Enumerator:
    """What sounddevice tells of a machine with two sound systems."""

    def query_devices(self) -> list[dict[str, object]]:
        common = {"max_input_channels": 1, "max_output_channels": 0, "default_samplerate": 44_100.0}
        return [{"name": f"Card {index} (hw:{index},0)", "index": index, **common} for index in range(3)]

    def query_hostapis(self) -> list[dict[str, object]]:
        return [
            {"name": "ALSA", "default_input_device": 1, "default_output_device": -1},
            {"name": "OSS", "default_input_device": 2, "default_output_device": 2},
        ]


def test_portaudios_list_is_read() -> None:
    devices = read_devices(Enumerator())
    assert [each.name for each in devices] == ["Card 0", "Card 1", "Card 2"]
    assert [each.default_input for each in devices] == [False, True, False]
    assert not any(each.default_output for each in devices)
    assert devices[0].rates_hz == [48_000, 44_100, 24_000]
    assert devices[0].used_channels("input") == 1


def test_a_card_is_opened_as_it_is_and_what_converts_anyway_as_we_need_it() -> None:
    card = msgspec.structs.replace(device("USB", inputs=8), is_hardware=True)
    assert card.used_channels("input") == 2
    assert device("pulse", inputs=32).used_channels("input") == 1
    assert device("pulse").rates_hz == [24_000, 48_000, 44_100]
