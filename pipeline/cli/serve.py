"""`talkwire serve`: the local Realtime server."""

import os
from functools import partial

import trio

from pipeline.cli.interruption import perform
from pipeline.cli.logs import log_to_stderr
from pipeline.cli.options import Config, Json, Lifeline, Port, Set, announce, hold_lifeline, port_override
from pipeline.edges.keys import read_api_key
from pipeline.server import app
from pipeline.server.engines.loader import load as load_engines
from pipeline.vocabulary.configuration import load


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
    shutdown = trio.Event()
    ready = partial(announce, f"ws://{settings.host}:{{port}}{app.REALTIME_PATH}", json=json)
    engines = partial(load_engines, settings)
    work = partial(app.serve, settings, engines, api_key=key, ready=ready, shutdown=shutdown)
    return perform(work, stop=shutdown.set)
