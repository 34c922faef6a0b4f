"""A fork server: a process that has imported what a child process needs, and forks one whenever it is asked to.

Four fifths of the time from the death of `audio` to its first sound were the interpreter's start and its imports. A
fork has both in some ms, and shares their memory. So the server makes nothing that a fork cannot share: no thread, no
event loop, no touch of the sound system, which would hang it.

`python -m pipeline.runtime.fork_server MODULE ... FD PPID` is the server, FD its line to the daemon (`forks`). Each
child is `main()` of the module with the arguments behind it, its end of the trunk and the pid of its parent, which is
the server. The kernel lets the server die with the daemon and the children with the server: none outlives a SIGKILL.
"""

import errno
import gc
import os
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from typing import Final

from pipeline.runtime.lifeline import hold_lifeline

FORK: Final = b"fork"
"""Asks for a child, and brings its end of the trunk; answered by its pid, with its pidfd, or by an errno below zero.
The only other question is the pid of a child that has ended: its exit code. Then there is no such process any more."""
WORD_BYTES: Final = 16
"""No question and no answer is longer."""


def main() -> int:
    """Serve until the daemon lets go; in a child, be the child."""
    module_name, *arguments, line_fd, parent = sys.argv[1:]
    hold_lifeline(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's business, for the children, too
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's would start a thread, which no fork takes along
    gc.disable()  # while there is nothing but imports it finds nothing, and takes a tenth of their time
    module = import_module(module_name)
    gc.freeze()  # a collection in a child would otherwise write to every page that it shares with us
    server = os.getpid()
    with socket.socket(fileno=int(line_fd)) as line:
        trunk_fd = _serve(line)
    if trunk_fd is None:
        return 0
    gc.enable()
    sys.argv[1:] = [*arguments, str(trunk_fd), str(server)]
    return int(module.main())


def _serve(line: socket.socket) -> int | None:
    """Fork and reap as asked; None when the daemon has let go, and in each child its end of the trunk."""
    while True:
        ask, fds, _, _ = socket.recv_fds(line, WORD_BYTES, 1)
        if ask == FORK:
            try:
                pid = os.fork()
            except OSError as error:  # no process or memory left: it is not for us to despair of that
                line.send(b"%d" % -(error.errno or errno.EAGAIN))
            else:
                if pid == 0:
                    os.setpgid(0, 0)
                    return fds[0]
                _hand_over(line, pid)
            os.close(fds[0])
        elif ask:
            _, status = os.waitpid(int(ask), 0)
            line.send(b"%d" % os.waitstatus_to_exitcode(status))
        else:
            return None


def _hand_over(line: socket.socket, pid: int) -> None:
    """Tell the daemon of a child. It stays where it is until the daemon asks for its end, so its pid means no other."""
    with suppress(PermissionError):  # it has done so, and executed another program since
        os.setpgid(pid, pid)  # here too: nobody is to hear of a pid that is no group yet
    pidfd = os.pidfd_open(pid)
    socket.send_fds(line, [b"%d" % pid], [pidfd])
    os.close(pidfd)


if __name__ == "__main__":
    sys.exit(main())
