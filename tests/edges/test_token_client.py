import itertools
import json
import logging
import socket
import ssl
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
import trustme
from trio.testing import MockClock

from pipeline.edges.interfaces import Minted, TokenSource
from pipeline.edges.token_client import TokenClient
from pipeline.vocabulary.errors import (
    ConfigurationError,
    ConnectionLostError,
    CredentialRefusedError,
    ProtocolError,
    ServiceBusyError,
    WireError,
)
from pipeline.vocabulary.settings import TokenSettings
from pipeline.vocabulary.signals import Secret

KEY = "sk-canary-9b21"
SECRET = "ek_canary-04de"
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
DATE_S = 784_111_777
GOOD = json.dumps({"clientSecret": SECRET, "expiresAt": DATE_S + 600}).encode()

Play = Callable[[trio.abc.Stream], Awaitable[None]]


class Peer:
    """A scripted HTTP server on loopback: one answer to every connection."""

    def __init__(self, answer: bytes | Play, whole: Callable[[bytes], bool]) -> None:
        self._answer = answer
        self._whole = whole
        self.port = 0
        self.requests: list[bytes] = []

    async def handle(self, stream: trio.abc.Stream) -> None:
        request = b""
        while not self._whole(request):
            request += await stream.receive_some()
        self.requests.append(request)
        if callable(self._answer):
            await self._answer(stream)
        else:
            await stream.send_all(self._answer)


