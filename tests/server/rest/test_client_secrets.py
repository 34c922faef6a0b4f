"""`/v1/realtime/client_secrets` and the beta's two ways to the same: asked by the official client."""

import functools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
import trio
from openai.types.beta.realtime import SessionCreateResponse, TranscriptionSession
from websockets.trio.client import connect


async def in_thread(work: Any, *args: Any, **more: Any) -> Any:
    return await trio.to_thread.run_sync(functools.partial(work, *args, **more), abandon_on_cancel=True)


def create(client: openai.OpenAI, **wanted: Any) -> Any:
    return client.realtime.client_secrets.create(**wanted)


@asynccontextmanager
async def opened(url: str, secret: str, query: str = "?model=m") -> AsyncIterator[dict[str, Any]]:
    """The first event of a session opened with this secret."""
    socket_url = f"{url.replace('http', 'ws')}/v1/realtime{query}"
    async with connect(socket_url, additional_headers={"Authorization": f"Bearer {secret}"}, proxy=None) as client:
        yield json.loads(await client.recv())


async def test_a_secret_opens_sessions_that_begin_as_it_says(serving: Any, official: Any) -> None:
    session = {"type": "realtime", "instructions": "Be kind.", "audio": {"output": {"speed": 1.5}}}
    async with serving() as url:
        minted = await in_thread(create, official(url), session=session)
        assert (minted.session.instructions, minted.session.audio.output.speed) == ("Be kind.", 1.5)
        async with opened(url, minted.value) as event:
            assert event["session"]["instructions"] == "Be kind."


async def test_a_secret_for_a_session_that_only_transcribes(serving: Any, official: Any) -> None:
    session = {"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    async with serving() as url:
        minted = await in_thread(create, official(url), session=session)
        assert minted.session.type == "transcription"
        async with opened(url, minted.value, "?intent=transcription") as event:
            assert event["session"]["type"] == "transcription"


@pytest.mark.parametrize(
    ("settings", "asked_s", "lives_s"),
    [
        ({}, None, 600),
        ({"secret_ttl_s": 30}, None, 30),
        ({"secret_ttl_s": 30}, 7_200, 7_200),
        ({"secret_ttl_s": 30, "secret_cap_s": 2}, None, 2),
        ({"secret_cap_s": 2}, 10, 2),
    ],
)
async def test_how_long_a_secret_lives(
    serving: Any, official: Any, settings: dict[str, int], asked_s: int | None, lives_s: int, monkeypatch: Any
) -> None:
    wanted = {} if asked_s is None else {"expires_after": {"anchor": "created_at", "seconds": asked_s}}
    monkeypatch.setattr("pipeline.server.app.unix_now", lambda: 1_000.5)
    async with serving(**settings) as url:
        minted = await in_thread(create, official(url), **wanted)
    assert minted.expires_at == 1_000 + lives_s


async def test_an_expired_secret_opens_nothing(serving: Any, official: Any, monkeypatch: Any) -> None:
    now = [1_000.0]
    monkeypatch.setattr("pipeline.server.app.unix_now", lambda: now[0])
    async with serving(secret_cap_s=1) as url:
        minted = await in_thread(create, official(url))
        async with opened(url, minted.value) as event:
            assert event["type"] == "session.created"
        now[0] = 1_001.0
        async with opened(url, minted.value) as event:
            assert event["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"expires_after": {"anchor": "created_at", "seconds": 9}}, "expires_after.seconds", "invalid_value"),
        ({"expires_after": {"anchor": "created_at", "seconds": 7_201}}, "expires_after.seconds", "invalid_value"),
        ({"expires_after": {"anchor": "updated_at"}}, "expires_after.anchor", "invalid_value"),
        ({"expires_after": {"seconds": "long"}}, "expires_after.seconds", "invalid_type"),
        ({"session": {}}, "session.type", "missing_required_parameter"),
        ({"session": {"type": "video"}}, "session.type", "invalid_value"),
        ({"session": {"type": "realtime", "volume": 2}}, "session.volume", "unknown_parameter"),
        (
            {"session": {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "magic"}}}}},
            "session.audio.input.turn_detection.type",
            "invalid_value",
        ),
        ({"session": {"type": "realtime", "max_output_tokens": 0}}, "session.max_output_tokens", "invalid_value"),
        ({"session": 7}, "session", "invalid_type"),
        ({"sesion": {}}, "sesion", "unknown_parameter"),
    ],
)
async def test_minting_names_what_it_refuses(
    serving: Any, official: Any, body: dict[str, Any], param: str, code: str
) -> None:
    async with serving() as url:
        with pytest.raises(openai.BadRequestError) as refused:
            await in_thread(create, official(url), extra_body=body)
    assert (refused.value.param, refused.value.code) == (param, code)


