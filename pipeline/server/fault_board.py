"""Which faults new connections meet, and who is connected: what the control API shows and changes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from pipeline.server.faults.catalogue import Fault
from pipeline.server.faults.line import FaultLine
from pipeline.server.faulty_socket import FaultySocket


class Connected(NamedTuple):
    """An open session and when it was opened, in s of the server's clock."""

    socket: FaultySocket
    since_s: float


class FaultBoard:
    """The faults of one server.

    Args:
        faults: that every new connection meets.
        seed: of all dice; the n-th connection since the faults were chosen always throws the same.
    """

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self.faults = tuple(faults)
        self.seed = seed
        self.connections = 0
        self.sessions: dict[str, Connected] = {}

    def choose(self, faults: Sequence[Fault]) -> None:
        """New connections meet these faults; they are counted anew."""
        self.faults = tuple(faults)
        self.connections = 0

    def connect(self, now: float) -> FaultLine:
        """The line of a new connection."""
        self.connections += 1
        return FaultLine(self.faults, seed=str(self.seed), number=self.connections, now=now)

    @contextmanager
    def connected(self, session_id: str, socket: FaultySocket, now: float) -> Iterator[None]:
        """A session is open for so long."""
        self.sessions[session_id] = Connected(socket, now)
        try:
            yield
        finally:
            del self.sessions[session_id]
