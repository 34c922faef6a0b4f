"""A WebSocket with a line of faults on it: the same interface, so that a session knows nothing of them.

Faults are told in the names of GA: they work between the session and the dialect.
A thin shell: what happens is decided in `faults/line.py`.
"""

import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import trio

from pipeline.realtime.codec import encode
from pipeline.realtime.events import ErrorBody, ErrorEvent
from pipeline.server.dialect_socket import DialectSocket
from pipeline.server.faults.catalogue import Fault
from pipeline.server.faults.door import HttpRefusal, InBandRefusal, Silence
from pipeline.server.faults.line import FaultLine, Frame
from pipeline.server.faults.schema import FAULT_EVENT_ID, Close, Drop
from pipeline.server.gate import GatedStream
from pipeline.server.websocket import Disconnected, Message

MAX_HELD_CHARS: Final = 8 * 1024 * 1024
"""Kept for later in one connection, as much as a session may have unsent; then the session waits, and is too slow."""
UNANSWERED_CLOSE_S: Final = 1.0
"""How long a client may take to answer a fault's close frame before the connection is cut."""


class FaultySocket(DialectSocket):
    """One client and the faults it meets. With none, everything goes straight through."""

    def __init__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        line: FaultLine,
    ) -> None:
        super().__init__(scope, receive, send)
        self.line = line
        self._gate: GatedStream = scope["state"]["gate"]
        self._writing = trio.Lock()
        self._changed = trio.Event()
        self._drained = trio.Event()
        self._for_server = deque[str | bytes]()
        self._reading = trio.CancelScope()

    def use(self, faults: Sequence[Fault]) -> None:
        """Meet these faults from now on."""
        self.line.use(faults, trio.current_time())
        self._wake()

    async def accept(self) -> None:
        """Upgrade, unless a fault at the door has it otherwise.

        Raises:
            Disconnected: the client was not let in, or has left before.
        """
        upgrade = self.line.upgrade()
        wait_s = math.inf if isinstance(upgrade.answer, Silence) else upgrade.delay_s
        await self._knock()
        if wait_s:
            with trio.move_on_after(wait_s):
                await self._receive()  # who has not been let in can only leave
                raise Disconnected
        match upgrade.answer:
            case HttpRefusal(status, retry_after_s):
                headers = [] if retry_after_s is None else [(b"retry-after", str(retry_after_s).encode())]
                error = {"message": "The upgrade is refused by a fault.", "type": "invalid_request_error"}
                await self.refuse(status, msgspec.json.encode({"error": error}), headers)
                raise Disconnected
            case InBandRefusal(code, message, close):
                await super().accept()
                body = ErrorBody(type="invalid_request_error", code=code, message=message)
                await super().send(encode(ErrorEvent(event_id=f"{FAULT_EVENT_ID}door", error=body)))
                await super().close(close.code, close.reason)
                raise Disconnected
        await super().accept()

    async def receive(self) -> str | bytes:
        """The next message for the server.

        A fault chosen while nothing was at work says nothing to the server before the client does: to be interruptible
        costs 14 µs a message, which thousands a second need not pay.

        Raises:
            Disconnected: the client closed, or the line is gone.
        """
        while not self._for_server:
            if self.line.at_work:
                with trio.CancelScope() as self._reading:  # cancelled when a fault has something for the server
                    self._hear(await super().receive())
            else:
                self._hear(await super().receive())
        return self._for_server.popleft()

    async def send(self, content: str | bytes) -> None:
        """Say something to the client; waits while too much is kept for later."""
        if self.line.ended:
            return
        if isinstance(content, bytes) or not (self.line.at_work or self._writing.locked()):
            await super().send(content)
            return
        self.line.server_said(content, trio.current_time())
        self._wake()
        await self._flush()
        while self.line.held_chars > MAX_HELD_CHARS:
            await self._drained.wait()

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame, unless a fault has ended the connection; what is kept for later is lost."""
        async with self._writing:
            if not self.line.ended:
                self.line.end()
                await super().close(code, reason)

    async def abort(self) -> None:
        """Cut the connection at once; nothing waits for it any more."""
        self.line.end()
        self._tell_drained()
        await super().abort()

    async def pump(self) -> None:
        """Do what the clock brings about, until cancelled or the connection has ended."""
        while not self.line.ended:
            self._gate.set(hears=self.line.hears, speaks=self.line.speaks)
            with trio.move_on_at(self.line.next_due_s()):
                await self._changed.wait()
            self._changed = trio.Event()
            self.line.tick(trio.current_time())
            self._take_for_server()
            await self._flush()
        await trio.sleep(UNANSWERED_CLOSE_S)
        await self.abort()

    def _hear(self, message: str | bytes) -> None:
        if not self.line.at_work:
            self._for_server.append(message)
            return
        self.line.client_said(message, trio.current_time())
        self._wake()

    def _wake(self) -> None:
        """What the line has decided must be done now."""
        self._take_for_server()
        self._changed.set()

    def _take_for_server(self) -> None:
        self._for_server += self.line.take_for_server()
        if self._for_server:
            self._reading.cancel()

    async def _flush(self) -> None:
        async with self._writing:
            for frame in self.line.take_for_client(trio.current_time()):
                await self._perform(frame)
        self._tell_drained()

    async def _perform(self, frame: Frame) -> None:
        match frame:
            case Close(code, reason):
                await self._send_close(code, reason)  # the session is reading, and will hear the answer
            case Drop():
                await self.abort()
            case _:
                await super().send(frame)

    def _tell_drained(self) -> None:
        self._drained.set()
        self._drained = trio.Event()
