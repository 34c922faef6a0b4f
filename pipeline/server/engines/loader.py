"""Finds the engines that the settings name among the installed ones: packages offer them as entry points.

An entry point of the group `talkwire.voice_activity`, `talkwire.recogniser`, `talkwire.brain` or `talkwire.voice` names
a function that takes the `Setup` and gives the maker that `Engines` holds: what is cheap is checked before the server
listens, what is slow is loaded while it does. Our own engines come the same way; config/engines/README.md shows how.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from pipeline.server.engines.interfaces import Engines, Setup
from pipeline.vocabulary.configuration import printable
from pipeline.vocabulary.errors import ConfigurationError, Problem, TalkwireError
from pipeline.vocabulary.settings import ServerSettings
from pipeline.vocabulary.signals import Secret

KINDS: Final = {
    "voice_activity": "voice_activity",
    "recogniser": "recogniser",
    "brain": "brain",
    "voice": "voice_engine",  # `voice` is the voice's name
}
"""Kind of engine, which is also its group of entry points → the setting that names the one to use."""


def load_engines(server: ServerSettings, chat_key: Secret | None = None) -> Engines:
    """The engines that `[server]` names.

    Args:
        server: the settings.
        chat_key: the key of the service at `server.chat_url`.

    Raises:
        ConfigurationError: an engine is not installed, cannot be loaded, or refuses its settings. The makers raise it
            too, for what takes time to find out.
    """
    setup = Setup(server, chat_key)
    return Engines(**{kind: _maker(kind, setup) for kind in KINDS})


def _maker(kind: str, setup: Setup) -> Callable[[], Any]:
    setting, name = f"server.{KINDS[kind]}", getattr(setup.server, KINDS[kind])
    installed = entry_points(group=f"talkwire.{kind}")
    try:
        entry = installed[name]
    except KeyError:
        names = ", ".join(sorted(installed.names)) or "none"
        message = f"there is no {kind.replace('_', ' ')} called {printable(name)} on this machine; installed: {names}"
        raise ConfigurationError([Problem(setting, message)]) from None
    with _named(entry, setting):
        make = entry.load()(setup)

    def make_named() -> Any:
        with _named(entry, setting):
            return make()

    return make_named


@contextmanager
def _named(entry: EntryPoint, setting: str) -> Iterator[None]:
    """A plug-in is somebody else's code and may fail in any way: the message says whose."""
    try:
        yield
    except TalkwireError:
        raise
    except Exception as error:
        package = entry.dist.name if entry.dist else "an unknown package"
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        message = f'"{entry.name}" of {package} ({entry.value}) cannot be loaded: {printable(why)}'
        raise ConfigurationError([Problem(setting, message)]) from error
