"""The knowledge file while it is being edited: a good new version is used from the next question, a bad one refused."""

import stat
from pathlib import Path
from typing import Final

import structlog
import trio

from pipeline.server.engines.knowledge import read_knowledge
from pipeline.server.engines.search import Search
from pipeline.vocabulary.errors import ConfigurationError

LOOK_EVERY_S: Final = 1.0
LOOK_DEADLINE_S: Final = 0.5
"""A share that hangs must not make the visitor wait: the answer is then looked up in the version that is here."""

_log = structlog.get_logger("talkwire.server")


class KnowledgeFile:
    """The newest good version of a knowledge file.

    It is looked at by its name when a question arrives, so a version that an editor puts in the old one's place by
    renaming is noticed too. A pipe is read once.

    Raises:
        ConfigurationError: the first version cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = _version(path)  # before reading: what is written meanwhile is a change
        self._search = Search(read_knowledge(path))
        self._next_look_s = 0.0
        self._is_looking = False

    async def search(self) -> Search:
        """Its index; at most once a second it is looked whether the file has changed."""
        if trio.current_time() >= self._next_look_s and not self._is_looking:
            self._next_look_s = trio.current_time() + LOOK_EVERY_S
            with trio.move_on_after(LOOK_DEADLINE_S):
                await trio.to_thread.run_sync(self._look, abandon_on_cancel=True)
        return self._search

    def _look(self) -> None:
        self._is_looking = True
        try:
            version = _version(self._path)
            if version != self._version:
                self._version = version
                self._search = Search(read_knowledge(self._path))
                _log.info("knowledge file reloaded", file=self._path.name, entries=len(self._search.knowledge.entries))
        except ConfigurationError as refused:
            first, *others = map(str, refused.problems)
            _log.warning("knowledge file refused, the last good one stays", problem=first, further_problems=len(others))
        finally:
            self._is_looking = False


def _version(path: Path) -> tuple[int, int, int] | None:
    """What differs between two versions of a file; None if there is no plain file."""
    try:
        now = path.stat()
    except OSError:
        return None
    return (now.st_mtime_ns, now.st_ino, now.st_size) if stat.S_ISREG(now.st_mode) else None
