"""`talkwire run` beside a server that is killed and comes back."""

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.vocabulary.configuration import shipped

Start = Callable[..., Any]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.engines
def test_a_server_that_is_killed_and_comes_back_is_spoken_to_again(talkwire: Start) -> None:
    port = free_port()
    server = talkwire("serve", f"--port={port}", "--json")
    server.until("ready")
    mint = f"--set=tokens.provider_url=http://127.0.0.1:{port}/v1/realtime/client_secrets"
    backend = talkwire("tokens", "--port=0", "--json", mint)
    backend_port = json.loads(backend.until("ready"))["port"]
    endpoint = talkwire(
        "run", "--json", "--set=audio.output=none:",
        f"--set=audio.input=synthetic:{shipped('questions') / 'hello.wav'}",
        f"--set=service.url=ws://127.0.0.1:{port}/v1/realtime",
        f"--set=token.url=http://127.0.0.1:{backend_port}/realtime/token",
    )  # fmt: skip
    endpoint.until('"state":"speaking"')
    server.kill()
    endpoint.until('"state":"reconnecting"')
    talkwire("serve", f"--port={port}", "--json").until("ready")
    endpoint.until('"state":"user_speaking"')  # on a new line; whether it listens or still speaks first is timing
    endpoint.until('"event":"timeline"')
    endpoint.process.terminate()
    status, out, err = endpoint.end()
    assert (status, err) == (0, "")
    finished = json.loads(out.splitlines()[-1])
    assert finished["event"] == "finished"
    frames = finished["frames"]
    assert frames.pop("captured") == sum(frames.values())
