"""`talkwire relay`: faults between a client and a server on this machine."""

import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pipeline.cli import say
from pipeline.cli.options import Json, Lifeline, announce, hold_lifeline, whole
from pipeline.vocabulary.errors import UsageError

if TYPE_CHECKING:
    from pipeline.proving.faults import Faults
    from pipeline.proving.relay import Relay
    from pipeline.proving.script import Step

Listen = Annotated[
    int,
    Parameter(
        name="--listen", converter=whole, help="Listen on this port of 127.0.0.1; 0 takes a free one.", negative=()
    ),
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
Seed = Annotated[
    int, Parameter(name="--seed", converter=whole, negative=(), help="Of the dice for jitter, slices and chance.")
]


ApiPort = Annotated[
    int | None,
    Parameter(
        name="--api",
        converter=whole,
        show_default=False,
        negative=(),
        help="Let an HTTP API on this port of 127.0.0.1 steer it; 0 takes a free one.",
    ),
]
ApiKeyFile = Annotated[
    Path | None,
    Parameter(
        name="--api-key-file",
        show_default=False,
        negative=(),
        help="The API's bearer token; else TALKWIRE_RELAY_API_KEY or its _FILE; else a new one is printed.",
    ),
]


def relay(
    *,
    listen: Listen,
    upstream: UpstreamText,
    script: Script = None,
    toxic: Toxics = (),
    seed: Seed = 0,
    api: ApiPort = None,
    api_key_file: ApiKeyFile = None,
    json: Json = False,
    lifeline: Lifeline = None,
) -> int:
    """Relay TCP on this machine with faults: between your own client and server.

    Toxics: latency, down, bandwidth, slow_close, timeout, reset_peer, slicer,
    limit_data, reset_at, half_open, stall. All but down take direction=up (client
    to server), down or both. A wrong field is answered with all there are.

    Toxics of a connection's beginning: refuse, no_answer, hang_up, slow_handshake,
    http_status, bad_answer. They take every=N, probability=P and times=N:
    'http_status status=503 times=2' refuses twice and then lets through.
    """
    hold_lifeline(lifeline)
    if script and toxic:
        raise UsageError("give --script or --toxic, not both")
    if api_key_file and api is None:
        raise UsageError("--api-key-file wants --api")
    for option, port in (("--listen", listen), ("--api", api or 0)):
        if not 0 <= port <= 65_535:
            raise UsageError(f"{option} wants a port from 0 to 65535")

    import msgspec

    from pipeline.cli.interruption import perform
    from pipeline.proving.relay import Relay, parse_upstream
    from pipeline.proving.script import Step, parse_toxic, read_script

    steps = read_script(script) if script else [Step(toxics=tuple(map(parse_toxic, toxic)))]
    first = steps[0].toxics if steps and not steps[0].at_s else ()  # at work before anybody can connect
    made = Relay(parse_upstream(upstream), first, seed=seed)
    steer = None if api is None else _steering(made, api, api_key_file, json=json)
    status = perform(partial(_perform, made, listen, steps, steer, json=json))
    _tell("ended", msgspec.structs.asdict(made.statistics), json=json)
    return status


def _steering(relay: "Relay", port: int, key_file: Path | None, *, json: bool) -> Callable[[], Awaitable[None]]:
    """What serves the API; says where it listens, and the key if nobody gave one."""
    from pipeline.edges.keys import RELAY, key_from_file, read_api_key
    from pipeline.proving import api
    from pipeline.proving.relay import HOST
    from pipeline.vocabulary.signals import Secret

    given = key_from_file(key_file, "--api-key-file") if key_file else read_api_key(os.environ, RELAY)
    key = given or Secret(secrets.token_urlsafe(24))
    shown = {} if given else {"key": key.value}

    def listening(port: int) -> None:
        _tell("api", {"url": f"http://{HOST}:{port}", **shown}, json=json)

    return partial(api.serve, relay, port, key, listening=listening)


async def _perform(
    relay: "Relay",
    port: int,
    steps: Sequence["Step"],
    steer: Callable[[], Awaitable[None]] | None,
    *,
    json: bool,
) -> None:
    """Relay until cancelled; the script's clock starts when the port is open."""
    import trio

    from pipeline.proving.relay import HOST

    async with trio.open_nursery() as nursery:

        def begin(port: int) -> None:
            announce(f"{HOST}:{{port}}", "listening", port, json=json)
            nursery.start_soon(partial(_follow, steps, relay.faults, json=json))
            if steer:
                nursery.start_soon(steer)
            if not json and sys.stdout is not None and sys.stdout.isatty():
                from pipeline.cli.relay_screen import show
                from pipeline.cli.screen import PipedConsole

                nursery.start_soon(show, relay, PipedConsole())

        await relay.serve(port, listening=begin)


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
