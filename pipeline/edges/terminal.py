"""The terminal as push-to-talk key: Enter begins to talk, Enter ends it."""

import os
from collections.abc import AsyncGenerator
from itertools import cycle

import trio

from pipeline.vocabulary.signals import Command, PressTalk, ReleaseTalk

READ_BYTES = 256  # a person presses Enter, a paste is cut into pieces


class TerminalKeys:
    """Commands typed at a terminal (CommandSource); ends when the terminal is gone.

    Args:
        descriptor: of a terminal, pipe or socket; it is not closed and its mode is not changed.
    """

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor

    async def commands(self) -> AsyncGenerator[Command, None]:
        """Press and release in turn, one for every Enter."""
        keys: cycle[Command] = cycle((PressTalk(), ReleaseTalk()))
        while True:
            await trio.lowlevel.wait_readable(self._descriptor)
            try:
                typed = os.read(self._descriptor, READ_BYTES)
            except OSError:  # EIO: the terminal hung up
                return
            if not typed:
                return
            for _ in range(typed.count(b"\n")):
                yield next(keys)
