"""The brain that asks any OpenAI-compatible `/chat/completions` service.

Whatever goes wrong there, the visitor is told: `server.chat_fallback` is spoken instead of the answer, or behind the
part of it that came; the reason goes to the log. Only a function call that breaks off is a failure of the response, for
half a call must not be run.
"""

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from functools import partial
from typing import Final

import httpx
import structlog
import trio

from pipeline.realtime.client_secrets import is_private, public_url
from pipeline.server.engines.chat_wire import AnswerReader, request_body
from pipeline.server.engines.interfaces import Ask, Brain, Piece, Setup, Words
from pipeline.vocabulary.errors import (
    ConfigurationError,
    ConnectionLostError,
    CredentialRefusedError,
    Problem,
    ProtocolError,
    ServiceBusyError,
    ServiceRefusedError,
    WireError,
)
from pipeline.vocabulary.settings import ServerSettings
from pipeline.vocabulary.signals import Secret

CLOSE_DEADLINE_S: Final = 1.0
SENTENCE_ENDS: Final = (".", "!", "?", "…")

_log = structlog.get_logger("talkwire.server")


def chat(setup: Setup) -> Callable[[], Brain]:
    """Entry point: the service at `server.chat_url`. ConfigurationError if that is no URL."""
    assert is_private(setup.server.chat_url), "the configuration lets plain http pass for this machine only"
    try:
        httpx.URL(setup.server.chat_url)
    except httpx.InvalidURL as error:
        raise ConfigurationError([Problem("server.chat_url", "is no URL with a valid host name")]) from error
    return partial(ChatBrain, setup.server, setup.chat_key)


class ChatBrain:
    """`Brain` of a service somewhere else.

    Every answer has its own connection. That costs a handshake (nothing on this machine), and no answer ever fails
    because a kept connection has died meanwhile. Proxy variables are not looked at: the key goes to `server.chat_url`.
    """

    def __init__(self, settings: ServerSettings, key: Secret | None) -> None:
        url = httpx.URL(settings.chat_url)
        self._url = url.copy_with(path=url.path.rstrip("/") + "/chat/completions")
        self._shown = f"server.chat_url ({public_url(settings.chat_url)})"
        self._settings = settings
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
        } | ({"Authorization": f"Bearer {key.value}"} if key else {})
        # Plain http needs no authorities, and reading them takes 20 ms; the empty context would trust nobody.
        https = url.scheme == "https"
        self._tls = ssl.create_default_context() if https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    async def answer(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """What the service answers, as it comes. TalkwireError if a call breaks off."""
        last: Piece | None = None
        try:
            async with aclosing(self._asked(ask)) as pieces:
                async for piece in pieces:
                    last = piece
                    yield piece
        except WireError as error:
            _log.warning("the chat service gave no whole answer", problem=error.message, cause=error.cause)
            if not isinstance(last, Words | None):
                raise
            joint = "" if last is None else " " if last.text.rstrip().endswith(SENTENCE_ENDS) else "… "
            yield Words(joint + self._settings.chat_fallback)

    async def _asked(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """The pieces of the answer; any failure as a WireError that says whose it is."""
        patience_s = self._settings.chat_timeout_s
        try:
            deadline = trio.current_time() + patience_s
            async with httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=None) as client:  # noqa: S113  deadline
                body = request_body(self._settings.chat_model, ask)
                request = client.build_request("POST", self._url, headers=self._headers, content=body)
                with trio.fail_at(deadline):
                    response = await client.send(request, stream=True, follow_redirects=False)
                stream = _Stream(response)
                try:
                    self._refuse(response.status_code)
                    while True:
                        with trio.fail_at(deadline):
                            pieces = await stream.next()
                        if not pieces:
                            return
                        for piece in pieces:
                            yield piece
                        deadline = trio.current_time() + patience_s
                finally:
                    await stream.close()
        except trio.TooSlowError as error:
            message = f"{self._shown} said nothing for {patience_s:g} s; is it overloaded?"
            raise ConnectionLostError(message, cause="timeout") from error
        except ProtocolError as error:
            message = f"{self._shown} {error.message}; does it speak /chat/completions?"
            raise ProtocolError(message, cause=error.cause) from error
        except httpx.ConnectError as error:
            raise ConnectionLostError(f"{self._shown} cannot be reached; is it running?", cause="connect") from error
        except (httpx.TransportError, UnicodeError) as error:
            raise ConnectionLostError(f"{self._shown} cut the connection", cause="reset") from error

    def _refuse(self, status: int) -> None:
        """Raise what this status means, if it is not 200."""
        said, cause = f"{self._shown} answered {status}", f"status_{status}"
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise CredentialRefusedError(f"{said}: it wants another key; check CHAT_API_KEY", cause=cause)
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise ServiceBusyError(f"{said}: it is busy or broken", cause=cause)
        if status != httpx.codes.OK:
            raise ServiceRefusedError(f"{said}; check the address and server.chat_model", cause=cause)


class _Stream:
    """The body of one response, read piece by piece."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._chunks = response.aiter_raw()
        self._reader = AnswerReader()
        self._is_empty = True

    async def next(self) -> list[Piece]:
        """The next pieces; none if the answer is complete.

        Raises:
            ProtocolError: it is no answer, an empty one, or only the beginning of one.
            httpx.TransportError: the connection failed.
        """
        while not self._reader.finished:
            received = await anext(self._chunks, None)
            if received is None:
                raise ProtocolError("broke off its answer", cause="body")
            if pieces := self._reader.feed(received):
                self._is_empty = False
                return pieces
        if self._is_empty:
            raise ProtocolError("answered nothing", cause="body")
        return []

    async def close(self) -> None:
        """Hang up at once, also when cancelled."""
        with trio.move_on_after(CLOSE_DEADLINE_S, shield=True):
            await self._response.aclose()
            # httpx leaves its nested generators to the garbage collector; reading on from what is closed ends them all.
            with suppress(httpx.TransportError, httpx.StreamError):
                async for _ in self._chunks:
                    pass
