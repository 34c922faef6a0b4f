"""SIGHUP: the settings are read again, and what can be used at once is."""

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from pipeline.core.reload import plan_reload
from pipeline.edges.service_manager import ServiceManager
from pipeline.vocabulary.errors import ConfigurationError
from pipeline.vocabulary.settings import Settings
from pipeline.vocabulary.signals import Adopt, Notice, ReloadNotice

MICROSECONDS = 1_000_000


def is_hung_up_by_terminal() -> bool:
    """Whether SIGHUP says that the terminal is gone: then it ends the program, for nobody could see that it listens."""
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        return True
    return False


async def reload_on_hangup(
    running: Settings,
    read: Callable[[], Settings],
    adopt: Callable[[Adopt], Awaitable[None]],
    notify: Callable[[Notice], None],
    manager: ServiceManager,
) -> None:
    """At each SIGHUP `read` the settings, `adopt` what can be used at once, and `notify` about all that has changed.

    For the rest of this process: trio raises again what was not read yet when the receiver closes, and a daemon that is
    ending in order would die of it.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            manager.tell("RELOADING=1", f"MONOTONIC_USEC={round(trio.current_time() * MICROSECONDS)}")
            try:
                reload = plan_reload(running, await trio.to_thread.run_sync(read, abandon_on_cancel=True))
            except ConfigurationError as error:
                notify(ReloadNotice([], [], [str(problem) for problem in error.problems]))
            else:
                running = reload.settings
                await adopt(Adopt(running))
                notify(ReloadNotice(reload.applied, reload.needs_restart, []))
            manager.tell("READY=1")
