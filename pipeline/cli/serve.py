"""`talkwire serve`: the local Realtime server."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

from pipeline.cli.options import Config, Json, Lifeline, Port, Set, announce, hold_lifeline, port_override
from pipeline.edges.keys import read_api_key
from pipeline.server.engines.interfaces import Engines
from pipeline.server.engines.loader import load as load_engines
from pipeline.vocabulary.configuration import load


def serve(
    *, port: Port = None, config: Config = (), set_: Set = (), json: Json = False, lifeline: Lifeline = None
) -> int:
    """Run the local Realtime server: real recognition and a real voice, offline.

    With a key configured (OPENAI_API_KEY and its kin) only that key may mint client secrets, else anybody may.
    """
    hold_lifeline(lifeline)
    settings = load(config, [*set_, *port_override("server", port)]).server
    key = read_api_key(os.environ)
    with ThreadPoolExecutor(1) as pool:
        engines = pool.submit(load_engines, settings)

        # Only now, while the engines load: the HTTP libraries, which take as long.
        import trio

        from pipeline.cli.interruption import perform
        from pipeline.cli.logs import log_to_stderr
        from pipeline.server import app

        log_to_stderr()
        shutdown = trio.Event()
        tell = partial(announce, f"ws://{settings.host}:{{port}}{app.REALTIME_PATH}", json=json)

        async def work() -> None:
            async with trio.open_nursery() as nursery:

                def listening(port: int) -> None:
                    nursery.start_soon(_tell_progress, tell, engines, port)

                await app.serve(settings, engines.result, api_key=key, ready=listening, shutdown=shutdown)
                nursery.cancel_scope.cancel()

        return perform(work, stop=shutdown.set)


async def _tell_progress(tell: Callable[[str, int], None], engines: Future[Engines], port: int) -> None:
    """Say when the server listens (sessions can be opened) and when it is ready (they are heard)."""
    import trio

    tell("listening", port)
    await trio.to_thread.run_sync(wait, [engines], abandon_on_cancel=True)
    if engines.exception() is None:
        tell("ready", port)
