"""How many sessions one core holds: a server without models on one core, its clients on another.

Idle sessions only keep their connection. Streaming ones talk in real time with frames of 20 ms, ask a question every few
seconds and hear a hummed answer of some seconds to its end. In both crowds one more client pings: how late its pong comes
is how late the server's event loop is for everybody. The crowds grow until that is too late.
"""

import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

import msgspec
import numpy as np
import trio

from bench.caller import Caller, appends, calling
from bench.processes import kept_bytecode
from bench.report import BenchError, Report, Row, row
from bench.server import SYNTHETIC, Server, serving, two_cores
from bench.talker import Notes, Question, crowd
from pipeline.dsp.pcm16 import to_pcm
from pipeline.vocabulary.frames import RATE_HZ

IDLE: Final = (1_000, 2_000, 4_000)
STREAMING: Final = (30, 60, 90, 120, 150, 180)
HOLD_S: Final = 15.0
"""s for which each crowd is watched."""
STAGGER_S: Final = 4.0
"""s in which the streaming ones come."""
ARRIVALS: Final = 50
"""Connections that are opened at once."""
PING_PAUSE_S: Final = 0.020
TOO_LATE_MS: Final = 100.0
"""A loop whose p99 is later than this holds no more sessions."""
SPEECH_S: Final = 1.5
_MAX_SESSIONS: Final = "10000"


class Held(msgspec.Struct, frozen=True):
    """A crowd that was watched.

    Attributes:
        size: how many sessions.
        late_ms: from each ping to its pong.
        cpu: of the server, share of its core.
        session_kb: its memory beyond that of a server without sessions, per session.
        answers: how many were heard.
        unanswered: questions without an answer.
        clients_late_ms: how late the clients sent.
    """

    size: int
    late_ms: list[float]
    cpu: float
    session_kb: float
    answers: int = 0
    unanswered: int = 0
    clients_late_ms: list[float] = []


def measure(
    runs: int, *, idle: Sequence[int] = IDLE, streaming: Sequence[int] = STREAMING, hold_s: float = HOLD_S
) -> Report:
    """Let crowds of growing size come; `runs` does not matter here, for each crowd is a run of thousands of pings.

    Raises:
        BenchError: there is only one core, or a session was refused.
    """
    del runs
    server_core, client_core = two_cores()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {client_core})
    try:
        with kept_bytecode() as environment:
            alone = trio.run(_idle, 0, hold_s, server_core, environment)
            idlers = _until_too_late(_idle, idle, hold_s, server_core, environment)
            streamers = _until_too_late(_stream, streaming, hold_s, server_core, environment)
    finally:
        os.sched_setaffinity(0, allowed)
    return Report(
        part="server_sessions",
        title="one core, engines without models: how late the event loop is",
        rows=list(_rows(alone, idlers, streamers)),
        counts=_counts(idlers, streamers),
    )
