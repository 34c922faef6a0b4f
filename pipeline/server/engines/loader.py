"""Load the offline engines. Every heavy import of the local server happens inside `load`."""

from pathlib import Path

from pipeline.server.engines.interfaces import Engines
from pipeline.server.engines.knowledge import check_knowledge
from pipeline.vocabulary import configuration
from pipeline.vocabulary.errors import ConfigurationError, Problem
from pipeline.vocabulary.settings import ServerSettings


def load(settings: ServerSettings) -> Engines:
    """Engines ready for their first question, warmed up; takes about a second, so call it in a worker thread.

    Raises:
        ConfigurationError: the extra `local` is not installed, the knowledge file is wrong, or the voice is unknown.
    """
    try:
        from pipeline.server.engines.brain import RetrievalBrain
        from pipeline.server.engines.recogniser import MoonshineRecogniser
        from pipeline.server.engines.voice import HibariVoice
        from pipeline.server.engines.voice_activity import SileroVoiceActivity
    except ImportError as absent:
        message = f"offline speech needs {absent.name}; install it with: pip install 'talkwire[local]'"
        raise ConfigurationError([Problem("", message)]) from absent
    path = Path(settings.knowledge) if settings.knowledge else configuration.shipped("knowledge.toml")
    knowledge = check_knowledge(configuration.read(path), path.name)
    return Engines(
        voice_activity=SileroVoiceActivity,
        recogniser=MoonshineRecogniser(),
        brain=RetrievalBrain(knowledge),
        voice=HibariVoice(settings.voice),  # threads would not help: reading weights and tables holds the interpreter
    )
