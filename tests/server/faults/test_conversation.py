"""The real conversation behind a line of faults, without sockets, under a clock by hand: as the simulation has it.

Whatever the faults, the two sides come to one mind again: the next turn is answered as if nothing had been.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.realtime.codec import as_event, encode
from pipeline.realtime.events import Event
from pipeline.server.faults.catalogue import KINDS, parse_fault
from pipeline.server.faults.door import DoorFault
from pipeline.server.faults.line import FaultLine, Frame
from pipeline.server.work import Generate, GeneratedAudio, GeneratedText, Generation, GenerationEnded, StopGenerating
from pipeline.vocabulary.frames import BYTES_PER_MS

MakeBench = Callable[..., Any]
CREATE = {"type": "response.create"}
CANCEL = {"type": "response.cancel"}
WORDS = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
CUTS = ("no_session", "expired_key", "half_open", "close", "drop", "session_expired")
"""After these nothing can follow."""


class Call:
    """A conversation, its line and the client at the other end; an answer is two words and 600 ms of sound."""

    def __init__(self, make_bench: MakeBench, *faults: str, seed: str = "seed") -> None:
        self.bench = make_bench()
        self.now = 0.0
        self.line = FaultLine([parse_fault(fault) for fault in faults], seed=seed, now=0.0)
        self.got: list[tuple[float, Frame]] = []
        self._told = 0
        self._answered = 0
        self._settle()

    def say(self, *events: dict[str, Any]) -> list[dict[str, Any]]:
        """The client says these; the events it gets at once."""
        before = len(self.events())
        for event in events:
            self.line.client_said(json.dumps(event), self.now)
            self._settle()
        return self.events()[before:]

    def events(self, since_s: float = 0.0) -> list[dict[str, Any]]:
        """What the client has got that can be read."""
        frames = [frame for at_s, frame in self.got if at_s >= since_s and isinstance(frame, str)]
        return [event for event in map(as_event, frames) if event is not None]

    def wait(self, duration_s: float) -> None:
        """Time passes."""
        end_s = self.now + duration_s
        while self.now < end_s:
            self.now = min(end_s, self.line.next_due_s())
            self.line.tick(self.now)
            self._settle()

    def _settle(self) -> None:
        while self._tell() or self._obey() or self._answer():
            pass
        self.got += [(self.now, frame) for frame in self.line.take_for_client(self.now)]

    def _tell(self) -> bool:
        news, self._told = self.bench.outputs[self._told :], len(self.bench.outputs)
        for output in news:
            if isinstance(output, Event):
                self.line.server_said(encode(output), self.now)
        return bool(news)

    def _obey(self) -> bool:
        messages = self.line.take_for_server()
        for message in messages:
            self.bench.client(message)
        return bool(messages)

    def _answer(self) -> bool:
        """One piece of work for the oldest answer that is not complete."""
        asked = self.bench.all(Generate)
        if self._answered == len(asked):
            return False
        self._answered += 1
        response_id = asked[self._answered - 1].response_id
        steps: list[Generation] = [
            GeneratedText(response_id, "Hello you."),
            *[GeneratedAudio(response_id, bytes(200 * BYTES_PER_MS))] * 3,
            GenerationEnded(response_id),
        ]
        for step in steps:
            if response_id not in {stopped.response_id for stopped in self.bench.all(StopGenerating)}:
                self.bench.work(step)
            self._tell()
            self._obey()
        return True


def turn(call: Call) -> list[dict[str, Any]]:
    item: dict[str, Any] = {"type": "conversation.item.create", "item": WORDS}
    return call.say(item, CREATE)


@pytest.mark.parametrize(
    "fault", [name for name, kind in KINDS.items() if not issubclass(kind, DoorFault) and name not in CUTS]
)
def test_after_a_fault_in_one_turn_the_next_is_answered(make_bench: MakeBench, fault: str) -> None:
    call = Call(make_bench, f"{fault} times=1")
    turn(call)
    call.wait(30)
    call.say(CANCEL)  # what has stalled
    call.wait(30)
    turn(call)
    call.say(CREATE)  # what was refused
    call.wait(30)
    events = call.events(since_s=60)
    assert "completed" in [event["response"]["status"] for event in events if event["type"] == "response.done"]
    assert not [event for event in events if event["type"] == "error" and "active" not in event["error"]["code"]]


def test_a_failed_response_is_no_longer_active_and_left_nothing_behind(make_bench: MakeBench) -> None:
    call = Call(make_bench, "response_failed code=rate_limit_exceeded turn=1")
    events = turn(call)
    assert events[-1]["type"] in {"response.done", "rate_limits.updated"}
    done = next(event["response"] for event in events if event["type"] == "response.done")
    assert (done["status"], done["output"]) == ("failed", [])
    assert not [event for event in events if event["type"] == "error"]
    again = next(event["response"] for event in call.say(CREATE) if event["type"] == "response.done")
    assert again["status"] == "completed"


def test_what_an_incomplete_reply_said_is_all_the_server_remembers(make_bench: MakeBench) -> None:
    call = Call(make_bench, "response_incomplete after_audio_ms=400")
    done = next(event["response"] for event in turn(call) if event["type"] == "response.done")
    assert done["status"] == "incomplete"
    cut = {"type": "conversation.item.truncate", "item_id": done["output"][0]["id"], "content_index": 0}
    assert call.say({**cut, "audio_end_ms": 401})[-1]["error"]["message"].startswith("Audio content of 400ms")
    assert call.say({**cut, "audio_end_ms": 400})[-1]["type"] == "conversation.item.truncated"


def test_one_seed_is_one_story(make_bench: MakeBench) -> None:
    chosen = [f"{name} probability=0.2" for name, kind in KINDS.items() if not issubclass(kind, DoorFault)]

    def story(seed: str) -> str:
        call = Call(make_bench, *(fault for fault in chosen if fault.split()[0] not in CUTS), seed=seed)
        for _ in range(5):
            turn(call)
            call.wait(7)
            call.say(CANCEL)
        return repr(call.got)

    assert story("a") == story("a")
    assert len({story(str(seed)) for seed in range(5)}) == 5
