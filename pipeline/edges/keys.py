"""Where the provider's API key comes from: systemd credential, then file, then environment; never the command line."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from pipeline.realtime.client_secrets import MAX_SECRET_LENGTH, is_header_safe
from pipeline.vocabulary.errors import ConfigurationError, Problem
from pipeline.vocabulary.signals import Secret

CREDENTIAL = "openai_api_key"


def read_api_key(environ: Mapping[str, str]) -> Secret | None:
    """The API key from the first place that has one, or None.

    The places: `$CREDENTIALS_DIRECTORY/openai_api_key` (systemd LoadCredential), the file named by
    `OPENAI_API_KEY_FILE` (container secret), `OPENAI_API_KEY`.

    Raises:
        ConfigurationError: the place is there but its key cannot be used; a later place is not tried, for a key that
            silently comes from elsewhere may be another account's.
    """
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if directory and os.path.lexists(credential := Path(directory) / CREDENTIAL):
        return key_from_file(credential, "CREDENTIALS_DIRECTORY")
    if (path := environ.get("OPENAI_API_KEY_FILE")) is not None:
        return key_from_file(Path(path), "OPENAI_API_KEY_FILE")
    if (value := environ.get("OPENAI_API_KEY")) is not None:
        return key_from_text(value, "OPENAI_API_KEY")
    return None


def key_from_file(path: Path, place: str) -> Secret:
    """The key in this file; `place` names who said so. Raises ConfigurationError: unreadable, or no key."""
    return key_from_text(_read_file(path, place), place)


def key_from_text(text: str, place: str) -> Secret:
    """The key in this text; `place` names where it stood. Raises ConfigurationError: it is no key."""
    value = text.strip()
    if not value:
        raise _refused(place, "the key is empty; give one or remove this place")
    if not is_header_safe(value):
        raise _refused(place, f"the key is no single line of at most {MAX_SECRET_LENGTH} visible ASCII characters")
    return Secret(value)


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


def _refused(place: str, message: str) -> ConfigurationError:
    return ConfigurationError([Problem(place, message)])
