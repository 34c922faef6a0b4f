"""The catalogue: every fault there is, how it is written, and what a client must make of it.

late_deltas count=3 turn=2                        on a command line
{"type": "late_deltas", "count": 3, "turn": 2}    over the control API
[[fault]]                                         in a file
type = "late_deltas"
count = 3
"""

import inspect
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import msgspec

from pipeline.server.faults import door, endings, refusals, replies, sound, turns, wire
from pipeline.server.faults.schema import Fault as FaultBase
from pipeline.vocabulary.configuration import printable, read
from pipeline.vocabulary.errors import ConfigurationError, Problem
from pipeline.vocabulary.records import convert_records, kinds_of, parse_record

MAX_FAULTS: Final = 64
"""At work at once; there are fewer kinds."""
MAX_OF_A_KIND: Final = 3
"""Likewise: each that repeats events doubles what those before it say."""

Fault = (
    door.RefuseUpgrade
    | door.SlowUpgrade
    | door.UnansweredUpgrade
    | door.AuthFailure
    | door.ModelFailure
    | door.ExpiredKey
    | door.NoSession
    | door.SlowSettings
    | door.WrongFormat
    | door.WrongExpiry
    | refusals.UpdateRefused
    | refusals.CommitRace
    | refusals.CancelRace
    | refusals.ActiveResponseRace
    | refusals.TruncateError
    | refusals.RestoreRefused
    | endings.SessionExpired
    | endings.CloseFault
    | endings.DropFault
    | endings.HalfOpen
    | endings.Deaf
    | replies.StalledResponse
    | replies.ResponseFailed
    | replies.ResponseIncomplete
    | replies.LateDeltas
    | replies.BrokenArguments
    | sound.Burst
    | sound.Underrun
    | sound.OddBytes
    | sound.EmptyDelta
    | sound.BadBase64
    | sound.BigFrame
    | turns.FlippedBargeIn
    | turns.FalseStart
    | turns.MissedSpeech
    | turns.LateTranscription
    | turns.SwappedTranscriptions
    | turns.FailedTranscription
    | turns.MissingTranscription
    | wire.DuplicateEvent
    | wire.UnknownEventFault
    | wire.ExtraFields
    | wire.MissingEvents
    | wire.BetaNames
    | wire.PartTypes
    | wire.MalformedJson
    | wire.BinaryFrame
)
"""Any fault; `type` tells which."""

KINDS: Final[dict[str, type[Fault]]] = kinds_of(get_args(Fault))
COMMON: Final = FaultBase.__struct_fields__
"""Fields that every fault has."""


class Entry(NamedTuple):
    """One fault as people read about it."""

    name: str
    fields: dict[str, object]
    """Its own fields and what they are unless given; None if they are not set."""
    what: str
    client: str
    """What a client must make of it."""


def parse_faults(texts: Sequence[str]) -> tuple[Fault, ...]:
    """Faults as on the command line.

    Raises:
        ConfigurationError: names the fault and the field.
    """
    return _bounded(tuple(map(parse_fault, texts)))


def parse_fault(text: str) -> Fault:
    """A fault as on the command line: `late_deltas count=3`.

    Raises:
        ConfigurationError: names the fault and the field.
    """
    return parse_record(text, KINDS, "fault")


def read_faults(path: Path) -> tuple[Fault, ...]:
    """The faults of a file: `[[fault]]` tables.

    Raises:
        ConfigurationError: lists every problem with the fault and the field it is in.
    """
    tree = read(path)
    if tree.keys() != {"fault"}:
        raise ConfigurationError([Problem("", f"{printable(path.name)} must hold [[fault]] tables and nothing else")])
    return convert_faults(tree["fault"])


def convert_faults(tree: object) -> tuple[Fault, ...]:
    """A list of tables as faults.

    Raises:
        ConfigurationError: lists every problem with the fault and the field it is in.
    """
    return _bounded(convert_records(tree, KINDS, "fault", at_most=MAX_FAULTS))


def catalogue() -> Iterator[Entry]:
    """Every fault, in the order of the union."""
    for name, kind in KINDS.items():
        what, _, client = inspect.cleandoc(kind.__doc__ or "").partition("\n\nClient: ")
        fields = {field.name: _default(field) for field in msgspec.structs.fields(kind) if field.name not in COMMON}
        yield Entry(name, fields, " ".join(what.split()), " ".join(client.split()))


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a list of faults, with the words of the catalogue as descriptions."""
    return msgspec.json.schema(tuple[Fault, ...])


def _bounded(faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """The same faults. Raises ConfigurationError if there are too many of a kind."""
    counts = Counter(str(fault.__struct_config__.tag) for fault in faults)
    problem = f"is given more than {MAX_OF_A_KIND} times"
    if problems := [Problem(name, problem) for name, count in counts.items() if count > MAX_OF_A_KIND]:
        raise ConfigurationError(problems)
    return faults


def _default(field: msgspec.structs.FieldInfo) -> object:
    return None if field.default is msgspec.NODEFAULT else field.default
