import json
import logging
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import pytest
import structlog
import trio

from pipeline.tokens.app import serve
from pipeline.vocabulary.errors import AlreadyRunningError, ConfigurationError
from pipeline.vocabulary.settings import TokensSettings
from pipeline.vocabulary.signals import Secret

KEY = "sk-canary-3d07"
SECRET = "ek_canary-88be"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # httpx would read all certificate authorities for each client
Play = Callable[[trio.abc.Stream], Awaitable[None]]


class Provider:
    """A scripted mint on loopback: one answer, then the connection closes."""

    def __init__(self) -> None:
        self.answer: bytes | Play = b""
        self.requests: list[bytes] = []

    async def handle(self, stream: trio.abc.Stream) -> None:
        request = b""
        while b"\r\n\r\n" not in request or not request.endswith(b"}"):
            piece = await stream.receive_some()
            if not piece:
                return
            request += piece
        self.requests.append(request)
        if callable(self.answer):
            await self.answer(stream)
        else:
            try:
                await stream.send_all(self.answer)
            except trio.BrokenResourceError:  # the backend had heard enough
                return


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def good() -> bytes:
    expires_at = int(datetime.now(UTC).timestamp()) + 600
    return http("200 OK", json.dumps({"value": SECRET, "expires_at": expires_at, "session": {"id": "s"}}).encode())


def tokens_settings(**changes: Any) -> TokensSettings:
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 0,
        "provider_url": "http://127.0.0.1:1/v1/realtime/client_secrets",
        "secret_ttl_s": 600,
        "deadline_s": 5.0,
        "mints_per_minute": 60,
    }
    return TokensSettings(**(values | changes))


@pytest.fixture
async def provider(nursery: trio.Nursery) -> tuple[Provider, str]:
    provider = Provider()
    (listener,) = await nursery.start(partial(trio.serve_tcp, provider.handle, 0, host="127.0.0.1"))
    return provider, f"http://127.0.0.1:{listener.socket.getsockname()[1]}/v1/realtime/client_secrets"


async def start(nursery: trio.Nursery, settings: TokensSettings, key: str | None = KEY) -> str:
    """Start a backend; returns its address."""
    listening: trio.MemorySendChannel[int]
    listening, ports = trio.open_memory_channel[int](1)
    nursery.start_soon(partial(serve, settings, key=Secret(key) if key else None, ready=listening.send_nowait))
    with trio.fail_after(5):
        return f"http://127.0.0.1:{await ports.receive()}"


@pytest.fixture
async def device() -> AsyncGenerator[httpx.AsyncClient, None]:
    async with httpx.AsyncClient(headers={"X-Device-Id": "kiosk-7"}, trust_env=False, verify=NO_TLS) as client:
        yield client


async def test_a_secret_is_minted_with_the_key_and_handed_out_without_it(
    nursery: trio.Nursery, provider: tuple[Provider, str], device: httpx.AsyncClient
) -> None:
    mint, url = provider
    mint.answer = good()
    base = await start(nursery, tokens_settings(provider_url=url))
    answer = await device.get(f"{base}/realtime/token")
    assert answer.status_code == 200
    assert answer.json()["clientSecret"] == SECRET
    assert answer.json().keys() == {"clientSecret", "expiresAt"}
    assert isinstance(answer.json()["expiresAt"], int)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "application/json"
    assert "Date" in answer.headers
    head, _, body = mint.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/realtime/client_secrets HTTP/1.1\r\n")
    assert f"Authorization: Bearer {KEY}".encode() in head
    assert json.loads(body) == {"expires_after": {"anchor": "created_at", "seconds": 600}}
    assert KEY not in answer.text + str(answer.headers)


