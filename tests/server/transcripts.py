"""Whole sessions as lines of JSON, and how they are played again. What a line says, `golden/README.md` tells."""

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from msgspec import structs

from pipeline.realtime.codec import ClientEventError, decode_client, encode
from pipeline.realtime.events import Event
from pipeline.server import work
from pipeline.server.conversation import Conversation
from pipeline.server.desk import Output
from pipeline.server.session_settings import default_session, default_transcription_session

Line = dict[str, Any]
CAP_S = 3_600.0
SESSIONS = {"realtime": lambda: default_session("model", "heart"), "transcription": default_transcription_session}
_FREE = {"metadata", "parameters", "require_approval"}
_FREE_TYPES = {"http_error", "protocol_error", "tool_execution_error"}
_ID = re.compile(r"\b(event|item|resp|conv|call)_\d+\b")
_SOUND = re.compile(r"<(\d+) bytes, ([0-9a-f]{8})>")


def read(path: Path) -> list[Line]:
    """The lines of a transcript."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, lines: Iterable[Line]) -> None:
    """Keep a transcript."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def replayed(transcript: Iterable[Line]) -> list[Line]:
    """The session again: what client and engines did is played, what the server says to it is new."""
    inputs = [line for line in transcript if "server" not in line]
    play = _Play(inputs[0]["session"])
    lines = [inputs[0], *play.said(play.conversation.open(0.0))]
    for line in inputs[1:]:
        lines += [line, *play.said(play.do(line))]
    return lines


def truncated(transcript: list[Line]) -> list[Line]:
    """The first two thirds: the line was cut in the middle of something."""
    return transcript[: len(transcript) * 2 // 3]


def with_unknowns(transcript: list[Line]) -> list[Line]:
    """As a newer service would have said it: events nobody knows, fields nobody knows, and null where nothing is."""
    lines: list[Line] = []
    for number, line in enumerate(transcript):
        if "type" not in line.get("server", {}):  # what the client says, and how the server closes
            lines.append(line)
            continue
        strange = {"obfuscation": "x" * (number % 7), "future_field": {"depth": [number]}}
        lines.append({"server": {**_stranger(line["server"]), **strange}})
        if number % 5 == 0:
            unknown = {"type": f"future.event_{number % 3}", "event_id": f"event_future_{number}", "item": None}
            lines.append({"server": unknown})
    return lines


class _Play:
    """One conversation on the bench, with ids as they are in the transcript: numbered in the order they are told."""

    def __init__(self, kind: str) -> None:
        numbers = itertools.count(1)
        session = structs.replace(SESSIONS[kind](), id="sess_1", expires_at=int(CAP_S))
        self.conversation = Conversation(
            session, lambda prefix: f"{prefix}_{next(numbers)}", expires_s=CAP_S, cap_s=CAP_S, tokens_per_minute=10**6
        )
        self._now = 0.0
        self._names: dict[str, str] = {}  # of ids as they are in this play

    def do(self, line: Line) -> list[Output]:
        match line:
            case {"client": event}:
                return self._receive(json.dumps(self._actual(with_sound(event))))
            case {"engines": result}:
                ((name, fields),) = self._actual(result).items()
                if "sound" in fields:
                    fields["sound"] = base64.b64decode(_sound_of(fields["sound"]))
                return self.conversation.work_done(getattr(work, name)(**fields), self._now)
            case {"wait_s": seconds}:
                self._now += seconds
                assert self._now >= self.conversation.next_deadline_s(), "a wait ends at a deadline"
                return self.conversation.work_done(work.Tick(), self._now)
        raise AssertionError(f"no line of a transcript: {line}")

    def said(self, outputs: list[Output]) -> Iterator[Line]:
        """The server's part of this, as lines."""
        for output in outputs:
            if isinstance(output, Event):
                yield {"server": self._named(without_sound(json.loads(encode(output))))}
            elif isinstance(output, work.Hangup):
                yield {"server": {"close": output.code, "reason": output.reason}}

    def _receive(self, message: str) -> list[Output]:
        try:
            return self.conversation.receive(decode_client(message), self._now)
        except ClientEventError as refused:
            return self.conversation.refuse(refused)

    def _named(self, event: Any) -> Any:
        def name(found: re.Match[str]) -> str:
            prefix = found[1]
            taken = sum(each.startswith(f"{prefix}_") for each in self._names.values())
            return self._names.setdefault(found[0], f"{prefix}_{taken + 1}")

        return json.loads(_ID.sub(name, json.dumps(event)))

    def _actual(self, event: Any) -> Any:
        actual = {name: actual for actual, name in self._names.items()}
        return json.loads(_ID.sub(lambda found: actual.get(found[0], found[0]), json.dumps(event)))


def without_sound(event: Any) -> Any:
    """The event with every sound as its length and the beginning of its hash."""
    return _sounds_mapped(event, _described)


def with_sound(event: Any) -> Any:
    """The event with every sound that was described made again: it is silence."""
    return _sounds_mapped(event, _sound_of)


def _sounds_mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [_sounds_mapped(each, change) for each in value]
    if not isinstance(value, dict):
        return value
    sounds = {"audio", "delta"} if value.get("type") == "response.output_audio.delta" else {"audio"}
    return {
        name: change(inner) if name in sounds and isinstance(inner, str) else _sounds_mapped(inner, change)
        for name, inner in value.items()
    }


def _described(audio: str) -> str:
    sound = base64.b64decode(audio)
    return f"<{len(sound)} bytes, {hashlib.sha256(sound).hexdigest()[:8]}>"


def _sound_of(described: str) -> str:
    if not (found := _SOUND.fullmatch(described)):
        return described  # what a client sends may be no sound at all
    audio = base64.b64encode(bytes(int(found[1]))).decode()
    assert _described(audio) == described, "only silence can be made again"
    return audio


def _stranger(event: Any) -> Any:
    """Every object inside with one more field, which is null; what is the user's own stays as it is."""
    if isinstance(event, list):
        return [_stranger(each) for each in event]
    if isinstance(event, dict):
        if "input_schema" in event or event.get("type") in _FREE_TYPES:  # a tool server's own
            return event
        known = {name: inner if name in _FREE else _stranger(inner) for name, inner in event.items()}
        return {**known, "future": None}
    return event
