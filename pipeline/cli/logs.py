"""Logs: one line each, on stderr, so that stdout holds nothing but what was asked for."""

import os
import sys
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

import structlog

from pipeline.core.flood import FloodGate


def log_to_stderr() -> None:
    """Print every log line as `key=value` pairs with its time; libraries' lines only from warnings on.

    Of one event there are at most 20 lines a second; how many are left out stands in the next one. A disk that is full
    costs lines and nothing else.
    """
    structlog.configure(
        processors=[
            _Flood(FloodGate()),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=_Stderr,
    )


class _Flood:
    """Drops what the gate does not admit (a processor of structlog)."""

    def __init__(self, gate: FloodGate) -> None:
        self._gate = gate

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        omitted = self._gate.admit(str(event["event"]), time.monotonic())
        if omitted is None:
            raise structlog.DropEvent
        if omitted:
            event["omitted"] = omitted
        return event


class _Stderr:
    """Writes lines (a logger of structlog), unbuffered: what cannot be written is gone and does not come back."""

    def __init__(self, *_: object) -> None:
        pass

    def msg(self, line: str) -> None:
        """Write one line, if it can be written."""
        if sys.stderr is not None:
            with suppress(OSError):
                os.write(sys.stderr.fileno(), f"{line}\n".encode(errors="replace"))

    debug = info = warning = error = critical = exception = msg
