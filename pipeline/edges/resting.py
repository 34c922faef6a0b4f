"""A loudspeaker at rest: its device is served while nobody has anything to say, until somebody has."""

from collections.abc import Awaitable, Callable

import trio

from pipeline.edges.interfaces import OutputStream
from pipeline.vocabulary.errors import TalkwireError


async def serve_until(until: Callable[[], Awaitable[None]], serve: Callable[[], Awaitable[None]]) -> None:
    """Run `serve`, which never ends by itself, until `until` returns. Raises what either does, TalkwireErrors bare."""
    failures: list[TalkwireError] = []

    async def serve_or_fail(scope: trio.CancelScope) -> None:
        try:
            await serve()
        except TalkwireError as error:
            failures.append(error)
            scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_or_fail, nursery.cancel_scope)
        await until()
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]


async def answer_with_silence(stream: OutputStream, until: Callable[[], Awaitable[None]]) -> None:
    """`rest` of a loudspeaker that asks all the time, and has to be answered. Raises DeviceError."""

    async def answer() -> None:
        while True:
            await stream.wait_request()
            with trio.CancelScope(shield=True):  # what was asked is answered; `write` has a deadline of its own
                await stream.write(None)

    await serve_until(until, answer)
