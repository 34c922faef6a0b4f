"""The directory of what exists only while the daemon runs: its lock and its control socket."""

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pipeline.vocabulary.configuration import printable
from pipeline.vocabulary.errors import ConfigurationError, Problem

FIELD: Final = "runtime.directory"
NAME: Final = "talkwire"


def runtime_directory(setting: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the directory is, whether it exists or not.

    As the setting says; if that is empty `$XDG_RUNTIME_DIR/talkwire`, else `/run/user/UID/talkwire`, else one of this
    user's own under the directory for temporary files.
    """
    if setting:
        return Path(setting)
    session = environ.get("XDG_RUNTIME_DIR", "")
    if Path(session).is_absolute():  # the specification: a relative path is to be ignored
        return Path(session) / NAME
    run = Path(f"/run/user/{os.getuid()}")
    return run / NAME if run.is_dir() else Path(tempfile.gettempdir()) / f"{NAME}-{os.getuid()}"


def make_runtime_directory(setting: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The directory, made if need be, with mode 0700; it belongs to this user alone when this returns.

    Raises:
        ConfigurationError: it cannot be made, or somebody else may write to it.
    """
    path = runtime_directory(setting, environ)
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()  # a symbolic link in a directory for everybody may have been laid by anybody
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = (isinstance(error, OSError) and error.strerror) or "not a file name"
        raise _unusable(path, f"cannot be made: {reason}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise _unusable(path, "is no directory")
    if found.st_uid != os.getuid():
        raise _unusable(path, "belongs to another user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise _unusable(path, "is open to other users; its mode must be 0700")
    return path


def _unusable(path: Path, complaint: str) -> ConfigurationError:
    return ConfigurationError([Problem(FIELD, f"{printable(str(path))} {complaint}")])
