"""The control API, asked by httpx: in memory, and over a real socket where it listens."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import Any

import httpx
import msgspec
import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from pipeline.proving.api import api, serve
from pipeline.proving.catalogue import Toxic
from pipeline.proving.connection import Connection
from pipeline.proving.handshakes import HttpStatus
from pipeline.proving.relay import HOST, Relay, Upstream
from pipeline.proving.script import MAX_TOXICS, Step
from pipeline.proving.toxics import Ending, HalfOpen, Latency, Stall
from pipeline.vocabulary.errors import AlreadyRunningError
from pipeline.vocabulary.signals import Secret

KEY = Secret("relay-key")
BEARER = {"Authorization": f"Bearer {KEY.value}"}
SOON_S = 5.0
LATENCY = {"type": "latency", "direction": "both", "latency_ms": 20.0, "jitter_ms": 0.0}


def relay(*toxics: Toxic) -> Relay:
    return Relay(Upstream(HOST, 9), toxics)


def steering(made: Relay, authorization: str = BEARER["Authorization"]) -> httpx.AsyncClient:
    headers = {b"Authorization": authorization.encode("latin-1")}
    return httpx.AsyncClient(transport=httpx.ASGITransport(api(made, KEY)), base_url="http://relay", headers=headers)


async def test_toxics_are_replaced_added_and_taken_away_while_it_runs() -> None:
    made = relay(Stall())
    async with steering(made) as client:
        assert (await client.get("/toxics")).json() == {"toxics": [{"type": "stall", "direction": "both"}]}
        replaced = await client.put("/toxics", json={"toxics": [{"type": "latency", "latency_ms": 20}]})
        assert (replaced.status_code, replaced.json()) == (200, {"toxics": [LATENCY]})
        assert list(made.faults.toxics) == [Latency(latency_ms=20)]
        added = await client.post("/toxics", json={"type": "http_status", "status": 503, "times": 2})
        assert added.json()["toxics"][1]["times"] == 2
        assert list(made.faults.toxics) == [Latency(latency_ms=20), HttpStatus(status=503, times=2)]
        assert (await client.delete("/toxics/latency")).json() == {"toxics": added.json()["toxics"][1:]}
        assert list(made.faults.toxics) == [HttpStatus(status=503, times=2)]
        assert (await client.delete("/toxics")).json() == {"toxics": []}
        assert list(made.faults.toxics) == []


async def test_what_it_answers_is_what_scripts_and_it_take() -> None:
    made = relay(Latency(latency_ms=20), HalfOpen(direction="up"), HttpStatus(status=429, retry_after_s=3))
    async with steering(made) as client:
        answered = (await client.get("/toxics")).json()
        assert msgspec.convert(answered, Step).toxics == made.faults.toxics
        assert (await client.put("/toxics", json=answered)).json() == answered


@pytest.mark.parametrize(
    ("method", "body", "problems"),
    [
        ("PUT", b"{", [("", "the body is not JSON")]),
        ("PUT", b"[" * 60_000, [("", "the body is not JSON")]),
        ("PUT", b"[]", [("", 'the body must be {"toxics": [...]} and nothing else')]),
        ("PUT", b'{"toxics": [], "at_s": 1}', [("", 'the body must be {"toxics": [...]} and nothing else')]),
        ("PUT", b'{"toxics": 1}', [("toxics", "must be a list of at most 16 tables")]),
        (
            "PUT",
            b'{"toxics": [{"type": "latncy"}, {"type": "stall"}, {"type": "http_status", "status": 99}, 7]}',
            [
                ("toxic 1, type", "is not a toxic; did you mean latency?"),
                ("toxic 3, http_status, status", "expected int >= 200"),
                ("toxic 4, type", None),
            ],
        ),
        ("POST", b'{"type": "latency"}', [("toxic 1, latency, latency_ms", "is missing")]),
        ("POST", b'{"type": "refuse", "times": 0}', [("toxic 1, refuse, times", "expected int >= 1")]),
        ("POST", b'{"type": "refuse", "every": 0}', [("toxic 1, refuse, every", "expected int >= 1")]),
        (
            "POST",
            b'{"type": "refuse", "probability": 1.5}',
            [("toxic 1, refuse, probability", "expected float <= 1.0")],
        ),
    ],
)
async def test_what_is_wrong_is_listed_and_changes_nothing(
    method: str, body: bytes, problems: Sequence[tuple[str, str | None]]
) -> None:
    made = relay(Stall())
    async with steering(made) as client:
        answer = await client.request(method, "/toxics", content=body)
    assert answer.status_code == 400
    listed = answer.json()["problems"]
    assert [problem["field"] for problem in listed] == [field for field, _ in problems]
    for problem, (_, message) in zip(listed, problems, strict=True):
        assert message in {None, problem["message"]}
    assert list(made.faults.toxics) == [Stall()]


async def test_no_more_toxics_than_a_step_may_hold() -> None:
    made = relay(*[Latency(latency_ms=1)] * (MAX_TOXICS - 1))
    async with steering(made) as client:
        answers = [await client.post("/toxics", json={"type": "stall"}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 400]
        assert answers[1].json() == {"problems": [{"field": "toxics", "message": "there are 16 in use already"}]}


async def test_a_giant_body_is_refused() -> None:
    async with steering(relay()) as client:
        assert (await client.put("/toxics", content=b" " * 100_000)).status_code == 413


@pytest.mark.parametrize(
    "authorization", ["", "Bearer ", "Bearer relay-ke", f"Basic {KEY.value}", KEY.value, "Bearer schlüssel"]
)
@pytest.mark.parametrize(("method", "path"), [("DELETE", "/toxics"), ("GET", "/connections"), ("GET", "/statistics")])
async def test_without_the_key_nothing_is_done_or_told(authorization: str, method: str, path: str) -> None:
    made = relay(Stall())
    async with steering(made, authorization) as client:
        answer = await client.request(method, path)
    assert answer.status_code == 401
    assert answer.json() == {"problems": [{"field": "", "message": "give the key of this relay as a bearer token"}]}
    assert list(made.faults.toxics) == [Stall()]


async def test_what_is_not_there_is_said() -> None:
    async with steering(relay(Stall())) as client:
        for path, field in (("/toxics/latency", "type"), ("/connections/1", "id")):
            answer = await client.delete(path)
            assert (answer.status_code, answer.json()["problems"][0]["field"]) == (404, field)
        assert (await client.get("/nothing")).status_code == 404


@asynccontextmanager
async def carried(made: Relay, number: int) -> AsyncIterator[tuple[Any, Any, list[Ending]]]:
    """A connection in memory that is open in this relay: its client, its server, and how it ended."""
    client, near = memory_stream_pair()
    far, server = memory_stream_pair()
    connection = Connection(near, far, made.faults, made.statistics, seed="1")
    ended: list[Ending] = []

    async def carry() -> None:
        ended.append(await connection.carry())

    made.connections[number] = connection
    async with trio.open_nursery() as nursery:
        nursery.start_soon(carry)
        await wait_all_tasks_blocked()
        yield client, server, ended
        nursery.cancel_scope.cancel()


async def test_open_connections_are_listed_and_one_is_cut(autojump_clock: object) -> None:
    made = relay(Latency(latency_ms=20), HttpStatus(status=503))
    async with carried(made, 3) as (client, server, ended), carried(made, 4) as (_, _, other), steering(made) as steer:
        for data in (b"12", b"345"):
            await client.send_all(data)
            await server.send_all(data + data)
            await trio.sleep(0.5)
        await trio.sleep(0.5)
        first, second = (await steer.get("/connections")).json()["connections"]
        assert first == {"id": 3, "age_s": 1.5, "up_bytes": 5, "down_bytes": 10, "toxics": [LATENCY]}
        assert (second["id"], second["up_bytes"]) == (4, 0)
        sums = (await steer.get("/statistics")).json()
        assert (sums["up_bytes"], sums["down_bytes"]) == (5, 10)
        assert (await steer.delete("/connections/3")).status_code == 200
        await wait_all_tasks_blocked()
        assert (ended, other) == ([Ending.RESET], [])


async def test_it_listens_on_loopback_and_a_taken_port_is_said() -> None:
    made = relay(Stall())
    ports: list[int] = []
    with trio.fail_after(SOON_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(serve, made, 0, KEY, listening=ports.append))
            while not ports:  # noqa: ASYNC110 - a callback, not an event, says so
                await trio.sleep(0.001)
            async with httpx.AsyncClient(headers=BEARER, verify=SSLContext(PROTOCOL_TLS_CLIENT)) as client:
                assert (await client.delete(f"http://127.0.0.1:{ports[0]}/toxics")).json() == {"toxics": []}
            with pytest.raises(AlreadyRunningError, match=f"port {ports[0]} on 127.0.0.1 .* --api PORT"):
                await serve(made, ports[0], KEY, listening=ports.append)
            nursery.cancel_scope.cancel()
    assert list(made.faults.toxics) == []
