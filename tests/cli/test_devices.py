"""`talkwire devices`, with a sounddevice of the test's own in the child's path."""

import json
from pathlib import Path

import pytest

from pipeline.cli import perform_command
from pipeline.edges.sound_card_names import NO_PORTAUDIO

TWO_CARDS = """
def query_hostapis(): return [{"default_input_device": 1, "default_output_device": -1}]
def query_devices():
    names = [("USB Camera: - (hw:2,0)", 1, 0), ("Jabra: USB (hw:1,0)", 1, 2)]
    return [{"name": name, "index": index, "max_input_channels": inputs, "max_output_channels": outputs,
             "default_samplerate": 48000.0} for index, (name, inputs, outputs) in enumerate(names)]
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "sounddevice.py"


def test_people_get_a_table(child: Path, capsys: pytest.CaptureFixture[str]) -> None:
    child.write_text(TWO_CARDS)
    assert perform_command(["devices"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "microphone  device:USB Camera  48000 Hz, 1 channel",
        "microphone  device:Jabra: USB  48000 Hz, 1 channel  (device:default)",
        "loudspeaker device:Jabra: USB  48000 Hz, 2 channels",
    ]


def test_programs_get_one_object_per_line(child: Path, capsys: pytest.CaptureFixture[str]) -> None:
    child.write_text(TWO_CARDS)
    assert perform_command(["devices", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == {
        "direction": "input",
        "device": "device:Jabra: USB",
        "rate_hz": 48_000,
        "channels": 1,
        "default": True,
    }
    assert [line["direction"] for line in lines] == ["input", "input", "output"]


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_what_is_missing_is_one_line_and_78(
    child: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    child.write_text("raise OSError('PortAudio library not found')")
    assert perform_command(["devices", *arguments]) == 78
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"talkwire: {NO_PORTAUDIO}\n")
