"""The daemon's end of a fork server: children forked, and let go when they have ended."""

import errno
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final, NamedTuple

import trio

from pipeline.runtime.fork_server import FORK, WORD_BYTES
from pipeline.vocabulary.errors import TalkwireError

REAP_S: Final = 0.5
"""For an answer that needs nothing but a look at a process that has ended."""


class ForkServerError(TalkwireError):
    """A fork server that ends before it has forked; never leaves the runtime."""


class Forked(NamedTuple):
    """A child of the server. Its pid is its own until it is reaped; the pidfd is to be closed."""

    pid: int
    pidfd: int


class ForkServer:
    """The daemon's end: starts a server when there is none, and asks it, one question at a time.

    Args:
        command: of the server, without the two arguments that are added here.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    async def fork(self, trunk: socket.socket) -> Forked:
        """A new child with this end of a trunk, which stays open here. A new server takes its time to import.

        Cancelled: to be closed, for an answer may still come.

        Raises:
            OSError: there are no descriptors, processes or memory left for it.
            ForkServerError: the server ends before it can fork.
        """
        for _ in range(2):  # the server of before may have died, and only this shows it
            line = self._line or self._start()
            try:
                socket.send_fds(line, [FORK], [trunk.fileno()])
                await trio.lowlevel.wait_readable(line)
                answer, pidfds, _, _ = socket.recv_fds(line, WORD_BYTES, 1)
            except ConnectionError:
                answer, pidfds = b"", []
            pid = int(answer or 0)
            if pid < 0:
                raise OSError(-pid, os.strerror(-pid))
            if pidfds:
                return Forked(pid, pidfds[0])
            self.close()
            if pid:  # and the kernel had no room for its pidfd in our table
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        raise ForkServerError("the fork server ended before it could fork")

    async def reap(self, pid: int) -> int:
        """Let a child that has ended go; its exit code, negative for a signal.

        Who has no server any more had its children killed with it.
        """
        try:
            if self._line is not None:
                self._line.send(b"%d" % pid)
                with trio.move_on_after(REAP_S):
                    await trio.lowlevel.wait_readable(self._line)
                    return int(self._line.recv(WORD_BYTES))
        except (OSError, ValueError):  # it is gone
            pass
        self.close()  # or hangs: an answer that comes late would be taken for another one's
        return -signal.SIGKILL

    def close(self) -> None:
        """End the server, and with it the children it still has. By force: it has nothing to put in order."""
        if self._process is not None and self._line is not None:
            self._line.close()
            self._process.kill()
            self._process.wait()
        self._process = self._line = None

    def _start(self) -> socket.socket:
        """Raises OSError, and then nothing is left of it."""
        with ExitStack() as undo:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(ours.close)
            with theirs:
                # Our own program, no shell; blocking for some ms, for trio would start it in a thread that does not
                # stay, and whose end would count as our death for PR_SET_PDEATHSIG.
                self._process = subprocess.Popen(  # noqa: S603
                    [*self._command, str(theirs.fileno()), str(os.getpid())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    process_group=0,
                )
            undo.pop_all()
        self._line = ours
        return ours
