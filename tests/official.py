"""The official client's types, held strictly against everything our server says.

The client itself is lenient: it takes unknown types, missing fields and extra ones without a word. Here each of these
is a flaw, and so is an event that does not travel on a WebSocket.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pydantic
import pytest
from openai.types.realtime import RealtimeServerEvent, RealtimeSessionCreateResponse
from openai.types.realtime.realtime_transcription_session_create_response import (
    RealtimeTranscriptionSessionCreateResponse,
)

from pipeline.realtime.codec import encode
from pipeline.realtime.events import Event, ServerEvent
from pipeline.server import app

GA_EVENTS = json.loads((Path(__file__).parent / "realtime" / "ga_events.json").read_text(encoding="utf-8"))
REQUIRED: dict[str, list[str]] = {fact["name"]: fact["required"] for fact in GA_EVENTS if fact["direction"] == "server"}
CLASSES: dict[str, type[pydantic.BaseModel]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(RealtimeServerEvent)[0])
}
WRITERS = (app.__name__.removesuffix(".app"), "tests.server.")
"""Who writes server events: the server, and the benches of its tests. Other tests play services that may err."""
OF_A_RUNNING_SESSION = ("id", "object", "expires_at")
"""Fields of a session that the client's types know in the answer of REST, and not in the events that carry them too."""


def flaw_of(message: str) -> str | None:
    """What the official types find wrong with a message of the server, None if nothing."""
    event = json.loads(message)
    kind = event.get("type")
    if kind not in REQUIRED:
        return f"{kind} is no event of a WebSocket"
    if missing := [name for name in REQUIRED[kind] if event.get(name) is None]:
        return f"{kind} lacks {missing}"
    try:
        if kind in {"session.created", "session.updated"}:
            event["session"] = _settings_of(event["session"])
        _check(CLASSES[kind], event)
    except pydantic.ValidationError as flaws:
        return f"{kind}: {flaws}"
    return None


@contextmanager
def recorded_events() -> Iterator[list[str]]:
    """Every message that our server writes in this process meanwhile, its pure conversation on a bench included.

    They are kept and not checked on the spot, because a server swallows what is raised inside it.
    """
    messages: list[str] = []

    def recording(event: Event) -> str:
        message = encode(event)
        if isinstance(event, get_args(ServerEvent)):
            messages.append(message)
        return message

    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith(WRITERS) and getattr(module, "encode", None) is encode:
                patch.setattr(module, "encode", recording)
        yield messages


def refuse_flaws(messages: list[str]) -> None:
    """Fail if the official types find something wrong with one of these messages of the server."""
    flaws = [flaw for message in messages if (flaw := flaw_of(message))]
    assert not flaws, "the official client does not know what the server says:\n" + "\n".join(flaws)


def _settings_of(session: dict[str, Any]) -> dict[str, Any]:
    """The settings that the event's own type knows, after the rest of the session was checked."""
    created = (
        RealtimeTranscriptionSessionCreateResponse
        if session.get("type") == "transcription"
        else RealtimeSessionCreateResponse
    )
    _check(created, {name: session[name] for name in (*OF_A_RUNNING_SESSION, "type") if name in session})
    return {name: value for name, value in session.items() if name not in OF_A_RUNNING_SESSION}


def _check(kind: type[pydantic.BaseModel], fields: dict[str, Any]) -> None:
    kind.model_validate_json(json.dumps(fields), strict=True, extra="forbid")
