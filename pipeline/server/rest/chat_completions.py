"""`POST /v1/chat/completions`: the brain behind the voice, in writing, whole or streamed."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import UNSET, Struct, UnsetType

from pipeline.server.admission import Admission
from pipeline.server.engine_pool import EnginePool
from pipeline.server.engines.interfaces import Ask
from pipeline.server.ids import new_id
from pipeline.server.rest.answers import json_answer
from pipeline.server.rest.chat_answer import ChatAnswer, Delta, Message, Usage
from pipeline.server.rest.chat_request import ChatRequest, ask_of
from pipeline.server.rest.requests import demand_key, read_json
from pipeline.server.rest.streamed import SSE, Streamed, event, failure_event

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""A long conversation with a picture or two."""
DONE: Final = b"data: [DONE]\n\n"


class Choice(Struct):
    """The only choice, whole."""

    message: Message
    finish_reason: str
    index: int = 0
    logprobs: None = None


class ChunkChoice(Struct):
    """What one event adds to it."""

    delta: Delta
    finish_reason: str | None = None
    index: int = 0
    logprobs: None = None


class Completion(Struct, tag_field="object", tag="chat.completion"):
    """Answer to a request that is not streamed."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Chunk(Struct, tag_field="object", tag="chat.completion.chunk"):
    """One event of a streamed answer; `usage` is null until the last, and absent unless it was asked for."""

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType | None = UNSET


def chat_completions(admission: Admission, engines: EnginePool, unix_now: Callable[[], float]) -> HTTPRouteHandler:
    """The resource."""

    @post("/v1/chat/completions", status_code=200, request_max_body_size=MAX_BODY_BYTES)
    async def create(request: Request[Any, Any, Any]) -> ASGIApp:
        demand_key(request, admission)
        wanted = await read_json(request, ChatRequest)
        ask = ask_of(wanted)
        if wanted.stream:
            return Streamed(_events(wanted, ask, engines, int(unix_now())), SSE, failure_event)
        answer = ChatAnswer(wanted.limit)
        async with aclosing(_deltas(answer, ask, engines)) as deltas:
            async for _ in deltas:
                pass
        choices = [Choice(answer.message(), answer.finish_reason())]
        whole = Completion(new_id("chatcmpl"), int(unix_now()), wanted.model, choices, answer.usage(ask))
        return json_answer(whole).to_asgi_response(None, request)

    return create


async def _deltas(answer: ChatAnswer, ask: Ask, engines: EnginePool) -> AsyncGenerator[Delta, None]:
    """The answer as it comes; the brain is stopped when it has said enough."""
    async with aclosing(engines.answer(ask)) as pieces:
        async for piece in pieces:
            yield answer.take(piece)
            if answer.is_cut:
                return


async def _events(wanted: ChatRequest, ask: Ask, engines: EnginePool, created: int) -> AsyncGenerator[bytes, None]:
    answer = ChatAnswer(wanted.limit)
    completion_id = new_id("chatcmpl")
    no_usage = None if wanted.includes_usage else UNSET

    def chunk(*choices: ChunkChoice, usage: Usage | UnsetType | None = no_usage) -> bytes:
        return event(Chunk(completion_id, created, wanted.model, list(choices), usage))

    opening = chunk(ChunkChoice(Delta(role="assistant", content="")))
    async with aclosing(_deltas(answer, ask, engines)) as deltas:
        async for delta in deltas:
            yield opening + chunk(ChunkChoice(delta))  # not before the brain says something: it may still refuse
            opening = b""
    yield opening + chunk(ChunkChoice(Delta(), answer.finish_reason()))
    if wanted.includes_usage:
        yield chunk(usage=answer.usage(ask))
    yield DONE
