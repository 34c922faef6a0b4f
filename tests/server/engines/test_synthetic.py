import json
from collections.abc import Callable

import numpy as np
import pytest

from pipeline.realtime.events import Tool
from pipeline.server.engines.interfaces import Arguments, Ask, Call, Engines, Line, Words
from pipeline.server.engines.loader import KINDS, load_engines
from pipeline.server.engines.synthetic import HOP_MS, MS_PER_CHARACTER
from pipeline.vocabulary import configuration
from pipeline.vocabulary.frames import BYTES_PER_MS

Tone = Callable[..., bytes]


@pytest.fixture(scope="module")
def engines() -> Engines:
    overrides = [f"server.{setting}=synthetic" for setting in KINDS.values()]
    return load_engines(configuration.load(overrides=overrides).server)


def test_what_is_loud_is_speech(engines: Engines, tone: Tone) -> None:
    detector = engines.voice_activity()
    sound = bytes(10 * HOP_MS * BYTES_PER_MS) + tone(5 * HOP_MS) + tone(5 * HOP_MS, amplitude=100)
    pieces = [sound[start : start + 20 * BYTES_PER_MS] for start in range(0, len(sound), 20 * BYTES_PER_MS)]
    assert [p for piece in pieces for p in detector.process(piece)] == [0.0] * 10 + [1.0] * 5 + [0.0] * 5


def test_every_stream_has_its_own_detector(engines: Engines, tone: Tone) -> None:
    first, second = engines.voice_activity(), engines.voice_activity()
    assert first.process(tone(HOP_MS / 2)) == []
    assert second.process(tone(HOP_MS / 2)) == []
    assert first.process(tone(HOP_MS / 2)) == [1.0]


def test_an_utterance_is_as_long_as_it_is(engines: Engines, tone: Tone) -> None:
    recogniser = engines.recogniser()
    assert recogniser.transcribe(tone(1_230)) == "I spoke for 1.2 seconds."
    assert recogniser.transcribe(bytes(1_000 * BYTES_PER_MS)) == ""
    assert recogniser.transcribe(b"") == ""


async def test_the_brain_says_what_it_heard_word_by_word(engines: Engines) -> None:
    pieces = [piece async for piece in engines.brain().answer(Ask((Line("user", "Good morning."),)))]
    words = [piece.text for piece in pieces if isinstance(piece, Words)]
    assert "".join(words) == "You said something. It was: Good morning."
    assert len(words) == len(pieces) == 7


async def test_the_brain_calls_a_function_only_if_it_must(engines: Engines) -> None:
    parameters = {"properties": {"what": {"type": "string"}}, "required": ["what"]}
    ask = Ask((Line("user", "Go."),), tools=(Tool(type="function", name="act", parameters=parameters),))
    assert [type(piece) async for piece in engines.brain().answer(ask)][0] is Words  # noqa: RUF015 - there is no async next
    forced = Ask(ask.lines, tools=ask.tools, tool_choice="required")
    call, arguments = [piece async for piece in engines.brain().answer(forced)]
    assert call == Call("act")
    assert isinstance(arguments, Arguments)
    assert json.loads(arguments.text) == {"what": "Go."}


@pytest.mark.parametrize("speed", [0.25, 1.0, 4.0])
def test_the_voice_takes_as_long_as_speaking_would(engines: Engines, speed: float) -> None:
    first, second = engines.voice().speak("One two three. Four?", speed=speed)
    for sound, sentence in ((first, "One two three."), (second, "Four?")):
        assert len(sound) / BYTES_PER_MS == pytest.approx(len(sentence) * MS_PER_CHARACTER / speed, abs=10)
    assert 3_000 < np.abs(np.frombuffer(first, "<i2").astype(int)).max() < 5_000


@pytest.mark.parametrize("text", ["", " \n", "..."])
def test_the_voice_says_nothing_if_there_is_nothing_to_say(engines: Engines, text: str) -> None:
    assert not list(engines.voice().speak(text))
