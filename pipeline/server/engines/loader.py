"""Load the offline engines. Every heavy import of the local server happens inside `load`."""

from concurrent.futures import ThreadPoolExecutor

from pipeline.server.engines.interfaces import Engines
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
        raise ConfigurationError([Problem("server", message)]) from absent
    with ThreadPoolExecutor(max_workers=2) as pool:  # the two sets of weights load side by side
        recogniser = pool.submit(MoonshineRecogniser)
        voice = pool.submit(HibariVoice, settings.voice)
        brain = RetrievalBrain.from_settings(settings.knowledge)
        return Engines(SileroVoiceActivity, recogniser.result(), brain, voice.result())
