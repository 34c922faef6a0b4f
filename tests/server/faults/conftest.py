"""A line with faults on the bench: a scripted server on one side, a scripted client on the other, a clock by hand."""

import base64
import json
from typing import Any, ClassVar

import pytest

from pipeline.server.faults.catalogue import Fault, parse_fault
from pipeline.server.faults.line import FaultLine
from pipeline.server.faults.schema import Close, Drop

Json = dict[str, Any]
Got = Json | str | bytes | Close | Drop


class Probe:
    """One connection; everything that comes out is told as events where it is events."""

    def __init__(self, *faults: str | Fault, seed: str = "seed", number: int = 1) -> None:
        chosen = [parse_fault(fault) if isinstance(fault, str) else fault for fault in faults]
        self.now = 0.0
        self.line = FaultLine(chosen, seed=seed, number=number, now=0.0)

    def server(self, *events: Json) -> list[Got]:
        """The server says these; what the client has got by now."""
        for event in events:
            self.line.server_said(json.dumps(event), self.now)
        return self.got()

    def client(self, *events: Json) -> list[Json]:
        """The client says these; what reaches the server."""
        for event in events:
            self.line.client_said(json.dumps(event), self.now)
        return self.reached()

    def reached(self) -> list[Json]:
        """What has reached the server since it was last asked."""
        return [json.loads(message) for message in self.line.take_for_server()]

    def got(self) -> list[Got]:
        """What the client has got since it was last asked."""
        return [decoded(frame) for frame in self.line.take_for_client(self.now)]

    def wait(self, duration_s: float) -> list[tuple[float, Got]]:
        """Time passes; what the client gets, and when."""
        end_s, got = self.now + duration_s, [(self.now, frame) for frame in self.got()]
        while (due_s := self.line.next_due_s()) <= end_s:
            self.now = due_s
            self.line.tick(self.now)
            got += [(self.now, frame) for frame in self.got()]
        self.now = end_s
        self.line.tick(self.now)
        return got + [(self.now, frame) for frame in self.got()]

    @staticmethod
    def kinds(got: list[Any]) -> list[str]:
        """The types of events; what is none by its class."""
        return [frame["type"] if isinstance(frame, dict) else type(frame).__name__ for frame in got]

    @staticmethod
    def sound(got: list[Any]) -> bytes:
        """The sound of all deltas, joined."""
        return b"".join(base64.b64decode(e["delta"]) for e in got if e["type"] == "response.output_audio.delta")


def decoded(frame: Any) -> Got:
    try:
        event: Got = json.loads(frame) if isinstance(frame, str) else frame
    except json.JSONDecodeError:
        return str(frame)
    return event


class Script:
    """Events as the real server says them."""

    session: ClassVar[Json] = {
        "type": "realtime",
        "id": "sess_1",
        "expires_at": 99,
        "audio": {"output": {"voice": "v"}},
    }

    def __init__(self) -> None:
        self._events = 0

    def event(self, kind: str, **fields: Any) -> Json:
        self._events += 1
        return {"type": kind, "event_id": f"event_{self._events}", **fields}

    def created(self) -> Json:
        return self.event("session.created", session=self.session)

    def updated(self) -> Json:
        return self.event("session.updated", session=self.session)

    def started(self) -> Json:
        return self.event("input_audio_buffer.speech_started", item_id="item_u", audio_start_ms=0)

    def words(self, item_id: str = "item_u") -> Json:
        place = {"item_id": item_id, "content_index": 0}
        return self.event(
            "conversation.item.input_audio_transcription.completed", **place, transcript="hello", usage=None
        )

    def response(self, number: int = 1, status: str = "in_progress", **more: Any) -> Json:
        audio = {"output": {"format": {"type": "audio/pcm", "rate": 24000}}}
        response = {"id": f"resp_{number}", "object": "realtime.response", "status": status, "output": []}
        return response | {"audio": audio, "status_details": None} | more

    def begin(self, number: int = 1) -> list[Json]:
        item = {"id": f"item_{number}", "type": "message", "role": "assistant", "content": []}
        part = {"type": "audio", "transcript": ""}
        return [
            self.event("response.created", response=self.response(number)),
            self.event("response.output_item.added", response_id=f"resp_{number}", output_index=0, item=item),
            self.event("conversation.item.added", previous_item_id="item_u", item=item),
            self.event("response.content_part.added", **self._place(number), part=part),
        ]

    def deltas(self, count: int = 3, number: int = 1, duration_ms: int = 200) -> list[Json]:
        sounds = [bytes([n]) * (48 * duration_ms) for n in range(count)]
        kind = "response.output_audio.delta"
        return [self.event(kind, **self._place(number), delta=base64.b64encode(sound).decode()) for sound in sounds]

    def end(self, number: int = 1, status: str = "completed", **details: Any) -> list[Json]:
        content = [{"type": "output_audio", "transcript": "hi"}]
        item = {"id": f"item_{number}", "type": "message", "role": "assistant", "content": content}
        done = self.response(number, status, output=[item], status_details={"type": status, **details})
        return [
            self.event("response.output_audio.done", **self._place(number)),
            self.event("response.content_part.done", **self._place(number), part={"type": "audio", "transcript": "hi"}),
            self.event("conversation.item.done", previous_item_id="item_u", item=item),
            self.event("response.output_item.done", response_id=f"resp_{number}", output_index=0, item=item),
            self.event("response.done", response=done),
        ]

    def reply(self, number: int = 1, count: int = 3) -> list[Json]:
        return [*self.begin(number), *self.deltas(count, number), *self.end(number)]

    def call(self, number: int = 1) -> list[Json]:
        item = {"id": f"item_{number}", "type": "function_call", "call_id": "call_1", "name": "open"}
        whole = {**item, "arguments": '{"door": {"n": 1}}'}
        place = {"response_id": f"resp_{number}", "item_id": item["id"], "output_index": 0, "call_id": "call_1"}
        kind = "response.function_call_arguments"
        return [
            self.event("response.created", response=self.response(number)),
            self.event("response.output_item.added", response_id=f"resp_{number}", output_index=0, item=item),
            self.event(f"{kind}.delta", **place, delta='{"door": {"n"'),
            self.event(f"{kind}.delta", **place, delta=": 1}}"),
            self.event(f"{kind}.done", **place, name="open", arguments=whole["arguments"]),
            self.event("response.output_item.done", response_id=f"resp_{number}", output_index=0, item=whole),
            self.event("response.done", response=self.response(number, "completed", output=[whole])),
        ]

    def visit(self) -> list[Json]:
        """A whole short visit: a reply that is talked over, another, and a function call."""
        first = [self.words(), *self.begin(1), *self.deltas(3, 1), self.started(), *self.end(1, "cancelled")]
        return [self.created(), self.updated(), *first, self.words("item_v"), *self.reply(2), *self.call(3)]

    @staticmethod
    def _place(number: int) -> Json:
        return {"response_id": f"resp_{number}", "item_id": f"item_{number}", "output_index": 0, "content_index": 0}


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture(scope="session")
def new_script() -> type[Script]:
    return Script


@pytest.fixture(scope="session")
def probe() -> type[Probe]:
    return Probe
