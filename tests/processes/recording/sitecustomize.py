"""Every Python that a process test starts runs this first: what a server in it writes is kept, for the test to judge.

It exchanges `encode` before anybody imports it by name. One message a line, in a file of this process.
"""

import os
from pathlib import Path
from typing import get_args

from pipeline.realtime import codec
from pipeline.realtime.events import Event, ServerEvent

encode = codec.encode
path = Path(os.environ["SERVER_MESSAGES"]) / f"{os.getpid()}.jsonl"


def recording(event: Event) -> str:
    """Write an event, and keep what was written if a server would say it."""
    message = encode(event)
    if isinstance(event, get_args(ServerEvent)):
        with path.open("a", encoding="utf-8") as file:
            file.write(message + "\n")
    return message


codec.encode = recording
