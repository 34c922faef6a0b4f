"""A client that hangs up stops the work on its request: nobody is left to read the answer."""

import trio
from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send


def until_hangup(app: ASGIApp) -> ASGIApp:
    """`app`, cancelled when the client is gone. Answers that are not streamed would notice it only when done."""

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        body_read = trio.Event()

        async def receive_body() -> HTTPReceiveMessage:
            if body_read.is_set():
                await trio.sleep_forever()  # the next message is `watch`'s, and ends this wait
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                body_read.set()
            return message  # type: ignore[return-value]  # HTTP has no other messages

        async def watch() -> None:
            await body_read.wait()
            await receive()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await app(scope, receive_body, send)
            nursery.cancel_scope.cancel()

    return watched
