"""`talkwire serve`: the local Realtime server."""

import os
from functools import partial

from pipeline.cli.options import Config, Json, Lifeline, Port, Set, announce, hold_lifeline, port_override
from pipeline.edges.keys import CHAT, read_api_key
from pipeline.server.engines.loader import load_engines
from pipeline.vocabulary.configuration import load


def serve(
    *, port: Port = None, config: Config = (), set_: Set = (), json: Json = False, lifeline: Lifeline = None
) -> int:
    """Run the local Realtime server: real recognition and a real voice, offline.

    With a key configured (OPENAI_API_KEY and its kin) only that key may mint client secrets, else anybody may. The key
    of the service that the brain "chat" asks is CHAT_API_KEY, or likewise a file or a systemd credential.
    """
    hold_lifeline(lifeline)

    import trio

    from pipeline.cli.interruption import perform
    from pipeline.cli.logs import log_to_stderr
    from pipeline.server import app

    settings = load(config, [*set_, *port_override("server", port)]).server
    engines = load_engines(settings, read_api_key(os.environ, CHAT))
    key = read_api_key(os.environ)
    log_to_stderr()
    shutdown = trio.Event()
    tell = partial(announce, f"ws://{settings.host}:{{port}}{app.REALTIME_PATH}", json=json)
    listening, ready = partial(tell, "listening"), partial(tell, "ready")
    work = partial(app.serve, settings, engines, api_key=key, listening=listening, ready=ready, shutdown=shutdown)
    return perform(work, stop=shutdown.set)
