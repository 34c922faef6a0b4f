"""What the service manager is told of the daemon: that it serves, what the call does, that it really lives."""

from typing import Final

import trio

from pipeline.edges.service_manager import ServiceManager
from pipeline.runtime.health import Health
from pipeline.vocabulary.signals import CallState, FaultNotice, Notice, StateNotice

LOOK_S: Final = 0.1
"""So often is looked whether the daemon serves by now."""
SIGNS_PER_WATCHDOG: Final = 4
"""Signs of life that fit into the watchdog's patience: one may be withheld while a child is replaced."""
BEGINNING: Final = frozenset({CallState.IDLE, CallState.CONNECTING})
"""It is not known yet whether the service can be reached."""


class LifeSigns:
    """Tells the service manager; `run` does so for as long as the daemon runs, and only while its loop turns."""

    def __init__(self, manager: ServiceManager, health: Health) -> None:
        self._manager = manager
        self._health = health
        self._state = CallState.IDLE
        self._is_ready = False

    def notify(self, notice: Notice) -> None:
        """The call has changed, or met trouble."""
        match notice:
            case StateNotice(state=state):
                self._state = state
                self._manager.tell(f"STATUS={_words(state)}")
            case FaultNotice(fault=fault):
                # nobody tells when it is over, and this may stand for days
                self._manager.tell(f"STATUS={_words(self._state)}; last trouble: {fault.message}")

    def stopping(self) -> None:
        """The daemon was told to end."""
        self._manager.tell("STOPPING=1")

    async def run(self) -> None:
        """READY=1 once, when children and call have got as far as they can; then WATCHDOG=1 while all is well."""
        watchdog_s = self._manager.watchdog_s
        while self._manager.is_there:
            if not self._is_ready:
                self._is_ready = self._health.serves and self._state not in BEGINNING
                if self._is_ready:
                    self._manager.tell("READY=1")
            elif watchdog_s is None:
                return
            elif self._health.complaint(trio.current_time()) is None:
                self._manager.tell("WATCHDOG=1")
            await trio.sleep(watchdog_s / SIGNS_PER_WATCHDOG if self._is_ready and watchdog_s else LOOK_S)


def _words(state: CallState) -> str:
    return state.value.replace("_", " ")
