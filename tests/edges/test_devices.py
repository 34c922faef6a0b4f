from pathlib import Path

import pytest
import trio.testing

from pipeline.edges.devices import input_device, output_device
from pipeline.edges.silence import SilentLoudspeaker, SilentMicrophone
from pipeline.edges.sound_card import CardLoudspeaker, CardMicrophone
from pipeline.edges.sound_card_system import SoundSystem
from pipeline.edges.synthetic import SyntheticMicrophone
from pipeline.edges.unix_socket import UnixLoudspeaker, UnixMicrophone
from pipeline.edges.wav import WavLoudspeaker, WavMicrophone
from pipeline.vocabulary.errors import AudioFileError, ConfigurationError, DeviceError
from pipeline.vocabulary.settings import DeviceList


def test_each_name_gives_its_device() -> None:
    system = SoundSystem()
    inputs = {
        "device:USB": CardMicrophone,
        "wav:a:b.wav": WavMicrophone,
        "unix:/run/mic": UnixMicrophone,
        "none:": SilentMicrophone,
        "synthetic:": SyntheticMicrophone,
    }
    outputs = {
        "device:USB": CardLoudspeaker,
        "wav:a:b.wav": WavLoudspeaker,
        "unix:/run/mic": UnixLoudspeaker,
        "none:": SilentLoudspeaker,
    }
    for name, kind in inputs.items():
        device, listed = (input_device(setting, sound_system=system) for setting in (name, [name]))
        assert type(device) is type(listed) is kind
        assert device.name == name
    for name, kind in outputs.items():
        speaker, listed_speaker = (output_device(setting, sound_system=system) for setting in (name, [name]))
        assert type(speaker) is type(listed_speaker) is kind
        assert speaker.name == name


@pytest.mark.parametrize(
    ("setting", "problems"),
    [
        ("wave:a.wav", ["audio.input: unknown kind of device wave; did you mean wav: ?"]),
        ("question.wav", ["audio.input: a recording is named wav:question.wav"]),
        ("alsa:hw0", ["audio.input: unknown kind of device alsa; known: device:, wav:, unix:, none:, synthetic:"]),
        ("", ['audio.input: unknown kind of device ""; known: device:, wav:, unix:, none:, synthetic:']),
        ("none", ["audio.input: unknown kind of device none; did you mean none: ?"]),
        ("wav:", ["audio.input: wav: needs a path, as in wav:PATH"]),
        ("none:x", ["audio.input: none: takes nothing behind the colon, not x"]),
        ("device: ", ["audio.input: device: needs a name, as in device:default; talkwire devices lists them"]),
        ([], ["audio.input: expected 1 to 8 devices"]),
        (["none:"] * 9, ["audio.input: expected 1 to 8 devices"]),
        (
            ["unix:", "none:", "ünix:\x1b"],
            ["audio.input[0]: unix: needs a path, as in unix:PATH",
             "audio.input[2]: unknown kind of device ünix; did you mean unix: ?"],
        ),
    ],
)  # fmt: skip
def test_a_name_nobody_knows_is_a_problem_with_the_setting(setting: DeviceList, problems: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        input_device(setting)
    assert [str(problem) for problem in caught.value.problems] == problems


def test_an_output_has_its_own_kinds() -> None:
    with pytest.raises(ConfigurationError, match=r"audio.output: unknown kind of device synthetic"):
        output_device("synthetic:")


async def test_a_list_is_tried_in_order_at_every_opening(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    microphone = input_device(["unix:/no/such/socket", f"wav:{tmp_path}/later.wav", "none:"])
    assert microphone.name == f"unix:/no/such/socket or wav:{tmp_path}/later.wav or none:"
    async with microphone.open(20) as blocks:
        assert (await anext(blocks)).pcm == bytes(960)
    assert microphone.name == "none:"

    recorder = output_device(["unix:/no/such/socket", f"wav:{tmp_path}/later.wav"])
    async with recorder.open(20) as output:
        await output.wait_request()
        await output.write(b"\1" * 960)
    async with microphone.open(20) as blocks:
        assert (await anext(blocks)).pcm == b"\1" * 960
    assert microphone.name == recorder.name == f"wav:{tmp_path}/later.wav"


@pytest.mark.parametrize(
    ("names", "kind"),
    [(["unix:/no/socket", "wav:/no/file.wav"], DeviceError), (["wav:/no/a.wav", "wav:/no/b.wav"], AudioFileError)],
)
async def test_a_list_of_which_none_opens_tells_about_each(names: list[str], kind: type[DeviceError]) -> None:
    for device in (input_device(names), output_device(names)):
        with pytest.raises(kind) as caught:
            async with device.open(20):
                pytest.fail("nothing must open")
        assert caught.value.message.count("; ") == 1
        assert all(name.partition(":")[2] in caught.value.message for name in names)


async def test_a_failure_while_open_is_not_answered_with_the_next_device() -> None:
    with pytest.raises(DeviceError, match="pulled out"):
        async with input_device(["none:", "synthetic:"]).open(20):
            raise DeviceError("pulled out")


async def test_synthetic_speech_repeats_with_pauses(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(AudioFileError, match="there is no such file"):
        input_device(f"synthetic:{tmp_path}/no.wav")
    ends = []
    async with input_device("synthetic:").open(20) as blocks:
        start_s = trio.current_time()
        async for block in blocks:
            if block.speech_end_s is not None:
                ends.append(block.speech_end_s - start_s)
            if len(ends) == 3:
                break
    assert ends == pytest.approx([2, 8, 14], abs=0.02)
