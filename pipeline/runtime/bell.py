"""A bell: whoever waits for it is woken when it rings, and looks for itself why.

A trio ParkingLot keeps an order, can be broken and wakes some of many; where one task waits, once for each frame of
sound, that costs as much as the switch between two tasks.
"""

from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled


class Bell:
    """Rings for those who wait, and is not heard by anybody else."""

    def __init__(self) -> None:
        self._waiting: list[Task] = []

    async def wait(self) -> None:
        """Until it rings; always a checkpoint."""
        task = current_task()
        self._waiting.append(task)

        def leave(_: RaiseCancelT) -> Abort:
            self._waiting.remove(task)
            return Abort.SUCCEEDED

        await wait_task_rescheduled(leave)

    def ring(self) -> None:
        """Wake all who wait."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for task in waiting:
                reschedule(task)
