"""The daemon's runtime directory: private to its user, gone with the boot. One daemon runs in each.

The kernel's lock on a file in it goes with the process that holds it, however that ends, so no lock is ever stale.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pipeline.vocabulary.configuration import printable
from pipeline.vocabulary.errors import AlreadyRunningError, ConfigurationError, Problem

LOCK: Final = "run.lock"
"""Locked by the daemon that runs here; holds its pid."""
PID_BYTES_MAX: Final = 20


def runtime_directory(given: str, environ: Mapping[str, str]) -> Path:
    """Where it is: as the setting `runtime.directory` gives it, or else where this system keeps such directories.

    `$RUNTIME_DIRECTORY` is what systemd made for the unit, `$XDG_RUNTIME_DIR` what a login made for its user.
    """
    if given:
        return Path(given).absolute()
    if of_unit := environ.get("RUNTIME_DIRECTORY"):
        return Path(of_unit.split(":")[0])
    if of_user := environ.get("XDG_RUNTIME_DIR"):
        return Path(of_user, "talkwire")
    if os.geteuid() == 0:
        return Path("/run/talkwire")
    return Path(tempfile.gettempdir(), f"talkwire-{os.geteuid()}")


@contextmanager
def only_instance(directory: Path) -> Iterator[None]:
    """Be the one daemon in this runtime directory, which is made if need be.

    Raises:
        AlreadyRunningError: another one is; the message names its pid.
        ConfigurationError: the directory cannot be made or written, or is open to other users.
    """
    try:
        lock = _open_lock(directory)
    except OSError as error:
        raise _refused(directory, error.strerror or "not a directory") from error
    with os.fdopen(lock, "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate()
            file.write(b"%d\n" % os.getpid())
        except BlockingIOError:
            raise _taken(directory, file.read(PID_BYTES_MAX)) from None
        except OSError as error:  # a full disk
            raise _refused(directory, error.strerror or "cannot be written") from error
        yield


def _open_lock(directory: Path) -> int:
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.stat()  # systemd's is a symbolic link, which is root's
    if directory.lstat().st_uid not in {0, os.geteuid()} or status.st_uid != os.geteuid():
        raise _refused(directory, "belongs to another user")
    if status.st_mode & 0o077:
        raise _refused(directory, "is open to other users; take their rights away (chmod 700)")
    return os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _taken(directory: Path, pid: bytes) -> AlreadyRunningError:
    who = f"process {int(pid)}" if pid.strip().isdigit() else "another process"
    return AlreadyRunningError(
        f"already running: {who} holds {printable(str(directory))}; "
        "a second daemon beside it wants a runtime.directory of its own"
    )


def _refused(directory: Path, reason: str) -> ConfigurationError:
    return ConfigurationError([Problem("runtime.directory", f"{printable(str(directory))}: {reason}")])
