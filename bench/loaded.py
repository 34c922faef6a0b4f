"""`python -m bench.loaded COMMAND ...` is talkwire in an interpreter that is busy with something else, for measuring.

Once a second more than a million objects are looked through for garbage, and twice a second a call into C keeps every
other thread of the process from running for 50 ms. Both begin after the start: it is the daemon's own objects that it
takes out of the collector's sight, and not those that came later.
"""

import ctypes
import gc
import threading
import time
from typing import Final

from pipeline.cli import main

OBJECTS: Final = 1_200_000
"""Some 0.3 s of collecting, during which nothing else runs."""
STRIDE: Final = 7_368_787
"""A prime: each record refers to a distant one."""
HOLD_US: Final = 50_000
"""Of a call that does not let go of the interpreter; asleep, so that it takes nothing from the other processes."""
STEP_S: Final = 0.5


def burden() -> None:
    """Burden this interpreter for as long as it lives."""
    pause = threading.Event()
    while not gc.get_freeze_count():
        pause.wait(STEP_S)
    records: list[dict[str, object]] = [{"number": [number]} for number in range(OBJECTS // 2)]
    for number, record in enumerate(records):  # far apart in memory, as what has grown for weeks is
        record["next"] = records[number * STRIDE % len(records)]
    holding = ctypes.PyDLL(None).usleep
    due_s = time.monotonic()
    while True:
        gc.collect()
        for _ in range(2):
            holding(HOLD_US)
            due_s += STEP_S
            pause.wait(max(0.0, due_s - time.monotonic()))


if __name__ == "__main__":
    threading.Thread(target=burden, daemon=True).start()
    main()
