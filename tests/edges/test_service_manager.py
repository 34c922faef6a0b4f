import os
import socket
from pathlib import Path

import pytest

from pipeline.edges.service_manager import ServiceManager


@pytest.mark.parametrize("address", ["{folder}/notify", "@talkwire-test-manager-{pid}"])
def test_it_is_told_one_assignment_a_line(tmp_path: Path, address: str) -> None:
    address = address.format(folder=tmp_path, pid=os.getpid())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0"))
        ServiceManager({"NOTIFY_SOCKET": address}).tell("READY=1", "STATUS=gone:\nWATCHDOG=trigger")
        assert manager.recv(1000) == b"READY=1\nSTATUS=gone: WATCHDOG=trigger"


def test_a_manager_that_reads_nothing_or_is_away_holds_nobody_up(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    told = ServiceManager({"NOTIFY_SOCKET": address})
    told.tell("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        for _ in range(1000):
            told.tell("STATUS=listening")


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "@"}, {"NOTIFY_SOCKET": "vsock:2:9"}])
def test_without_a_socket_nobody_is_there(environ: dict[str, str]) -> None:
    manager = ServiceManager({**environ, "WATCHDOG_USEC": "1000000"})
    manager.tell("READY=1")
    assert (manager.is_there, manager.watchdog_s) == (False, None)


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),  # it watches another process
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_the_one_of_this_process(environ: dict[str, str], watchdog_s: float | None) -> None:
    assert ServiceManager({"NOTIFY_SOCKET": "/run/notify", **environ}).watchdog_s == watchdog_s