async def test_the_local_server_is_asked_without_a_key(
    nursery: trio.Nursery, provider: tuple[Provider, str], device: httpx.AsyncClient
) -> None:
    mint, url = provider
    mint.answer = good()
    base = await start(nursery, tokens_settings(provider_url=url), key=None)
    assert (await device.get(f"{base}/realtime/token")).status_code == 200
    assert b"Authorization: Bearer local\r\n" in mint.requests[0]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (http("401 Unauthorized", f'{{"error": "{KEY} {SECRET} is wrong"}}'.encode()), 502),
        (http("429 Too Many Requests", b"", "Retry-After: 7"), 503),
        (http("200 OK", b"<html>"), 502),
        (http("200 OK", b'{"value": "ek_canary-88be", "expires_at": 1}'), 502),
        (http("200 OK", b" " * 200_000), 502),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 2_000_000, 502),
        (http("302 Found", b"", "Location: http://127.0.0.1:1/"), 502),
        (b"", 502),
        (b"220 mail.example\r\n", 502),
    ],
)
async def test_a_provider_that_fails_is_told_in_our_words(
    nursery: trio.Nursery,
    provider: tuple[Provider, str],
    device: httpx.AsyncClient,
    answer: bytes,
    status: int,
) -> None:
    mint, url = provider
    mint.answer = answer
    base = await start(nursery, tokens_settings(provider_url=url))
    told = await device.get(f"{base}/realtime/token")
    assert told.status_code == status
    assert told.headers.get("Retry-After") == ("7" if status == 503 else None)
    assert told.headers["Cache-Control"] == "no-store"
    assert KEY not in told.text
    assert SECRET not in told.text
    assert (await device.get(f"{base}/health")).json() == {"status": "ok"}


async def test_a_provider_that_hangs_or_is_away(
    nursery: trio.Nursery, provider: tuple[Provider, str], device: httpx.AsyncClient
) -> None:
    async def hang(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    mint, url = provider
    mint.answer = hang
    hanging = await start(nursery, tokens_settings(provider_url=url, deadline_s=0.05))
    assert (await device.get(f"{hanging}/realtime/token")).status_code == 504
    away = await start(nursery, tokens_settings())
    told = await device.get(f"{away}/realtime/token")
    assert (told.status_code, told.json()["detail"]) == (502, "the provider cannot be reached; try again later")


async def test_a_device_that_asks_too_often_waits(
    nursery: trio.Nursery, provider: tuple[Provider, str], device: httpx.AsyncClient
) -> None:
    mint, url = provider
    mint.answer = good()
    base = await start(nursery, tokens_settings(provider_url=url, mints_per_minute=2))
    answers = [await device.get(f"{base}/realtime/token") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert 1 <= int(answers[1].headers["Retry-After"]) <= 30
    assert len(mint.requests) == 1
    other = await device.get(f"{base}/realtime/token", headers={"X-Device-Id": "another"})
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/realtime/token", {}, 405),
        ("DELETE", "/realtime/token", {}, 405),
        ("GET", "/", {}, 404),
        ("GET", "/realtime/tokens", {}, 404),
        ("GET", "//realtime/token", {}, 404),
        ("GET", "/realtime%2Ftoken", {}, 404),
        ("GET", "/realtime/%74oken", {}, 404),
        ("GET", "/x/../realtime/token/../../etc/passwd", {}, 404),
        ("GET", "/realtime/token", {"X-Device-Id": ""}, 400),
        ("GET", "/realtime/token", {"X-Device-Id": "k" * 65}, 400),
        ("GET", "/realtime/token", {"X-Device-Id": "two words"}, 400),
        ("GET", "/realtime/token", {"X-Device-Id": "../etc"}, 400),
        ("GET", "/realtime/token", {"X-Device-Id": "kiösk".encode("latin-1")}, 400),
        ("GET", "/schema", {}, 404),
    ],
)
async def test_a_bad_request_never_reaches_the_provider(
    nursery: trio.Nursery, provider: tuple[Provider, str], method: str, path: str, headers: dict[str, Any], status: int
) -> None:
    mint, url = provider
    base = await start(nursery, tokens_settings(provider_url=url))
    async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as anybody:
        answer = await anybody.request(method, base + path, headers={"X-Device-Id": "kiosk"} | headers)
        assert answer.status_code == status
        assert answer.json()["detail"]
        assert (await anybody.get(f"{base}/realtime/token")).status_code == 400
    assert not mint.requests


