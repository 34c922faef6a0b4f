"""`talkwire serve`: the local Realtime server."""

import os
import sys
from functools import partial

import trio

from pipeline.cli.interruption import perform
from pipeline.cli.logs import log_to_stderr
from pipeline.cli.options import Config, Json, Lifeline, Port, Set, announce, hold_lifeline, port_override
from pipeline.edges.keys import read_api_key
from pipeline.server import app
from pipeline.server.engines.loader import load as load_engines
from pipeline.vocabulary.configuration import load
from pipeline.vocabulary.settings import ServerSettings
from pipeline.vocabulary.signals import Secret


def serve(
    *, port: Port = None, config: Config = (), set_: Set = (), json: Json = False, lifeline: Lifeline = None
) -> int:
    """Run the local Realtime server: real recognition and a real voice, offline.

    With a key configured (OPENAI_API_KEY and its kin) only that key may mint client secrets, else anybody may.
    """
    hold_lifeline(lifeline)
    log_to_stderr()
    settings = load(config, [*set_, *port_override("server", port)]).server
    key = read_api_key(os.environ)
    if key is None:
        print("talkwire: no key is configured: any bearer may mint client secrets here", file=sys.stderr)  # noqa: T201
    return perform(partial(_serve, settings, key, json=json))


async def _serve(settings: ServerSettings, key: Secret | None, *, json: bool) -> None:
    engines = await trio.to_thread.run_sync(load_engines, settings, abandon_on_cancel=True)
    ready = partial(announce, f"ws://{settings.host}:{{port}}/v1/realtime", json=json)
    await app.serve(settings, engines, api_key=key, ready=ready)
