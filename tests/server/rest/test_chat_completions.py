"""`/v1/chat/completions`: asked by the official client."""

import functools
from typing import Any

import openai
import pytest
import trio

from pipeline.realtime.events import Tool
from pipeline.server.engines.interfaces import Arguments, Call, Line, Words
from pipeline.vocabulary.errors import ConnectionLostError, ServiceBusyError

HELLO = [{"role": "user", "content": "Hello?"}]
OPENING = {
    "type": "function",
    "function": {"name": "opening_hours", "description": "When", "parameters": {"type": "object"}},
}


def create(client: openai.OpenAI, **wanted: Any) -> Any:
    return client.chat.completions.create(**{"model": "brain", "messages": HELLO, **wanted})


def collect(client: openai.OpenAI, **wanted: Any) -> list[Any]:
    with create(client, stream=True, **wanted) as chunks:
        return list(chunks)


async def in_thread(work: Any, *args: Any, **more: Any) -> Any:
    return await trio.to_thread.run_sync(functools.partial(work, *args, **more), abandon_on_cancel=True)


async def test_a_whole_answer(serving: Any, official: Any) -> None:
    async with serving() as url:
        completion = await in_thread(create, official(url))
    assert completion.choices[0].message.content == "You said: hello, shop."
    assert (completion.choices[0].finish_reason, completion.model) == ("stop", "brain")
    assert completion.usage.to_dict() == {"prompt_tokens": 2, "completion_tokens": 7, "total_tokens": 9}


async def test_a_streamed_answer_with_its_usage(serving: Any, official: Any) -> None:
    async with serving() as url:
        chunks = await in_thread(collect, official(url), stream_options={"include_usage": True})
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].delta.content for chunk in chunks[1:3]] == ["You said: ", "hello, shop."]
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None, None, None, "stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 9
    assert all("usage" in chunk.to_dict() for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1


async def test_the_first_words_are_sent_while_the_rest_is_still_being_thought_of(
    serving: Any, official: Any, brain: Any, gate: Any
) -> None:
    def hold_the_second() -> None:
        if held:
            gate.wait()
        held.append(True)

    def read() -> list[str]:
        words = []
        with create(official(url), stream=True) as chunks:
            for chunk in chunks:
                if chunk.choices[0].delta.content:
                    words.append(chunk.choices[0].delta.content)
                    gate.open()
        return words

    held: list[bool] = []
    brain.between = hold_the_second
    async with serving() as url:
        assert await in_thread(read) == ["You said: ", "hello, shop."]


async def test_tools_are_offered_and_called(serving: Any, official: Any, brain: Any) -> None:
    brain.pieces = [Call("opening_hours"), Arguments('{"day":'), Arguments('"monday"}'), Call("bell"), Arguments("{}")]
    wanted: dict[str, Any] = {"tools": [OPENING], "tool_choice": "required"}
    async with serving() as url:
        completion = await in_thread(create, official(url), **wanted)
        chunks = await in_thread(collect, official(url), **wanted)
    choice = completion.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls]
    assert calls == [("opening_hours", '{"day":"monday"}'), ("bell", "{}")]
    streamed: dict[int, list[str]] = {}
    for chunk in chunks:
        for call in chunk.choices[0].delta.tool_calls or []:
            if call.id:
                streamed[call.index] = [call.function.name, ""]
            streamed[call.index][1] += call.function.arguments
    assert list(streamed.values()) == [list(call) for call in calls]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert brain.asked[0].tools == (
        Tool(type="function", name="opening_hours", description="When", parameters={"type": "object"}),
    )
    assert brain.asked[0].tool_choice == "required"


async def test_a_conversation_with_a_tool_in_it_reaches_the_brain_whole(
    serving: Any, official: Any, brain: Any
) -> None:
    brain.pieces = [Call("opening_hours"), Arguments("{}")]
    async with serving() as url:
        called = (await in_thread(create, official(url), tools=[OPENING])).choices[0].message
        call_id = called.tool_calls[0].id
        brain.pieces = [Words("At nine.")]
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
        messages = [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "When?"}, picture]},
            called.to_dict(),
            {"role": "tool", "tool_call_id": call_id, "content": "9:00"},
        ]
        await in_thread(create, official(url), messages=messages, tools=[OPENING])
    assert brain.asked[-1].lines == (
        Line("system", "Be kind."),
        Line("user", "When?", images=("data:image/png;base64,AA==",)),
        Line("call", "{}", name="opening_hours", call_id=call_id),
        Line("output", "9:00", call_id=call_id),
    )


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_the_answer_ends_at_its_limit_and_so_does_the_thinking(
    serving: Any, official: Any, brain: Any, name: str
) -> None:
    brain.pieces = [Words("One two three four."), Words(" Never.")]
    async with serving() as url:
        completion = await in_thread(create, official(url), **{name: 3})
        chunks = await in_thread(collect, official(url), **{name: 3})
    assert completion.choices[0].message.content == "One two three"
    assert completion.choices[0].finish_reason == chunks[-1].choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens == 3
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "One two three"
    assert brain.stopped.is_set()


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "pirate", "content": "Arr"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "tool_call_id": "call_x", "content": "9"}]}, "messages[0].tool_call_id"),
        ({"n": 2}, "n"),
        ({"stop": ["."]}, "stop"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"tool_choice": {"type": "function", "function": {"name": "bell"}}, "tools": [OPENING]}, "tool_choice"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
async def test_what_cannot_be_asked_names_the_field(
    serving: Any, official: Any, change: dict[str, Any], param: str
) -> None:
    async with serving() as url:
        with pytest.raises(openai.BadRequestError) as refused:
            await in_thread(create, official(url), **change)
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


async def test_a_brain_that_fails_at_once_is_an_error_of_the_server(serving: Any, official: Any, brain: Any) -> None:
    def fail() -> None:
        raise ConnectionLostError("the chat service is gone")

    brain.between = fail
    async with serving() as url:
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError, match="the chat service is gone") as failed:
                await in_thread(create, official(url), stream=stream)
            assert (failed.value.status_code, failed.value.type) == (500, "server_error")


async def test_a_busy_brain_asks_for_patience_and_the_client_has_it(serving: Any, official: Any, brain: Any) -> None:
    def refuse_once() -> None:
        if len(brain.asked) == 1:
            raise ServiceBusyError("too many ask")

    brain.between = refuse_once
    async with serving() as url:
        completion = await in_thread(create, official(url, max_retries=1))
    assert completion.choices[0].message.content == "You said: hello, shop."
    assert len(brain.asked) == 2


async def test_a_brain_that_fails_half_way_says_so_in_the_stream(serving: Any, official: Any, brain: Any) -> None:
    def fail_later() -> None:
        if said:
            raise ConnectionLostError("the chat service is gone")
        said.append(True)

    said: list[bool] = []
    brain.between = fail_later
    async with serving() as url:
        with pytest.raises(openai.APIError, match="the chat service is gone"):
            await in_thread(collect, official(url))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_hangs_up_stops_the_brain(
    serving: Any, official: Any, brain: Any, gate: Any, *, stream: bool
) -> None:
    brain.between = gate.wait
    async with serving() as url:
        with pytest.raises(openai.APITimeoutError):
            await in_thread(create, official(url, timeout=0.3), stream=stream)
        with trio.fail_after(5):
            await brain.stopped.wait()
