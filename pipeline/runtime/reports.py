"""What a child process and its parent tell each other beside values: one record per packet."""

import msgspec

from pipeline.runtime.ports import LinkStatistics
from pipeline.runtime.supervisor import ActorState, Incident
from pipeline.vocabulary.errors import Fault


class Begin(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Parent → child, the first packet of a trunk: what the child is to do, in the words of whoever builds it."""

    plan: bytes


class Ready(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Child → parent: the actors run."""


class Beat(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Child → parent, four times a second: it lives, and this is how its links and actors stand.

    `idle_s` is how long its actors have not got on with work that never pauses (`Progress`).
    """

    links: list[LinkStatistics]
    actors: list[ActorState]
    idle_s: float


class Happened(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Child → parent: something befell one of its actors."""

    incident: Incident


class Ended(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Child → parent, the last packet: the child ends, and no new one can help."""

    fault: Fault


Report = Ready | Beat | Happened | Ended
