"""What every resource has in common: the key, errors in the provider's shape, models, health."""

import functools
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
import trio
from msgspec import structs

from pipeline.server.engines.interfaces import Engines, Voice

WAV: bytes = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\xc0\x5d\0\0\x80\xbb\0\0\2\0\x10\0data\4\0\0\0" + bytes(4)
"""Two samples of silence."""
FIELD = b'--b\r\nContent-Disposition: form-data; name="model"\r\n%s\r\n%s\r\n'
RESOURCES: dict[str, Callable[[openai.OpenAI], object]] = {
    "models": lambda client: client.models.list(),
    "model": lambda client: client.models.retrieve("talkwire-local"),
    "secrets": lambda client: client.realtime.client_secrets.create(),
    "sessions": lambda client: client.beta.realtime.sessions.create(),
    "transcription sessions": lambda client: client.beta.realtime.transcription_sessions.create(),
    "chat": lambda client: client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}]),
    "speech": lambda client: client.audio.speech.create(model="m", voice="v", input="Hi").read(),
    "transcriptions": lambda client: client.audio.transcriptions.create(model="m", file=("a.wav", WAV)),
}


async def in_thread(work: Any, *args: Any, **more: Any) -> Any:
    return await trio.to_thread.run_sync(functools.partial(work, *args, **more), abandon_on_cancel=True)


@pytest.mark.parametrize("ask", RESOURCES.values(), ids=RESOURCES.keys())
async def test_the_configured_key_opens_every_resource_and_no_other_does(
    serving: Any, official: Any, ask: Callable[[openai.OpenAI], object]
) -> None:
    async with serving("sk-right") as url:
        await in_thread(ask, official(url, "sk-right"))
        with pytest.raises(openai.AuthenticationError) as refused:
            await in_thread(ask, official(url, "sk-wrong"))
    assert (refused.value.code, refused.value.type) == ("invalid_api_key", "invalid_request_error")


@pytest.mark.parametrize("ask", RESOURCES.values(), ids=RESOURCES.keys())
async def test_a_client_secret_opens_sessions_and_no_resource(
    serving: Any, official: Any, ask: Callable[[openai.OpenAI], object]
) -> None:
    async with serving() as url:
        secret = (await in_thread(official(url).realtime.client_secrets.create)).value
        with pytest.raises(openai.AuthenticationError):
            await in_thread(ask, official(url, secret))


async def test_the_models_are_told(serving: Any, official: Any) -> None:
    async with serving() as url:
        client = official(url)
        listed = await in_thread(client.models.list)
        assert [model.id for model in listed] == ["talkwire-local", "talkwire-local-asr", "talkwire-local-tts"]
        assert (await in_thread(client.models.retrieve, "talkwire-local")).owned_by == "talkwire"
        with pytest.raises(openai.NotFoundError) as refused:
            await in_thread(client.models.retrieve, "gpt-9")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


async def test_an_unknown_address_and_a_wrong_method(serving: Any) -> None:
    async with serving() as url, httpx.AsyncClient(trust_env=False) as client:
        unknown = await client.post(f"{url}/v1/embeddings", json={})
        assert unknown.status_code == 404
        assert unknown.json()["error"]["message"] == "Invalid URL (POST /v1/embeddings)"
        wrong = await client.delete(f"{url}/v1/models")
        assert (wrong.status_code, wrong.json()["error"]["type"]) == (405, "invalid_request_error")


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b'"\xff"', 400), (b"[" * 100_000, 400), (b" " * 300_000, 413)]
)
async def test_a_body_nobody_can_read(serving: Any, body: bytes, status: int) -> None:
    async with serving() as url, httpx.AsyncClient(trust_env=False, headers={"Authorization": "Bearer any"}) as client:
        answer = await client.post(f"{url}/v1/audio/speech", content=body)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_defect_is_told_as_one_and_its_words_stay_here(
    serving: Any, official: Any, brain: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def stumble() -> None:
        raise LookupError("canary words of a client")

    brain.between = stumble
    async with serving() as url:
        with pytest.raises(openai.InternalServerError) as failed:
            await in_thread(RESOURCES["chat"], official(url))
    assert (failed.value.status_code, failed.value.type) == (500, "server_error")
    logged = capsys.readouterr().out
    assert "LookupError" in logged
    assert "test_answers.py" in logged
    assert "canary" not in logged + str(failed.value)


async def test_health_turns_good_once_the_engines_are_loaded(engines: Engines, serving: Any, gate: Any) -> None:
    def load() -> Voice:
        gate.wait()
        return engines.voice()

    slow = structs.replace(engines, voice=load)
    async with serving(engines=slow, waits=False) as url, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{url}/healthz")
        assert (answer.status_code, answer.json()) == (503, {"status": "loading"})
        gate.open()
        while answer.status_code == 503:
            answer = await client.get(f"{url}/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/realtime/client_secrets", b'{"session": {"type": "\xff"}}'),
        ("/v1/realtime/client_secrets", b'{"session": ' + b"[" * 100_000),
        ("/v1/realtime/client_secrets", b"[]"),
        ("/v1/chat/completions", b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}'),
        ("/v1/audio/speech", b'{"model": "m", "voice": "v", "input": "a", "speed": 1e999}'),
        ("/v1/audio/transcriptions", b""),
        ("/v1/audio/transcriptions", b"--b\r\n"),
        ("/v1/audio/transcriptions", FIELD % (b"", b"\xff")),
        ("/v1/audio/transcriptions", FIELD % (b"Content-Type: text/plain; charset=klingon\r\n", b"m")),
        ("/v1/audio/transcriptions", (FIELD % (b"", b"m")) * 2_000),
    ],
)
async def test_malice_is_the_clients_fault(serving: Any, path: str, body: bytes) -> None:
    headers = {"Authorization": "Bearer any", "Content-Type": "multipart/form-data; boundary=b"}
    async with serving() as url, httpx.AsyncClient(trust_env=False, headers=headers) as client:
        answer = await client.post(url + path, content=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