async def test_one_secret_too_many_is_a_rate_limit(serving: Any, official: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("pipeline.server.client_secrets.MAX_SECRETS", 1)
    async with serving() as url:
        client = official(url)
        await in_thread(create, client)
        with pytest.raises(openai.RateLimitError) as refused:
            await in_thread(create, client)
    assert refused.value.code == "rate_limit_exceeded"


async def test_the_betas_session_goes_in_and_comes_out_flat(serving: Any, official: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("pipeline.server.app.unix_now", lambda: 1_000.5)
    flat = {
        "modalities": ["text"],
        "instructions": "Be kind.",
        "input_audio_format": "g711_ulaw",
        "output_audio_format": "g711_alaw",
        "input_audio_transcription": {"model": "whisper-1"},
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 700},
        "max_response_output_tokens": 100,
        "tools": [{"type": "function", "name": "bell", "parameters": {"type": "object"}}],
        "tool_choice": "none",
        "speed": 1.2,
    }
    async with serving() as url:
        client = official(url)
        created: SessionCreateResponse = await in_thread(
            client.beta.realtime.sessions.create, model="gpt-4o-realtime-preview", temperature=0.8, **flat
        )
        assert created.client_secret.expires_at == 1_060
        assert created.turn_detection is not None
        assert created.turn_detection.threshold == 0.5, "what was left out has its default"
        assert created.turn_detection.silence_duration_ms == 700
        shown: dict[str, Any] = created.to_dict()
        assert {name: shown[name] for name in flat if name != "turn_detection"} == {
            name: value for name, value in flat.items() if name != "turn_detection"
        }
        async with opened(url, created.client_secret.value) as event:
            session = event["session"]
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert session["audio"]["output"]["format"] == {"type": "audio/pcma"}
    assert (session["instructions"], session["output_modalities"]) == ("Be kind.", ["text"])


async def test_the_betas_transcription_session(serving: Any, official: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("pipeline.server.app.unix_now", lambda: 1_000.5)
    async with serving() as url:
        created: TranscriptionSession = await in_thread(
            official(url).beta.realtime.transcription_sessions.create,
            input_audio_format="g711_ulaw",
            input_audio_transcription={"model": "whisper-1"},
            client_secret={"expires_at": {"anchor": "created_at", "seconds": 20}},
        )
        async with opened(url, created.client_secret.value, "?intent=transcription") as event:
            assert event["session"]["audio"]["input"]["transcription"]["model"] == "whisper-1"
    assert created.client_secret.expires_at == 1_020
    assert created.input_audio_format == "g711_ulaw"


@pytest.mark.parametrize(
    ("flat", "param"),
    [
        ({"turn_detection": {"type": "magic"}}, "turn_detection.type"),
        ({"max_response_output_tokens": 0}, "max_response_output_tokens"),
        ({"input_audio_format": "mp3"}, "input_audio_format"),
        ({"speed": 9}, "speed"),
        ({"client_secret": {"expires_after": {"seconds": 5}}}, "client_secret.expires_after.seconds"),
    ],
)
async def test_the_beta_is_refused_in_its_own_names(
    serving: Any, official: Any, flat: dict[str, Any], param: str
) -> None:
    async with serving() as url:
        with pytest.raises(openai.BadRequestError) as refused:
            await in_thread(official(url).beta.realtime.sessions.create, extra_body=flat)
    assert refused.value.param == param
