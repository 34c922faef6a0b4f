"""An answer that is sent while it is being made."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

import msgspec
from litestar.types import Receive, Scope, Send

from pipeline.server.rest.answers import failure_body
from pipeline.vocabulary.errors import TalkwireError

SSE: Final = "text/event-stream; charset=utf-8"


class Streamed:
    """ASGI application that sends each piece as it comes.

    The status waits for the first piece: an engine that is too busy to begin still makes it a 503.

    Args:
        pieces: closed in any case, also when the client hangs up.
        media_type: of the body.
        tell: makes the last piece when the answer fails half-way; None cuts the connection instead, which a client
            cannot mistake for an end.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        media_type: str,
        tell: Callable[[TalkwireError], bytes] | None = None,
    ) -> None:
        self._pieces = pieces
        self._media_type = media_type
        self._tell = tell

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the answer; raises TalkwireError if it cannot even begin."""
        begun = False
        async with aclosing(self._pieces):
            try:
                async for piece in self._pieces:
                    if not begun:
                        begun = True
                        await self._begin(send)
                    await _send(send, piece)
            except TalkwireError as failed:
                if not begun:
                    raise
                if self._tell is None:
                    await scope["state"]["abort"]()
                    return
                await _send(send, self._tell(failed))
        if not begun:
            await self._begin(send)
        await _send(send, b"", more=False)

    async def _begin(self, send: Send) -> None:
        headers = [(b"content-type", self._media_type.encode()), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})


def event(content: object) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(content) + b"\n\n"


def failure_event(failed: TalkwireError) -> bytes:
    """The server-sent event that ends an answer which failed half-way."""
    return event(failure_body(failed))


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