def whole_request(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    _, _, length = head.lower().partition(b"content-length: ")
    return bool(end) and len(body) >= int(length.split(b"\r\n")[0] or 0)


@pytest.fixture
def start(nursery: trio.Nursery) -> Callable[..., Awaitable[Peer]]:
    async def start_peer(answer: bytes | Play, whole: Callable[[bytes], bool] = whole_request) -> Peer:
        peer = Peer(answer, whole)
        (listener,) = await nursery.start(partial(trio.serve_tcp, peer.handle, 0, host="127.0.0.1"))
        peer.port = listener.socket.getsockname()[1]
        return peer

    return start_peer


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Date: {DATE}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def client(port: int = 1, *, scheme: str = "http", host: str = "127.0.0.1", source: str = "backend") -> TokenClient:
    settings = TokenSettings(
        source="provider" if source == "provider" else "backend",
        url=f"{scheme}://{host}:{port}/realtime/token",
        device_id="kiosk-7",
        deadline_s=5.0,
    )
    return TokenClient(settings, model="gpt-realtime", key=Secret(KEY))


async def refused(peer: Peer, **words: str) -> WireError:
    """The error of a mint; one line that names the setting and holds no secret, whatever the peer said."""
    with pytest.raises(WireError) as caught:
        await client(peer.port, **words).mint()
    assert caught.value.message.startswith(f"token.url ({words.get('scheme', 'http')}://127.0.0.1:{peer.port}/realtime")
    assert "\n" not in caught.value.message
    whole = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(caught.value.fault())
    assert KEY not in whole
    assert SECRET not in whole
    return caught.value


async def test_a_backend_is_asked_by_device_and_its_own_clock_counts(start: Callable[..., Awaitable[Peer]]) -> None:
    peer = await start(http("200 OK", GOOD, "Content-Type: application/json"))
    source: TokenSource = client(peer.port)
    assert await source.mint() == Minted(Secret(SECRET), 600)
    assert await source.mint() == Minted(Secret(SECRET), 600)
    assert len(peer.requests) == 2
    assert peer.requests[0].startswith(b"GET /realtime/token HTTP/1.1\r\n")
    assert b"\r\nX-Device-Id: kiosk-7\r\n" in peer.requests[0]
    assert b"\r\nAccept-Encoding: identity\r\n" in peer.requests[0]
    assert KEY.encode() not in peer.requests[0]


async def test_a_provider_is_asked_with_the_key_for_the_model(start: Callable[..., Awaitable[Peer]]) -> None:
    peer = await start(http("200 OK", json.dumps({"value": SECRET, "expires_at": DATE_S + 60}).encode()))
    assert await client(peer.port, source="provider").mint() == Minted(Secret(SECRET), 60)
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /realtime/token HTTP/1.1\r\n")
    assert f"\r\nAuthorization: Bearer {KEY}\r\n".encode() in head + b"\r\n"
    assert json.loads(body) == {"session": {"type": "realtime", "model": "gpt-realtime"}}


@pytest.mark.parametrize(
    ("answer", "kind", "cause", "words"),
    [
        (http("200 OK", b"<html>Log in</html>"), ProtocolError, "body", "login"),
        (http("200 OK"), ProtocolError, "body", "not JSON"),
        (http("200 OK", GOOD[:-5]), ProtocolError, "body", "not JSON"),
        (http("200 OK", b'{"clientSecret": "x", "expiresAt": "1"}'), ProtocolError, "body", "expiresAt"),
        (http("200 OK", b'{"clientSecret": "x", "expiresAt": NaN}'), ProtocolError, "body", "not JSON"),
        (http("200 OK", b'{"clientSecret": "x", "expiresAt": 784111777}'), ProtocolError, "expiry", "has passed"),
        (http("200 OK", b'{"clientSecret": "x", "expiresAt": 253402300799}'), ProtocolError, "expiry", "a day away"),
        (http("200 OK", b'{"clientSecret": "a\\r\\nb", "expiresAt": 1}'), ProtocolError, "secret", "no header may"),
        (
            http("200 OK", b'{"clientSecret": "%b", "expiresAt": 1}' % (b"k" * 5_000)),
            ProtocolError,
            "secret",
            "too long",
        ),
        (http("200 OK", GOOD + b" " * 65_536), ProtocolError, "body", "more than 64 KiB"),
        (http("200 OK", GOOD, "Content-Encoding: gzip"), ProtocolError, "encoding", "compressed"),
        (http("204 No Content"), ProtocolError, "status_204", "not a client secret"),
        (http("302 Found", b"", "Location: http://127.0.0.1:1/"), ProtocolError, "status_302", "not followed"),
        (http("400 Bad Request", SECRET.encode()), ProtocolError, "status_400", "check the address"),
        (http("401 Unauthorized", SECRET.encode()), CredentialRefusedError, "status_401", "check token.device_id"),
        (
            http("502 Bad Gateway", b"", "X-Refusal: provider-key"),
            CredentialRefusedError,
            "provider_key",
            "its owner must check it",
        ),
        (http("403 Forbidden"), CredentialRefusedError, "status_403", "refuses this machine"),
        (http("404 Not Found"), ProtocolError, "status_404", "check the path"),
        (http("429 Too Many Requests"), ServiceBusyError, "status_429", "trying later"),
        (http("500 Internal Server Error"), ServiceBusyError, "status_500", "trying later"),
        (http("503 Service Unavailable"), ServiceBusyError, "status_503", "trying later"),
        (b"", ConnectionLostError, "http", "broke off"),
        (http("200 OK", GOOD)[:-5], ConnectionLostError, "http", "broke off"),
        (b"220 mail.example ESMTP\r\n", ConnectionLostError, "http", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, ConnectionLostError, "http", "does not speak HTTP"),
    ],
)
async def test_every_bad_answer_has_its_error(
    start: Callable[..., Awaitable[Peer]], answer: bytes, kind: type[WireError], cause: str, words: str
) -> None:
    error = await refused(await start(answer))
    assert type(error) is kind
    assert error.cause == cause
    assert words in error.message


async def test_a_refused_key_is_called_by_its_name(start: Callable[..., Awaitable[Peer]]) -> None:
    error = await refused(await start(http("401 Unauthorized", KEY.encode())), source="provider")
    assert "check the API key" in error.message


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [("7", 7), ("Sun, 06 Nov 1994 08:50:07 GMT", 30), ("999999", 3_600), ("soon", None), ("-1", None)],
)
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_retry_after_is_handed_on(
    start: Callable[..., Awaitable[Peer]], status: str, header: str, pause_s: float | None
) -> None:
    error = await refused(await start(http(status, b"", f"Retry-After: {header}")))
    assert isinstance(error, ServiceBusyError)
    assert error.retry_after_s == pause_s


async def test_an_endless_body_is_cut_off_after_64_kib(start: Callable[..., Awaitable[Peer]]) -> None:
    sent = 0

    async def endless(stream: trio.abc.Stream) -> None:
        nonlocal sent
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            for _ in itertools.count():
                await stream.send_all(b" " * 65_536)
                sent += 65_536
        except trio.BrokenResourceError:
            return

    error = await refused(await start(endless))
    assert error.cause == "body"
    assert sent < 64 * 1024 * 1024  # what the kernel's buffers took; it never ends by itself


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
async def test_the_deadline_covers_the_whole_call(
    start: Callable[..., Awaitable[Peer]],
    autojump_clock: MockClock,
    greeting: bytes,
) -> None:
    async def hang(stream: trio.abc.Stream) -> None:
        await stream.send_all(greeting)
        await trio.sleep_forever()

    peer = await start(hang)
    began_s = trio.current_time()
    error = await refused(peer)
    assert isinstance(error, ConnectionLostError)
    assert error.cause == "timeout"
    assert "within 5 s" in error.message
    assert trio.current_time() - began_s == pytest.approx(5)


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refuses, and nobody else can take the port meanwhile
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(ConnectionLostError, match="refuses connections") as caught:
                await client(taken.getsockname()[1], host=host).mint()
            assert caught.value.cause == "refused"


