import os
import sys

import pytest
import structlog

from pipeline.cli.logs import log_to_stderr
from pipeline.core.flood import LINES_PER_S


def test_row_61_one_event_fills_no_log(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 5.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    log_to_stderr()
    log = structlog.get_logger()
    for _ in range(100):
        log.warning("session_failed", cause="reset")
    log.info("session_opened")
    now_s = 6.5
    log.warning("session_failed", cause="reset")
    lines = capfd.readouterr().err.splitlines()
    assert sum("event=session_failed" in line for line in lines) == LINES_PER_S + 1
    assert "event=session_opened" in lines[LINES_PER_S]
    assert lines[-1].endswith("cause=reset omitted=80")


def test_row_57_a_full_disk_harms_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with os.fdopen(os.open("/dev/full", os.O_WRONLY), "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        log_to_stderr()
        structlog.get_logger().warning("session_failed")
