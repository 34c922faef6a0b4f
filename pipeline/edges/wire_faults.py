"""What failed look-ups, connections, certificates, HTTP statuses and close codes mean: each becomes one error of ours.

`shown` is the service in words for people. Nothing the peer wrote is repeated, but for a close reason that is a plain
code word: a peer could echo the secret it was shown.
"""

import errno
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Final

from pipeline.core.retry import parse_http_date, parse_retry_after
from pipeline.vocabulary.errors import (
    ConnectionLostError,
    CredentialExpiredError,
    ServiceBusyError,
    ServiceRefusedError,
    WireError,
)

_CODE_WORD: Final = re.compile(r"[a-z_.]{1,80}")
_UNREACHABLE: Final = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
_CERTIFICATES: Final = {  # X509_V_ERR_… of OpenSSL: (cause, what a person should think of)
    9: ("tls_not_yet_valid", "is not valid yet; is the clock of this machine right?"),
    10: ("tls_expired", "has expired; is the clock of this machine right?"),
    62: ("tls_hostname", "belongs to another host; does this network intercept connections?"),
    64: ("tls_hostname", "belongs to another address; does this network intercept connections?"),
}
_UNTRUSTED: Final = (
    "tls_untrusted",
    "is signed by nobody this machine trusts; does this network intercept connections?",
)


def network_error(shown: str, error: OSError | UnicodeError) -> ConnectionLostError:
    """Name look-up or TCP connection failed. Causes: dns, refused, unreachable, timeout, descriptors, network."""
    sources = list(_sources(error))
    numbers = {source.errno for source in sources if isinstance(source, OSError)}
    if any(isinstance(source, socket.gaierror | UnicodeError) for source in sources):
        cause, what = "dns", "has a host name nobody knows; check the name and the network"
    elif errno.ECONNREFUSED in numbers:
        cause, what = "refused", "refuses connections; is the service running?"
    elif numbers & _UNREACHABLE:
        cause, what = "unreachable", "cannot be reached; check the network"
    elif errno.ETIMEDOUT in numbers:
        cause, what = "timeout", "does not answer; check the network"
    elif numbers & {errno.EMFILE, errno.ENFILE}:
        cause, what = "descriptors", "cannot be reached: no file descriptor is left on this machine"
    else:
        cause, what = "network", "cannot be reached; check the network"
    return ConnectionLostError(f"{shown} {what}", cause=cause)


def tls_error(shown: str, error: BaseException) -> ConnectionLostError:
    """The TLS handshake failed. Causes: tls_untrusted, tls_hostname, tls_expired, tls_not_yet_valid, tls, reset."""
    for source in _sources(error):
        if isinstance(source, ssl.SSLCertVerificationError):
            cause, what = _CERTIFICATES.get(source.verify_code, _UNTRUSTED)
            return ConnectionLostError(f"{shown} shows a certificate that {what}", cause=cause)
        if isinstance(source, ConnectionError):
            return ConnectionLostError(f"{shown} cut the connection during the TLS handshake", cause="reset")
    return ConnectionLostError(f"{shown} failed the TLS handshake; does it speak TLS on this port?", cause="tls")


def status_error(shown: str, status: int, headers: Mapping[str, str], *, wall_s: float) -> WireError:
    """The handshake was answered with something else than 101; header names are lower case.

    `wall_s` is this machine's Unix time, for a Retry-After that is a date from a server that sends no Date.
    """
    said, cause = f"{shown} answered {status}", f"status_{status}"
    if status == 401:
        return CredentialExpiredError(f"{said}: it does not accept the client secret (any more)", cause=cause)
    if status == 429 or 500 <= status < 600:
        date_s = parse_http_date(headers.get("date"))
        pause_s = parse_retry_after(headers.get("retry-after"), wall_s if date_s is None else date_s)
        return ServiceBusyError(f"{said}: it is busy or broken; trying later", cause=cause, retry_after_s=pause_s)
    if 200 <= status < 400:
        hint = "this is no WebSocket; does this network want a login first?"
        return ConnectionLostError(f"{said}: {hint}", cause="captive_portal")
    if status in {407, 408, 425}:
        return ConnectionLostError(f"{said}: something on the way refuses; check the network", cause=cause)
    if 400 <= status < 500:
        hint = {403: "account, model or region is refused", 404: "nothing is there"}.get(
            status, "it refuses the request"
        )
        return ServiceRefusedError(f"{said}: {hint}; check service.url and conversation.model", cause=cause)
    return ConnectionLostError(f"{shown} does not answer in proper HTTP; check the address", cause="handshake")


def close_error(shown: str, code: int, reason: str | None) -> WireError:
    """The WebSocket was closed (RFC 6455 §7.4; 3000 and 4000 as the Realtime service uses them).

    By the peer, or by our side of the protocol for what the peer did (1002, 1007, 1009).
    """
    word = f" ({reason})" if reason and _CODE_WORD.fullmatch(reason) else ""
    said, cause = f"the connection to {shown} was closed with {code}{word}", f"close_{code}"
    if code == 3000:
        return CredentialExpiredError(f"{said}: it does not accept the client secret (any more)", cause=cause)
    if code == 4000:
        hint = "it refuses the session; check conversation.model"
        return ServiceRefusedError(f"{said}: {hint}", cause=cause)
    if code == 1013:
        return ServiceBusyError(f"{said}: it is overloaded; trying later", cause=cause)
    hints = {
        1002: ": the WebSocket protocol was broken",
        1007: ": text was not UTF-8",
        1009: ": a message was too large",
    }
    return ConnectionLostError(said + hints.get(code, ""), cause=cause)


def _sources(error: BaseException) -> Iterator[BaseException]:
    """What an exception came from, innermost first."""
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _sources(member)
    before = error.__cause__ or error.__context__
    if before is not None:
        yield from _sources(before)
    yield error
