"""`talkwire relay`: faults between a client and a server on this machine."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pipeline.cli import say
from pipeline.cli.options import Json, Lifeline, announce, hold_lifeline
from pipeline.vocabulary.errors import UsageError

if TYPE_CHECKING:
    from pipeline.proving.relay import Faults
    from pipeline.proving.script import Step

Listen = Annotated[
    int, Parameter(name="--listen", help="Listen on this port of 127.0.0.1; 0 takes a free one.", negative=())
]
UpstreamText = Annotated[
    str, Parameter(name="--upstream", help="PORT or HOST:PORT of the server, on this machine.", negative=())
]
Script = Annotated[
    Path | None,
    Parameter(name="--script", show_default=False, negative=(), help="TOML with [[step]] tables: at_s and toxics."),
]
Toxics = Annotated[
    tuple[str, ...],
    Parameter(
        name="--toxic",
        show_default=False,
        negative=(),
        help="A fault from the start, for example 'latency latency_ms=200 jitter_ms=50'; may be repeated.",
    ),
]
Seed = Annotated[int, Parameter(name="--seed", negative=(), help="Of the dice for jitter and slices.")]


def relay(
    *,
    listen: Listen,
    upstream: UpstreamText,
    script: Script = None,
    toxic: Toxics = (),
    seed: Seed = 0,
    json: Json = False,
    lifeline: Lifeline = None,
) -> int:
    """Relay TCP on this machine with faults: between your own client and server.

    Toxics: latency, down, bandwidth, slow_close, timeout, reset_peer, slicer, limit_data, reset_at, half_open, stall.
    All but down take direction=up (client to server), down or both. Fields: a wrong one is answered with all there are.
    """
    hold_lifeline(lifeline)
    if script and toxic:
        raise UsageError("give --script or --toxic, not both")
    if not 0 <= listen <= 65_535:
        raise UsageError("--listen wants a port from 0 to 65535")

    import msgspec

    from pipeline.cli.interruption import perform
    from pipeline.proving import relay as relaying
    from pipeline.proving.script import Step, parse_toxic, read_script

    steps = read_script(script) if script else [Step(toxics=tuple(map(parse_toxic, toxic)))]
    target = relaying.parse_upstream(upstream)
    first = steps[0].toxics if steps and not steps[0].at_s else ()  # at work before anybody can connect
    faults, statistics = relaying.Faults(first), relaying.Statistics()
    listening = partial(announce, f"{relaying.HOST}:{{port}}", "listening", json=json)
    serve = partial(relaying.serve, target, listen, faults, statistics, seed=seed)
    status = perform(partial(_perform, serve, steps, faults, listening, json=json))
    _tell("ended", msgspec.structs.asdict(statistics), json=json)
    return status


async def _perform(
    serve: Callable[..., Any],
    steps: Sequence["Step"],
    faults: "Faults",
    listening: Callable[[int], None],
    *,
    json: bool,
) -> None:
    """Relay until cancelled; the script's clock starts when the port is open."""
    import trio

    async with trio.open_nursery() as nursery:

        def begin(port: int) -> None:
            listening(port)
            nursery.start_soon(partial(_follow, steps, faults, json=json))

        await serve(listening=begin)


async def _follow(steps: Sequence["Step"], faults: "Faults", *, json: bool) -> None:
    import trio

    begin_s = trio.current_time()
    for step in steps:
        await trio.sleep_until(begin_s + step.at_s)
        faults.use(step.toxics)
        _tell("step", {"at_s": step.at_s, "toxics": step.toxics}, json=json)


def _tell(event: str, fields: dict[str, object], *, json: bool) -> None:
    import msgspec

    record = msgspec.json.encode({"event": event, **fields} if json else fields).decode()
    say(record if json else f"{event}: {record}")