async def test_the_peer_resets(start: Callable[..., Awaitable[Peer]]) -> None:
    async def reset(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SocketStream)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    error = await refused(await start(reset))
    assert (type(error), error.cause) == (ConnectionLostError, "reset")


class NoNames(trio.abc.HostnameResolver):
    """A machine whose name server knows nothing."""

    async def getaddrinfo(self, *_: object) -> list[object]:  # type: ignore[override]  # knows no address to give
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_: object) -> tuple[str, str]:
        raise AssertionError("nobody asks for names of addresses")


@pytest.mark.parametrize("host", ["tokens.example", "a" * 70])
async def test_a_name_nobody_knows(host: str) -> None:
    trio.socket.set_custom_hostname_resolver(NoNames())
    with pytest.raises(ConnectionLostError, match="nobody knows") as caught:
        await client(443, scheme="https", host=host).mint()
    assert caught.value.cause == "dns"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def tls_peer(authority: trustme.CA, nursery: trio.Nursery) -> Peer:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    peer = Peer(http("200 OK", GOOD), whole_request)

    async def handle(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await peer.handle(stream)
        except trio.BrokenResourceError:
            return

    serve = partial(trio.serve_ssl_over_tcp, handle, 0, context, host="127.0.0.1", https_compatible=True)
    (listener,) = await nursery.start(serve)
    peer.port = listener.transport_listener.socket.getsockname()[1]
    return peer


async def test_a_certificate_that_is_not_trusted(tls_peer: Peer) -> None:
    error = await refused(tls_peer, scheme="https")
    assert (type(error), error.cause) == (ConnectionLostError, "tls_untrusted")
    assert "nobody this machine trusts" in error.message
    assert not tls_peer.requests


async def test_a_certificate_of_a_trusted_authority(
    tls_peer: Peer, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    with authority.cert_pem.tempfile() as path:
        monkeypatch.setenv("SSL_CERT_FILE", path)
        source = client(tls_peer.port, scheme="https", source="provider")
    assert (await source.mint()).secret == Secret(SECRET)


async def test_tls_to_a_server_that_speaks_none(start: Callable[..., Awaitable[Peer]]) -> None:
    peer = await start(http("400 Bad Request"), whole=bool)  # the first bytes of a TLS greeting are request enough
    error = await refused(peer, scheme="https")
    assert (type(error), error.cause) == (ConnectionLostError, "tls")


async def test_no_secret_reaches_the_logs(
    start: Callable[..., Awaitable[Peer]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    peer = await start(http("200 OK", GOOD))
    minted = await client(peer.port, source="provider").mint()
    assert caplog.records
    assert SECRET not in caplog.text + repr(minted)
    assert KEY not in caplog.text


async def test_cancelling_a_mint_leaves_nothing_open(start: Callable[..., Awaitable[Peer]]) -> None:
    gone = trio.Event()
    asked = trio.Event()

    async def watch(stream: trio.abc.Stream) -> None:
        asked.set()
        assert await stream.receive_some() == b""
        gone.set()

    peer = await start(watch)
    async with trio.open_nursery() as minting:
        minting.start_soon(client(peer.port).mint)
        await asked.wait()
        minting.cancel_scope.cancel()
    with trio.fail_after(2):
        await gone.wait()


@pytest.mark.parametrize("device", ["", "two words", "a\r\nb", "é", "k" * 65])
def test_a_device_id_that_is_no_header(device: str) -> None:
    settings = TokenSettings(source="backend", url="https://tokens.example/", device_id=device, deadline_s=1.0)
    with pytest.raises(ConfigurationError, match=r"^token\.device_id: "):
        TokenClient(settings, model="m", key=None)


def test_a_distant_provider_without_a_key() -> None:
    settings = TokenSettings(source="provider", url="https://api.example/", device_id="kiosk", deadline_s=1.0)
    with pytest.raises(ConfigurationError, match=r"^token\.url: .*OPENAI_API_KEY"):
        TokenClient(settings, model="m", key=None)


def test_a_host_that_is_no_name() -> None:
    with pytest.raises(ConfigurationError, match=r"^token\.url: "):
        client(443, scheme="https", host="xn--.example")


def test_plain_http_to_another_machine_is_a_defect_of_the_configuration() -> None:
    with pytest.raises(AssertionError, match="plain http"):
        client(80, host="tokens.example")


def test_the_daemon_does_not_load_what_only_a_command_line_needs() -> None:
    program = "import pipeline.app, sys; print(*({'click', 'pygments', 'rich'} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == ""
