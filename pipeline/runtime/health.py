"""Health: whether this process and its children really work, for whoever would otherwise end or replace the daemon."""

import os
import signal
from contextlib import suppress
from typing import Final

from pipeline.runtime.processes import BEAT_DEADLINE_S, ChildState
from pipeline.runtime.progress import Progress

IDLE_MAX_S: Final = 1.0
"""An open microphone gives blocks every 20 to 160 ms, and its own watchdog acts after 400 ms."""


class Health:
    """The signs of life of one daemon.

    Attributes:
        children: its other processes, kept up to date by those who look after them.
        progress: of the actors in this process.
    """

    def __init__(self) -> None:
        self.children: list[ChildState] = []
        self.progress = Progress()

    @property
    def serves(self) -> bool:
        """Every child has got as far as it can: its actors run, or that they cannot has been told."""
        return all(child.ready or child.restarts for child in self.children)

    def complaint(self, now_s: float) -> str | None:
        """What does not work although it should, or None.

        A child that is being started or replaced is no reason: its supervisor works, under deadlines of its own.
        """
        for child in self.children:
            if child.ready and now_s - child.beat_s > BEAT_DEADLINE_S:
                return f"process {child.name} does not answer"
            if child.ready and child.beat is not None and child.beat.idle_s > IDLE_MAX_S:
                return f"process {child.name} does not get on with its work"
        return "no work is done" if self.progress.idle_s(now_s) > IDLE_MAX_S else None

    def kill_children(self) -> None:
        """End them now, however they are; their supervisors reap them."""
        for child in self.children:
            if child.pid:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
