"""A WebSocket in the shape of a dialect: the server behind it hears and says GA. Decides nothing."""

from collections.abc import Awaitable, Callable

import msgspec

from pipeline.realtime.codec import ClientEventError, as_event
from pipeline.realtime.dialects import Shape
from pipeline.realtime.events import MAX_EVENT_ID_CHARS, Json
from pipeline.server.websocket import Message, WebSocket


class DialectSocket(WebSocket):
    """One client and the shape it speaks; GA, untouched, until told otherwise."""

    def __init__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        super().__init__(scope, receive, send)
        self._shape: Shape | None = None

    def speak(self, shape: Shape | None) -> None:
        """Translate from now on; None is GA."""
        self._shape = shape

    async def receive(self) -> str | bytes:
        """The next message, in GA's shape.

        Raises:
            Disconnected: the client closed, or the line is gone.
            ClientEventError: the dialect has no such event or field.
        """
        message = await super().receive()
        event = None if self._shape is None else as_event(message)
        if self._shape is None or event is None:
            return message
        try:
            translated = self._shape.to_ga(event)
            return message if translated is event else msgspec.json.encode(translated).decode()
        except ClientEventError as refused:
            raise ClientEventError(refused.code, refused.message, refused.param, _event_id(event)) from None

    async def send(self, content: str | bytes) -> None:
        """Say something to the client, in its shape; a frame that is no event goes as it is."""
        event = None if self._shape is None else as_event(content)
        if self._shape is None or event is None:
            await super().send(content)
            return
        for said in self._shape.from_ga(event):
            await super().send(content if said is event else msgspec.json.encode(said).decode())


def _event_id(event: Json) -> str | None:
    event_id = event.get("event_id")
    return event_id if isinstance(event_id, str) and len(event_id) <= MAX_EVENT_ID_CHARS else None