async def raw(base: str, request: bytes) -> bytes:
    """What the backend answers to bytes that no HTTP client would send."""
    stream = await trio.open_tcp_stream("127.0.0.1", int(base.rpartition(":")[2]))
    answer = b""
    with trio.fail_after(5):
        async with stream:
            try:
                await stream.send_all(request)
                async for piece in stream:
                    answer += piece
            except trio.BrokenResourceError:
                pass
    return answer


@pytest.mark.parametrize(
    "request_head",
    [
        b"garbage\r\n\r\n",
        b"GET /realtime/token HTTP/1.1\r\nHost: x\r\nX-Device-Id: " + b"k" * 70_000 + b"\r\n\r\n",
        b"GET /realtime/token HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"GET /realtime/token HTTP/1.1\r\nHost: x\r\nX Device: 1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
async def test_broken_http_is_refused_and_the_backend_lives(
    nursery: trio.Nursery, provider: tuple[Provider, str], device: httpx.AsyncClient, request_head: bytes
) -> None:
    mint, url = provider
    base = await start(nursery, tokens_settings(provider_url=url))
    assert not (await raw(base, request_head)).startswith(b"HTTP/1.1 200")
    assert not mint.requests
    assert (await device.get(f"{base}/health")).status_code == 200


async def test_a_taken_port_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AlreadyRunningError, match=rf"port {port} is taken.*--port") as caught:
            await serve(tokens_settings(port=port), key=None, ready=lambda _: None)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": "0.0.0.0"}, r"^tokens\.host: .*cannot prove who they are"),  # noqa: S104  the point
        ({"host": "192.0.2.7"}, r"^tokens\.host: "),
        ({"provider_url": "https://api.example/v1"}, r"^tokens\.provider_url: .*OPENAI_API_KEY_FILE"),
        ({"provider_url": "https://xn--.example/"}, r"^tokens\.provider_url: "),
    ],
)
async def test_settings_that_cannot_be_served(changes: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        await serve(tokens_settings(**changes), key=None, ready=lambda _: None)


@pytest.mark.parametrize("busy", [False, True])
async def test_cancelling_ends_it_at_once_and_frees_the_port(provider: tuple[Provider, str], busy: bool) -> None:  # noqa: FBT001  parametrized
    asked = trio.Event()

    async def hang(stream: trio.abc.Stream) -> None:
        asked.set()
        await stream.receive_some()

    async def ask(base: str) -> None:
        await raw(base, b"GET /realtime/token HTTP/1.1\r\nHost: x\r\nX-Device-Id: kiosk\r\n\r\n")

    mint, url = provider
    mint.answer = hang
    async with trio.open_nursery() as outside:
        with trio.fail_after(2):
            async with trio.open_nursery() as inside:
                base = await start(inside, tokens_settings(provider_url=url))
                if busy:
                    outside.start_soon(ask, base)
                    await asked.wait()
                inside.cancel_scope.cancel()
    with socket.create_server(("127.0.0.1", int(base.rpartition(":")[2]))):
        pass


async def test_no_secret_reaches_the_logs(
    nursery: trio.Nursery,
    provider: tuple[Provider, str],
    device: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    mint, url = provider
    with structlog.testing.capture_logs() as lines:
        base = await start(nursery, tokens_settings(provider_url=url))
        for answer in (good(), http("401 Unauthorized", KEY.encode()), b""):
            mint.answer = answer
            await device.get(f"{base}/realtime/token")
    assert [line["status"] for line in lines if line["event"] == "token"] == [200, 502, 502]
    whole = caplog.text + repr(lines)
    assert KEY not in whole
    assert SECRET not in whole
