"""The service manager that started the daemon, if one did: sd_notify(3), the protocol of systemd and its like."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

MICROSECONDS: Final = 1_000_000


class ServiceManager:
    """Takes what it is told, or nothing: a manager that is away must never matter to the call.

    Attributes:
        is_there: one asked to be told.
        watchdog_s: it ends a daemon that has not said WATCHDOG=1 for so long; None if it does not watch.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self.is_there = address[:1] in {"/", "@"} and len(address) > 1
        self.watchdog_s = _watchdog_s(environ) if self.is_there else None
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def tell(self, *assignments: str) -> None:
        """Send one message, such as `READY=1`; never waits, never raises."""
        if not self.is_there:
            return
        message = "\n".join(" ".join(assignment.split()) for assignment in assignments)  # one line each
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as line:
            line.sendto(message.encode(), self._address)


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(os.getpid()))
    if not (microseconds.isascii() and microseconds.isdigit() and int(microseconds)) or pid != str(os.getpid()):
        return None
    return int(microseconds) / MICROSECONDS
