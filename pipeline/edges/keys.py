"""Where an API key comes from: systemd credential, then file, then environment; never the command line."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from pipeline.realtime.client_secrets import MAX_SECRET_LENGTH, is_header_safe
from pipeline.vocabulary.errors import ConfigurationError, Problem
from pipeline.vocabulary.signals import Secret

PROVIDER = "openai_api_key"
"""The key of the Realtime provider, and of the local server in its place."""
CHAT = "chat_api_key"
"""The key of the chat service that the local server's brain may ask."""
RELAY = "talkwire_relay_api_key"
"""The key of the relay's control API."""


def read_api_key(environ: Mapping[str, str], credential: str = PROVIDER) -> Secret | None:
    """The API key from the first place that has one, or None.

    The places, for `openai_api_key`: `$CREDENTIALS_DIRECTORY/openai_api_key` (systemd LoadCredential), the file named
    by `OPENAI_API_KEY_FILE` (container secret), `OPENAI_API_KEY`.

    Raises:
        ConfigurationError: the place is there but its key cannot be used; a later place is not tried, for a key that
            silently comes from elsewhere may be another account's.
    """
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if directory and os.path.lexists(path := Path(directory) / credential):
        return key_from_file(path, "CREDENTIALS_DIRECTORY")
    variable = credential.upper()
    if (named := environ.get(f"{variable}_FILE")) is not None:
        return key_from_file(Path(named), f"{variable}_FILE")
    if (value := environ.get(variable)) is not None:
        return _usable(value, variable)
    return None


def key_from_file(path: Path, place: str) -> Secret:
    """The key in this file; `place` names who said so. Raises ConfigurationError: unreadable, or no key."""
    return _usable(_read_file(path, place), place)


def _read_file(path: Path, place: str) -> str:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(MAX_SECRET_LENGTH + 2).decode("ascii", errors="replace") if stat.S_ISREG(mode) else ""
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no file name"
        raise _refused(place, f"cannot read the key file: {reason}") from error
    if not stat.S_ISREG(mode):
        raise _refused(place, "the key file is no plain file")
    if mode & stat.S_IWOTH:
        raise _refused(place, "anybody may write into the key file; take that right away (chmod o-w)")
    return text


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a named pipe would hold us until somebody writes into it


def _usable(text: str, place: str) -> Secret:
    value = text.strip()
    if not value:
        raise _refused(place, "the key is empty; give one or remove this place")
    if not is_header_safe(value):
        raise _refused(place, f"the key is no single line of at most {MAX_SECRET_LENGTH} visible ASCII characters")
    return Secret(value)


def _refused(place: str, message: str) -> ConfigurationError:
    return ConfigurationError([Problem(place, message)])
