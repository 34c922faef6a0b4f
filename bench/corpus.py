"""Speech whose words are known: recordings of people, and sentences that synthetic voices speak."""

import re
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import msgspec

from bench.report import BenchError
from pipeline.dsp.resample import resample
from pipeline.vocabulary.frames import RATE_HZ

TESTDATA: Final = Path("/usr/share/pocketsphinx/test/data")
"""Debian's package pocketsphinx-testdata: five pieces of read prose, five of playing cards, two commands to a robot."""
BECKETT: Final = "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."
"""What the package of the recogniser's weights ships a recording of."""
SYNTHESIS_S: Final = 60.0
"""s that a voice may take for one sentence."""

SENTENCES: Final = (
    "Hello, I would like to check in for my appointment.",
    "Where is the nearest restroom?",
    "What time do you close today?",
    "How much is a ticket for a child?",
    "Can I pay with a credit card?",
    "Please show me the way to the elevator.",
    "Is there a cafe in this building?",
    "I have lost my umbrella, who can help me?",
    "Two tickets for the afternoon tour, please.",
    "Do you have a map of the museum in English?",
    "My name is Daniel Parker and I booked a table for four.",
    "When does the next bus to the station leave?",
    "Could you speak a little more slowly?",
    "Are dogs allowed in the garden?",
    "I need a wheelchair for my grandmother.",
    "What is the password of the wireless network?",
    "Which floor is the conference room on?",
    "Please call someone from the staff.",
    "Thank you very much, that was all.",
    "Can you repeat the last part, please?",
)
"""What people say at a desk; our own, for the sentences of the first measurement were not kept."""


class Utterance(msgspec.Struct, frozen=True):
    """Sound, s16le mono at `RATE_HZ`, and the words in it."""

    pcm: bytes
    words: str


class NotInstalledError(Exception):
    """A part of the corpus is not on this machine; the message says what to install."""


def read_wav(path: Path) -> bytes:
    """A mono recording of 16 bits as s16le at `RATE_HZ`. Raises BenchError if it is another."""
    with wave.open(str(path)) as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2):
            raise BenchError(f"{path.name} is not mono of 16 bits")
        return resample(file.readframes(file.getnframes()), file.getframerate(), RATE_HZ)


def real_recordings() -> list[Utterance]:
    """Thirteen recordings of people. Raises NotInstalledError if they are not here."""
    if not TESTDATA.is_dir():
        raise NotInstalledError("real recordings: apt-get install pocketsphinx-testdata")
    try:
        beckett = distribution("moonshine-voice").locate_file("moonshine_voice/assets/beckett.wav")
    except PackageNotFoundError:
        raise NotInstalledError("real recordings: pip install 'talkwire[local]'") from None
    found = [
        Utterance(read_wav(TESTDATA / folder / f"{name}.wav"), words)
        for folder, transcription in (("librivox", "transcription"), ("cards", "cards.transcription"))
        for words, name in re.findall(
            r"<s> (.+?) +</s> \((\S+)\)", (TESTDATA / folder / transcription).read_text(encoding="utf-8")
        )
    ]
    for name, words in (("goforward", "go forward ten meters"), ("something", "go somewhere and do something")):
        found.append(Utterance(resample((TESTDATA / f"{name}.raw").read_bytes(), 16_000, RATE_HZ), words))
    return [*found, Utterance(read_wav(Path(str(beckett))), BECKETT)]


# the voices: each speaks one text into a WAV file

Speak = Callable[[str, Path], Sequence[str]]
"""Text, and where its sound belongs → the command that does it; the text is also on the command's stdin."""

COMMANDS: Final[dict[str, tuple[str, Speak]]] = {
    "espeak": ("espeak-ng", lambda text, wav: ["espeak-ng", "-w", str(wav), text]),
    "flite": ("flite", lambda text, wav: ["flite", "-voice", "slt", "-t", text, "-o", str(wav)]),
    "festival": (
        "festival festvox-us-slt-hts",
        lambda _, wav: ["text2wave", "-eval", "(voice_cmu_us_slt_arctic_hts)", "-o", str(wav)],
    ),
}
"""Voices that are programs: name → Debian's packages, command."""


def spoken_by(voice: str) -> Iterator[Utterance]:
    """The sentences as one of COMMANDS speaks them. Raises NotInstalledError if it is not here."""
    packages, command = COMMANDS[voice]
    with tempfile.TemporaryDirectory(prefix="talkwire-bench-") as folder:
        wav = Path(folder) / "spoken.wav"
        for text in SENTENCES:
            arguments = command(text, wav)
            if shutil.which(arguments[0]) is None:
                raise NotInstalledError(f"{voice}: apt-get install {packages}")
            subprocess.run(arguments, input=text.encode(), check=True, capture_output=True, timeout=SYNTHESIS_S)
            yield Utterance(read_wav(wav), text)
