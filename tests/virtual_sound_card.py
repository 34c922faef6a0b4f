"""Sound cards without a sound card: each is a private PulseAudio server with one loudspeaker and one microphone.

A server without its own user, session or bus; root will do. Needs the Debian packages pulseaudio, pulseaudio-utils,
libasound2-plugins and, for the programs under test, libportaudio2.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Final, Self

RATE_HZ: Final = 24_000
PATIENCE_S: Final = 10.0
TOOLS: Final = ("pulseaudio", "pactl", "paplay", "parec")

# norewinds: an idle null sink would otherwise keep 2 s and stall a new stream for 1.5 s
_SERVER: Final = """
load-module module-native-protocol-unix socket={folder}/native auth-anonymous=1
load-module module-null-sink sink_name=loudspeaker norewinds=1 rate=48000 channels=2
load-module module-null-sink sink_name=room norewinds=1 rate=48000 channels=1
load-module module-remap-source master=room.monitor source_name=microphone
set-default-sink loudspeaker
set-default-source microphone
"""


def missing() -> str:
    """What has to be installed for this to work, or an empty string."""
    tools = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"install pulseaudio, pulseaudio-utils, libasound2-plugins, libportaudio2: no {tools[0]}" if tools else ""


class VirtualSoundCard:
    """One card: `say` into its microphone, `record` its loudspeaker, and every mishap of its server."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.environ = {
            **os.environ,
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "PULSE_RUNTIME_PATH": str(folder),
            "PULSE_STATE_PATH": str(folder),
        }
        self._server: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        (folder / "default.pa").write_text(_SERVER.format(folder=folder))

    @property
    def address(self) -> str:
        return f"unix:{self.folder}/native"

    def plug(self) -> None:
        """Start its server; returns when it is up."""
        log = self.folder / "pulse.log"
        self._server = subprocess.Popen(
            ["pulseaudio", "-n", "-F", self.folder / "default.pa", "--daemonize=no", "--use-pid-file=no",
             "--exit-idle-time=-1", "--realtime=no", "--high-priority=no", f"--log-target=file:{log}"],
            env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = monotonic() + PATIENCE_S
        while "microphone" not in self.control("list", "short", "sources"):
            if self._server.poll() is not None or monotonic() > deadline:
                raise RuntimeError(log.read_text()[-2_000:] if log.exists() else "PulseAudio says nothing")
            signal.sigtimedwait([], 0.01)

    def unplug(self) -> None:
        """Kill its server: whoever uses the card loses it at once."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None
        (self.folder / "native").unlink(missing_ok=True)

    def hang(self) -> None:
        """Its server is there and answers nothing."""
        assert self._server is not None, "it is plugged"
        self._server.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Its server goes on."""
        assert self._server is not None, "it is plugged"
        self._server.send_signal(signal.SIGCONT)

    def remove_devices(self) -> None:
        """The server stays and loses its loudspeaker and its microphone."""
        for module in ("module-remap-source", "module-null-sink"):
            self.control("unload-module", module)

    def echo(self, gain: float) -> None:
        """Let the microphone hear the loudspeaker at this gain, some 40 ms later."""
        self.control(
            "load-module", "module-loopback", "source=loudspeaker.monitor", "sink=room", "latency_msec=40",
            "adjust_time=0",
        )  # fmt: skip
        self.control("set-sink-input-volume", self.control("list", "short", "sink-inputs").split()[0], str(gain))

    def control(self, *arguments: str) -> str:
        """What `pactl` answers."""
        environ = {**self.environ, "PULSE_SERVER": self.address}
        answer = subprocess.run(
            ["pactl", *arguments], env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
        return answer.stdout

    def say(self, pcm: bytes) -> subprocess.Popen[bytes]:
        """Let the microphone hear s16le mono at RATE_HZ; ends by itself."""
        file = self.folder / "said.raw"
        file.write_bytes(pcm)
        return subprocess.Popen(
            ["paplay", "--raw", f"--rate={RATE_HZ}", "--channels=1", "--format=s16le", "--latency-msec=100",
             "-s", self.address, "-d", "room", file],
            env=self.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def record(self, seconds: float) -> bytes:
        """What the loudspeaker plays during the next `seconds`: s16le mono at RATE_HZ."""
        recorder = subprocess.Popen(
            ["parec", "-s", self.address, "-d", "loudspeaker.monitor", f"--rate={RATE_HZ}", "--channels=1",
             "--format=s16le", "--latency-msec=20"],
            env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert recorder.stdout is not None
        pcm = recorder.stdout.read(round(seconds * RATE_HZ) * 2)
        recorder.kill()
        recorder.communicate()
        return pcm


class VirtualSoundCards:
    """Several cards on one machine; the first is the default. `with VirtualSoundCards("headset", "desk") as cards:`."""

    def __init__(self, *names: str) -> None:
        self._names: Sequence[str] = names
        self._cards: dict[str, VirtualSoundCard] = {}

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="cards."))
        self._cards = {name: VirtualSoundCard(name, self._folder / name) for name in self._names}
        lines = ["</usr/share/alsa/alsa.conf>"]
        for name, card in [("!default", self[self._names[0]]), *self._cards.items()]:
            lines += [f'{kind}.{name} {{ type pulse server "{card.address}" }}' for kind in ("pcm", "ctl")]
        (self._folder / "asound.conf").write_text("\n".join([*lines, ""]))
        for card in self._cards.values():
            card.plug()
        return self

    def __exit__(self, *exception: object) -> None:
        for card in self._cards.values():
            card.unplug()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __getitem__(self, name: str) -> VirtualSoundCard:
        return self._cards[name]

    @property
    def environ(self) -> dict[str, str]:
        """What a program needs to see these cards and no others."""
        nowhere = f"unix:{self._folder}/nowhere"  # Debian's own PCM "pulse" would start a server of its own
        return {"ALSA_CONFIG_PATH": f"{self._folder}/asound.conf", "PULSE_SERVER": nowhere, "HOME": str(self._folder)}
