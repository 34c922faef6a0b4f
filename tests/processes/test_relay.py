"""`talkwire relay` as people use it: between `talkwire serve` and a client that shares no code with either."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from time import monotonic
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

Start = Callable[..., Any]

KEY = "sk-of-the-test-server"
SOON_S = 20.0
LATE_S = 0.15  # each way
QUIET_S = 0.5


@pytest.fixture
def line(talkwire: Start) -> Iterator[tuple[int, httpx.Client, Any]]:
    """A server, a relay before it (its port, a client of its API), and the relay's process."""
    server = talkwire("serve", "--port=0", "--json", environ={"OPENAI_API_KEY": KEY})
    upstream = json.loads(server.until("listening"))["port"]
    relay = talkwire("relay", "--listen=0", f"--upstream={upstream}", "--api=0", "--json")
    port = json.loads(relay.until("listening"))["port"]
    said = json.loads(relay.until('"event":"api"'))
    headers = {"Authorization": f"Bearer {said['key']}"}
    with httpx.Client(base_url=said["url"], headers=headers, verify=SSLContext(PROTOCOL_TLS_CLIENT)) as api:
        yield port, api, relay


@contextmanager
def session(port: int) -> Iterator[ClientConnection]:
    url, headers = f"ws://127.0.0.1:{port}/v1/realtime?model=any", {"Authorization": f"Bearer {KEY}"}
    with connect(url, additional_headers=headers, proxy=None, ping_interval=None, close_timeout=1) as client:
        assert json.loads(client.recv(SOON_S))["type"] == "session.created"
        yield client


def round_trip_s(client: ClientConnection) -> float:
    begin_s = monotonic()
    assert client.ping().wait(SOON_S)
    return monotonic() - begin_s


@pytest.mark.engines
def test_a_client_behind_the_relay_meets_latency_silence_and_refusals_as_they_are_steered(
    line: tuple[int, httpx.Client, Any],
) -> None:
    port, api, relay = line
    with session(port) as client:
        assert api.put("/toxics", json={"toxics": [{"type": "latency", "latency_ms": LATE_S * 1_000}]}).is_success
        assert round_trip_s(client) >= 2 * LATE_S
        (shown,) = api.get("/connections").json()["connections"]
        assert shown["down_bytes"] > shown["up_bytes"] > 0
        assert [toxic["type"] for toxic in shown["toxics"]] == ["latency"]

        assert api.put("/toxics", json={"toxics": [{"type": "half_open"}]}).is_success
        assert not client.ping().wait(QUIET_S)
        with pytest.raises(TimeoutError):
            client.recv(0)  # the connection is open all the same
        assert api.delete("/toxics").json() == {"toxics": []}
        with pytest.raises(ConnectionClosedError):
            client.recv(SOON_S)

    assert api.post("/toxics", json={"type": "http_status", "status": 503, "retry_after_s": 1, "times": 2}).is_success
    for _ in range(2):
        with pytest.raises(InvalidStatus) as refused, session(port):
            pass
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"] == "1"
    with session(port) as client:
        assert round_trip_s(client) < 2 * LATE_S
        (shown,) = api.get("/connections").json()["connections"]
        assert (shown["id"], shown["toxics"]) == (4, [])
        assert api.delete("/connections/4").is_success
        with pytest.raises(ConnectionClosedError):
            client.recv(SOON_S)

    relay.process.terminate()
    status, out, err = relay.end()
    assert (status, err) == (0, "")
    ended = json.loads(out.splitlines()[-1])
    assert (ended["connections"], ended["handshake_faults"], ended["reset"], ended["open"]) == (4, 2, 2, 0)
