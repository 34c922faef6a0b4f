"""A client that hangs up stops the work on its request, and one that does not read cannot hold up the server's end."""

import trio
from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send


def until_hangup(app: ASGIApp) -> ASGIApp:
    """`app`, cancelled when the client is gone: answers that are not streamed would notice it only when done."""

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        body_read, over = trio.Event(), trio.Event()

        async def receive_body() -> HTTPReceiveMessage:
            if body_read.is_set():
                await trio.sleep_forever()  # the next message is `hear_hangup`'s, and ends this wait
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                body_read.set()
            return message  # type: ignore[return-value]  # HTTP has no other messages

        async def hear_hangup() -> None:
            await body_read.wait()
            await receive()  # http.disconnect, which also follows a whole answer
            over.set()
            nursery.cancel_scope.cancel()

        async def cut_if_cancelled() -> None:
            try:
                await over.wait()
            except trio.Cancelled:  # anycorn shields a send that waits for the client to read
                await scope["state"]["abort"]()
                raise

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_hangup)
            nursery.start_soon(cut_if_cancelled)
            await app(scope, receive_body, send)
            over.set()
            nursery.cancel_scope.cancel()

    return watched
