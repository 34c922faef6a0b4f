"""Faults of a connection's beginning: what a client meets between the TCP handshake and the end of the HTTP upgrade.

They are toxics like any other, in the same catalogue and schema, but they choose among connections: one that begins
while such a toxic is in use may meet it, one that is open already does not. A connection meets one of them at most,
the first in the list that takes it, so `http_status times=2` before `no_answer times=1` is two refusals and a silence.
"""

from collections.abc import Iterator
from http import HTTPStatus
from random import Random
from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from pipeline.proving.toxics import Cut, Effect, Ending, Milliseconds, Parcel, ToxicBase, Way, paced

TLS_ALERT: Final = bytes.fromhex("15030300020246")
"""Fatal, protocol_version (RFC 8446, 6): how a TLS server answers bytes that are no TLS."""
ANOTHER_ACCEPT: Final = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The Sec-WebSocket-Accept that belongs to the key in RFC 6455, 1.3, which no client sends."""


class Handshake(ToxicBase, frozen=True, kw_only=True):
    """Which of the connections that reach this toxic meet it: each `every`-th, by chance, `times` times in all."""

    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    every: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    times: Annotated[int, Meta(ge=1, le=1_000_000)] | UnsetType = UNSET


class SlowHandshake(Handshake, frozen=True, kw_only=True, tag="slow_handshake"):
    """The server's first bytes come one by one, evenly over this long; a single one delays the whole answer."""

    delay_ms: Milliseconds
    first_bytes: Annotated[int, Meta(ge=1, le=1_024)] = 1

    def touches(self, way: Way) -> bool:
        """Only what the server says."""
        return way == "down"

    def effect(self, _dice: Random) -> Effect:
        """Counts the first bytes; what follows them cannot overtake."""
        left_bytes = self.first_bytes
        pace = paced(lambda: 1, lambda _: self.delay_ms / 1_000 / self.first_bytes, late=True)

        def trickle(parcel: Parcel) -> Iterator[Parcel]:
            nonlocal left_bytes
            first, rest = parcel.data[:left_bytes], parcel.data[left_bytes:]
            left_bytes -= len(first)
            if first:
                yield from pace(Parcel(parcel.at_s, first))
            if rest or parcel.ending:
                yield parcel._replace(data=rest)

        return trickle


class Impersonation(Handshake, frozen=True, kw_only=True):
    """The server is not reached: in its place somebody reads one request, gives `answer`, and has finished."""

    @property
    def answer(self) -> bytes:
        """What the client gets for its request."""
        return b""


class Refuse(Impersonation, frozen=True, kw_only=True, tag="refuse"):
    """The connection is accepted and reset at once, as by a proxy that has no server behind it."""

    @property
    def cut(self) -> Cut:
        """At once."""
        return Cut(0.0, Ending.RESET)


class NoAnswer(Impersonation, frozen=True, kw_only=True, tag="no_answer"):
    """The connection opens and nobody ever says a word; it ends when the client gives up."""

    def effect(self, _dice: Random) -> Effect:
        """The request is lost, so it is never answered."""
        return lambda parcel: iter([parcel] if parcel.ending else [])


class HangUp(Impersonation, frozen=True, kw_only=True, tag="hang_up"):
    """The request is read, and the connection finished without a word."""


class HttpStatus(Impersonation, frozen=True, kw_only=True, tag="http_status"):
    """The request is answered with this status, also a TLS client's: then as by a port that speaks plain HTTP only."""

    status: Annotated[int, Meta(ge=200, le=599)]
    retry_after_s: Annotated[int, Meta(ge=0, le=86_400)] | UnsetType = UNSET

    @property
    def answer(self) -> bytes:
        """A head and one line of text, as proxies give them."""
        known = self.status in HTTPStatus.__members__.values()
        reason = HTTPStatus(self.status).phrase if known else "Unknown"
        body = f"{self.status} {reason}\n".encode() if self.status not in {204, 304} else b""  # these have none
        head = [f"HTTP/1.1 {self.status} {reason}", "Content-Type: text/plain", f"Content-Length: {len(body)}"]
        if self.retry_after_s is not UNSET:
            head.append(f"Retry-After: {self.retry_after_s}")
        return _head(*head, "Connection: close") + body


class BadAnswer(Impersonation, frozen=True, kw_only=True, tag="bad_answer"):
    """The request is answered with something that is no proper upgrade.

    Garbage is no HTTP; wrong_accept upgrades with the Sec-WebSocket-Accept of another key; truncated_head ends in the
    middle of a header; tls_alert is what a port that speaks TLS only says to plain HTTP.
    """

    what: Literal["garbage", "wrong_accept", "truncated_head", "tls_alert"]

    @property
    def answer(self) -> bytes:
        """The bytes."""
        upgrade = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
        match self.what:
            case "garbage":
                return bytes(range(255, -1, -1))
            case "wrong_accept":
                return _head(*upgrade, f"Sec-WebSocket-Accept: {ANOTHER_ACCEPT}")
            case "truncated_head":
                return _head(*upgrade)[: -len("grade\r\n\r\n")]
            case "tls_alert":
                return TLS_ALERT


def _head(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()
