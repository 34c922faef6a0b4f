"""`talkwire tokens`: the token backend."""

import os
from functools import partial

from pipeline.cli.interruption import perform
from pipeline.cli.logs import log_to_stderr
from pipeline.cli.options import Config, Json, Lifeline, Port, Set, announce, hold_lifeline, port_override
from pipeline.edges.keys import read_api_key
from pipeline.tokens import app
from pipeline.vocabulary.configuration import load


def tokens(
    *, port: Port = None, config: Config = (), set_: Set = (), json: Json = False, lifeline: Lifeline = None
) -> int:
    """Run the token backend: it keeps the API key and hands out client secrets.

    The key comes from $CREDENTIALS_DIRECTORY/openai_api_key, the file OPENAI_API_KEY_FILE or OPENAI_API_KEY. Without
    one it mints only at a local server that asks for none.
    """
    hold_lifeline(lifeline)
    log_to_stderr()
    settings = load(config, [*set_, *port_override("tokens", port)]).tokens
    ready = partial(announce, f"http://{settings.host}:{{port}}/realtime/token", "ready", json=json)
    return perform(partial(app.serve, settings, key=read_api_key(os.environ), ready=ready))
