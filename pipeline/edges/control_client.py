"""The other end of the control socket: how a command of this program speaks with the daemon."""

import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import trio

from pipeline.edges.control_socket import NAME, peer_uid
from pipeline.vocabulary import control as ctl
from pipeline.vocabulary.configuration import printable
from pipeline.vocabulary.errors import NoDaemonError, ProtocolError

ANSWER_S: Final = 2.0
"""An answer comes at once, and four snapshots in this time to who watches."""

_READ_BYTES: Final = 16_384
_MESSAGES: Final[msgspec.json.Decoder[ctl.Message]] = msgspec.json.Decoder(ctl.Message)


@asynccontextmanager
async def open_control_line(directory: Path) -> AsyncGenerator["ControlLine", None]:
    """Speak with the daemon whose runtime directory this is.

    Raises:
        NoDaemonError: none answers there.
    """
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        try:
            with trio.fail_after(ANSWER_S):
                await line.connect(str(directory / NAME))
        except (OSError, trio.TooSlowError) as error:
            raise _nobody(directory, error) from error
        if os.geteuid() != 0 and peer_uid(line) not in {0, os.geteuid()}:
            raise NoDaemonError(f"what answers in {printable(str(directory))} belongs to another user")
        yield ControlLine(line)


class ControlLine:
    """One conversation with the daemon."""

    def __init__(self, line: trio.socket.SocketType) -> None:
        self._line = line
        self._heard = bytearray()

    async def ask(self, ask: ctl.Ask) -> None:
        """Say one line. Raises NoDaemonError: nobody takes it.

        To who has been sent away, the reason was said before this: `hear` has it.
        """
        rest = msgspec.json.encode(ask) + b"\n"
        with trio.move_on_after(ANSWER_S) as patience, suppress(OSError):
            while rest:
                rest = rest[await self._line.send(rest) :]
        if patience.cancelled_caught:
            raise _late()

    async def hear(self) -> ctl.Message:
        """The next message.

        Raises:
            NoDaemonError: none comes in time, or ever.
            ProtocolError: what comes is none.
        """
        while (end := self._heard.find(b"\n")) < 0:
            if len(self._heard) > ctl.MAX_LINE_BYTES:
                raise ProtocolError("the daemon says more than fits into a line")
            self._heard += await self._receive()
        line = bytes(self._heard[:end])
        del self._heard[: end + 1]
        try:
            message = _MESSAGES.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProtocolError("the daemon says what this version does not understand") from error
        if isinstance(message, ctl.RefusedNotice):
            raise NoDaemonError(f"the daemon refuses: {message.message}")
        return message

    async def _receive(self) -> bytes:
        chunk = b""
        with trio.move_on_after(ANSWER_S) as patience:
            with suppress(OSError):  # reset: it was killed
                chunk = await self._line.recv(_READ_BYTES)
        if patience.cancelled_caught:
            raise _late()
        if not chunk:
            raise NoDaemonError("the daemon has ended")
        return chunk


def _late() -> NoDaemonError:
    return NoDaemonError(f"the daemon does not answer within {ANSWER_S:.0f} s")


def _nobody(directory: Path, error: Exception) -> NoDaemonError:
    where = printable(str(directory))
    if isinstance(error, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
        return NoDaemonError(f"no daemon runs in {where}; start one with: talkwire run")
    reason = (isinstance(error, OSError) and error.strerror) or "it does not answer"
    return NoDaemonError(f"the daemon in {where} cannot be reached: {reason}")
