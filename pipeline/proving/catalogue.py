"""Every fault there is for a line, as one type: it is the schema of scripts, of the command line and of the API."""

from pipeline.proving.handshakes import BadAnswer, HangUp, HttpStatus, NoAnswer, Refuse, SlowHandshake
from pipeline.proving.toxics import (
    Bandwidth,
    Down,
    HalfOpen,
    Latency,
    LimitData,
    ResetAt,
    ResetPeer,
    Slicer,
    SlowClose,
    Stall,
    Timeout,
)

Toxic = (
    Latency
    | Down
    | Bandwidth
    | SlowClose
    | Timeout
    | ResetPeer
    | Slicer
    | LimitData
    | ResetAt
    | HalfOpen
    | Stall
    | Refuse
    | NoAnswer
    | HangUp
    | SlowHandshake
    | HttpStatus
    | BadAnswer
)
"""Any toxic; `type` tells which."""
