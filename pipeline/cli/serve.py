"""`talkwire serve`: the local Realtime server."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pipeline.cli import say
from pipeline.cli.options import Config, Json, Lifeline, Port, Set, announce, hold_lifeline, port_override, whole
from pipeline.edges.keys import CHAT, read_api_key
from pipeline.server.engines.loader import load_engines
from pipeline.vocabulary.configuration import load
from pipeline.vocabulary.errors import UsageError

if TYPE_CHECKING:
    from pipeline.server.faults.catalogue import Fault

TEXT_COLUMNS = 112

DialectName = Annotated[
    str | None,
    Parameter(name="--dialect", show_default=False, negative=(), help="openai, azure, beta or hf: whose server it is."),
]
FaultTexts = Annotated[
    tuple[str, ...],
    Parameter(
        name="--fault",
        show_default=False,
        negative=(),
        help="A fault every connection meets, for example 'late_deltas count=3'; may be repeated, they work in order.",
    ),
]
FaultFile = Annotated[
    Path | None,
    Parameter(name="--faults", show_default=False, negative=(), help="The same from a TOML file of [[fault]] tables."),
]
FaultSeed = Annotated[int, Parameter(name="--fault-seed", converter=whole, negative=(), help="Of the faults' dice.")]
ListFaults = Annotated[
    bool, Parameter(name="--list-faults", negative=(), show_default=False, help="Print all faults there are, and end.")
]


def serve(
    *,
    port: Port = None,
    config: Config = (),
    set_: Set = (),
    dialect: DialectName = None,
    fault: FaultTexts = (),
    faults: FaultFile = None,
    fault_seed: FaultSeed = 0,
    list_faults: ListFaults = False,
    json: Json = False,
    lifeline: Lifeline = None,
) -> int:
    """Run the local Realtime server: real recognition and a real voice, offline.

    With a key configured (OPENAI_API_KEY and its kin) only that key may mint client secrets, else anybody may. The key
    of the service that the brain "chat" asks is CHAT_API_KEY, or likewise a file or a systemd credential.

    Faults can also be changed while it runs, over /talkwire/faults and /talkwire/sessions on the same port.
    """
    if list_faults:
        say("\n".join(_catalogue_lines()))
        return 0
    if fault and faults:
        raise UsageError("give --fault or --faults, not both")
    hold_lifeline(lifeline)

    import trio

    from pipeline.cli.interruption import perform
    from pipeline.cli.logs import log_to_stderr
    from pipeline.realtime.dialects import DIALECTS
    from pipeline.server import app

    chosen = _chosen(fault, faults)
    overrides = [*set_, *port_override("server", port), *([f"server.dialect={dialect}"] if dialect else [])]
    settings = load(config, overrides).server
    engines = load_engines(settings, read_api_key(os.environ, CHAT))
    key = read_api_key(os.environ)
    log_to_stderr()
    shutdown = trio.Event()
    path = next(iter(DIALECTS[settings.dialect].routes))
    tell = partial(announce, f"ws://{settings.host}:{{port}}{path}", json=json)
    listening, ready = partial(tell, "listening"), partial(tell, "ready")
    serving = partial(app.serve, settings, engines, api_key=key, faults=chosen, fault_seed=fault_seed)
    return perform(partial(serving, listening=listening, ready=ready, shutdown=shutdown), stop=shutdown.set)


def _chosen(texts: tuple[str, ...], path: Path | None) -> tuple["Fault", ...]:
    from pipeline.server.faults.catalogue import parse_faults, read_faults

    return read_faults(path) if path else parse_faults(texts)


def _catalogue_lines() -> Iterator[str]:
    from pipeline.server.faults.catalogue import COMMON, catalogue

    yield f"Every fault also takes {', '.join(COMMON)}: when it strikes."
    for entry in catalogue():
        fields = " ".join(name if value is None else f"{name}={value}" for name, value in entry.fields.items())
        yield f"\n{entry.name} {fields}".rstrip()
        yield from wrap(entry.what, TEXT_COLUMNS, initial_indent="  ", subsequent_indent="  ")
        yield from wrap(f"Client: {entry.client}", TEXT_COLUMNS, initial_indent="  ", subsequent_indent="  ")
