"""The REST side with the engines it is shipped with: what the voice says, the recogniser hears."""

from typing import Any

import pytest
import trio
from msgspec import structs

from pipeline.server.engines.loader import load_engines
from pipeline.vocabulary.configuration import load

SETTINGS = structs.replace(load().server, port=0)


@pytest.mark.engines
async def test_what_the_voice_says_the_recogniser_hears_and_the_brain_answers(serving: Any, official: Any) -> None:
    def talk() -> tuple[str, str | None]:
        client = official(url)
        question = client.audio.speech.create(model="tts", voice="heart", input="What are your opening hours?").read()
        heard = client.audio.transcriptions.create(model="asr", file=("question.wav", question))
        asked: Any = [{"role": "user", "content": heard.text}]
        answer = client.chat.completions.create(model="brain", messages=asked)
        return heard.text, answer.choices[0].message.content

    async with serving(engines=load_engines(SETTINGS)) as url:
        heard, answer = await trio.to_thread.run_sync(talk, abandon_on_cancel=True)
    assert heard == "What are your opening hours?"
    assert answer is not None
    assert "nine to six" in answer
