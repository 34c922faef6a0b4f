"""The server with the engines it is shipped with: a recorded question in, a spoken answer out."""

import base64
import functools
import json
import wave
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec import structs
from websockets.trio.client import connect

from pipeline.server.app import serve
from pipeline.server.engines.loader import load_engines
from pipeline.vocabulary import configuration
from pipeline.vocabulary.signals import Secret

QUESTION = Path(__file__).parents[2] / "config/questions/opening_hours.wav"
SETTINGS = structs.replace(configuration.load().server, port=0, session_cap_s=60.0, max_sessions=1)


@pytest.mark.engines
async def test_a_question_is_heard_and_answered_aloud() -> None:
    with wave.open(str(QUESTION)) as recording:
        question = recording.readframes(recording.getnframes())
    shutdown = trio.Event()
    ports: list[int] = []
    loaded = trio.Event()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            run = functools.partial(
                serve, SETTINGS, load_engines(SETTINGS), api_key=Secret("k"),
                listening=ports.append, ready=lambda _: loaded.set(), shutdown=shutdown,
            )  # fmt: skip
            nursery.start_soon(run)
            await loaded.wait()
            url = f"ws://127.0.0.1:{ports[0]}/v1/realtime?model=m"
            async with connect(url, additional_headers={"Authorization": "Bearer k"}, proxy=None) as client:
                await client.send(TRANSCRIBE)
                events = await hold_turn(client, question + bytes(48 * 700))
            shutdown.set()
    words = next(event["transcript"] for event in events if event["type"].endswith("transcription.completed"))
    assert "opening hours" in words.lower()
    done = events[-1]["response"]
    assert done["status"] == "completed"
    assert "nine" in done["output"][0]["content"][0]["transcript"]
    sound = b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta")
    assert len(sound) > 48 * 1000
    assert max(memoryview(sound).cast("h")) > 3_000


TRANSCRIBE = json.dumps(
    {
        "type": "session.update",
        "session": {"type": "realtime", "audio": {"input": {"transcription": {"language": "en"}}}},
    }
)


async def hold_turn(client: Any, pcm: bytes) -> list[dict[str, Any]]:
    """Send the sound as fast as it is taken; everything the server said until the response is done."""
    events: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, client, pcm)
        while not events or events[-1]["type"] != "response.done":
            events.append(json.loads(await client.recv()))
    return events


async def send(client: Any, pcm: bytes) -> None:
    for start in range(0, len(pcm), 960):
        audio = base64.b64encode(pcm[start : start + 960]).decode()
        await client.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
