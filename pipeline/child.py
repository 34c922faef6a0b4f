"""The process `audio`: microphone and loudspeaker, apart from everything that could make them stutter or hang.

`main` is called by `runtime/fork_server`, with the arguments `audio FD PPID`, whenever the daemon asks for one. It must
not import what belongs to the other process (the WebSocket, HTTP), nor the other process what belongs here (PortAudio),
nor anything at its top what must not be forked (PortAudio again, threads); a test watches all three.
"""

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

import msgspec

from pipeline import topology
from pipeline.dsp.voice_activity import Detector, best_detector
from pipeline.edges.devices import input_device, output_device
from pipeline.edges.interfaces import InputDevice, OutputDevice
from pipeline.edges.sound_card_system import SoundSystem
from pipeline.runtime import worker
from pipeline.runtime.floor import Floor
from pipeline.runtime.ports import FloorView
from pipeline.runtime.progress import Progress
from pipeline.vocabulary.settings import AudioSettings, Settings

TAIL_MARGIN_S = 1.5
"""s a recording is followed by beyond the service's own silence window, so that its end is noticed."""


class AudioPlan(msgspec.Struct, frozen=True):
    """What capture and playback need to know, wherever they run.

    Attributes:
        audio: section `[audio]`.
        push_to_talk: only what is said while the key is held goes through.
        tail_s: silence behind a recording that stands in for a microphone.
        first_seq: number of the first captured frame: those that a dead process took with it are missing before it.
        epoch: counts the lives of the process.
        sound_hung: the sound system hung in the life before, so what can do without it is tried first.
    """

    audio: AudioSettings
    push_to_talk: bool
    tail_s: float
    first_seq: int = 0
    epoch: int = 0
    sound_hung: bool = False


def audio_plan(settings: Settings, *, first_seq: int = 0, epoch: int = 0, sound_hung: bool = False) -> AudioPlan:
    """The plan that follows from the settings."""
    return AudioPlan(
        settings.audio,
        push_to_talk=settings.turn.mode == "push_to_talk",
        tail_s=settings.turn.silence_duration_ms / 1000 + TAIL_MARGIN_S,
        first_seq=first_seq,
        epoch=epoch,
        sound_hung=sound_hung,
    )


def audio_devices(plan: AudioPlan) -> tuple[InputDevice, OutputDevice, Detector]:
    """Microphone and loudspeaker as the settings name them, and who listens for speech; nothing is opened yet.

    Raises:
        ConfigurationError: one of them cannot exist.
        AudioFileError: a recording that stands in for one cannot be used.
    """
    sound_system = SoundSystem()
    return (
        input_device(plan.audio.input, tail_s=plan.tail_s, sound_system=sound_system, sound_hung=plan.sound_hung),
        output_device(plan.audio.output, sound_system=sound_system, sound_hung=plan.sound_hung),
        best_detector(),
    )


def audio_edges(
    plan: AudioPlan,
    microphone: InputDevice,
    loudspeaker: OutputDevice,
    detector: Detector,
    floor: FloorView,
    progress: Progress,
) -> dict[str, dict[str, object]]:
    """The keyword-only parameters of capture and playback."""
    audio = plan.audio
    return {
        "capture": {
            "device": microphone, "detector": detector, "frame_ms": audio.frame_ms,
            "push_to_talk": plan.push_to_talk, "first_seq": plan.first_seq, "epoch": plan.epoch, "progress": progress,
        },
        "playback": {
            "device": loudspeaker, "floor": floor, "frame_ms": audio.frame_ms, "fade_ms": audio.fade_ms,
        },
    }  # fmt: skip


def _build(plan: bytes, floor: Floor, progress: Progress) -> Mapping[str, Mapping[str, object]]:
    decoded = msgspec.msgpack.decode(plan, type=AudioPlan)
    return audio_edges(decoded, *audio_devices(decoded), floor, progress)


def main() -> NoReturn:
    """Be the process that the arguments name; it ends without cleaning up, which a hung sound system would hold."""
    name, trunk_fd, parent = sys.argv[1:]
    whole = worker.Map(
        topology.ACTORS, topology.LINKS, topology.DAEMON, topology.RESTARTS_MAX, topology.RESTART_PERIOD_S
    )
    os._exit(worker.run(name, int(trunk_fd), int(parent), whole, _build))
