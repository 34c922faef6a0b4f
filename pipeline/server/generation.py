"""One answer being made: the brain's words, cut into clauses, each spoken while the next is still being thought of.

Words are reported ahead of their sound. Cancelling stops the brain at once and the voice at the end of its clause,
which is at most 5 s of speech and takes 50 ms of one core.
"""

from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Final

import trio

from pipeline.realtime.events import AudioFormat
from pipeline.server import work
from pipeline.server.audio_codec import Encoder
from pipeline.server.clauses import Clauses
from pipeline.server.engine_pool import EnginePool
from pipeline.server.engines.interfaces import Arguments, Call, Words
from pipeline.vocabulary.errors import ServiceBusyError, TalkwireError

CLAUSES_AHEAD: Final = 64
"""Clauses the brain may be ahead of the voice, about 5 min of speech; then it waits."""

Report = Callable[[work.Generation], None]


async def generate(wanted: work.Generate, engines: EnginePool, report: Report) -> None:
    """Make the answer; every result goes to `report` as it becomes known, the end or the failure last."""
    try:
        await (_write if wanted.spoken_as is None else partial(_speak, spoken_as=wanted.spoken_as))(
            wanted, engines, report
        )
    except* TalkwireError as group:
        failed = _first(group)
        code = "rate_limit_exceeded" if isinstance(failed, ServiceBusyError) else "server_error"
        report(work.GenerationFailed(wanted.response_id, failed.message, code))
    else:
        report(work.GenerationEnded(wanted.response_id))


async def _write(wanted: work.Generate, engines: EnginePool, report: Report) -> None:
    async with aclosing(engines.answer(wanted.ask)) as pieces:
        async for piece in pieces:
            match piece:
                case Words(text):
                    report(work.GeneratedText(wanted.response_id, text))
                case Call() | Arguments():
                    _report_call(wanted, piece, report)


async def _speak(wanted: work.Generate, engines: EnginePool, report: Report, *, spoken_as: AudioFormat) -> None:
    send, receive = trio.open_memory_channel[str | Call | Arguments](CLAUSES_AHEAD)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_think, wanted, engines, send)
        encoder = Encoder(spoken_as)
        async for piece in receive:
            if not isinstance(piece, str):
                _report_call(wanted, piece, report)
                continue
            report(work.GeneratedText(wanted.response_id, piece))
            async with aclosing(engines.speak(piece, speed=wanted.speed)) as sounds:
                async for pcm in sounds:
                    report(work.GeneratedAudio(wanted.response_id, encoder.encode(pcm)))
        if rest := encoder.flush():
            report(work.GeneratedAudio(wanted.response_id, rest))


async def _think(
    wanted: work.Generate, engines: EnginePool, send: trio.MemorySendChannel[str | Call | Arguments]
) -> None:
    clauses = Clauses()
    async with send, aclosing(engines.answer(wanted.ask)) as pieces:
        async for piece in pieces:
            match piece:
                case Words(text):
                    ready: list[str | Call | Arguments] = [*clauses.feed(text)]
                case Call() | Arguments():
                    ready = [*_if_any(clauses.rest()), piece]
            for each in ready:
                await send.send(each)
        for each in _if_any(clauses.rest()):
            await send.send(each)


def _report_call(wanted: work.Generate, piece: Call | Arguments, report: Report) -> None:
    match piece:
        case Call(name):
            report(work.GeneratedCall(wanted.response_id, name))
        case Arguments(text):
            report(work.GeneratedArguments(wanted.response_id, text))


def _if_any(text: str) -> list[str]:
    return [text] if text else []


def _first(group: BaseExceptionGroup[TalkwireError]) -> TalkwireError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
