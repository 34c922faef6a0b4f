"""The beta's shape: flat sessions and older names, as Azure's preview and many compatible servers still speak it.

Source: API reference of the beta and its migration guide; `openai.types.beta.realtime`. What GA added has no beta name
and travels as it is.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from pipeline.realtime.codec import BETA_NAMES, ClientEventError
from pipeline.realtime.objects import Json

MODALITIES: Final = ["text", "audio"]
"""What the beta calls a spoken answer: its words come with it."""
DEFAULT_TEMPERATURE: Final = 0.8
"""GA has none; the beta shows one."""

_FORMATS: Mapping[str, Json] = {
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_FORMAT_NAMES = {str(audio_format["type"]): name for name, audio_format in _FORMATS.items()}

_Path = tuple[str, ...]
_SESSION: Mapping[str, _Path] = {
    "modalities": ("output_modalities",),
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
    "input_audio_format": ("audio", "input", "format"),
    "output_audio_format": ("audio", "output", "format"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "max_response_output_tokens": ("max_output_tokens",),
    **{name: (name,) for name in ("model", "instructions", "tools", "tool_choice", "tracing")},
}
_TRANSCRIPTION: Mapping[str, _Path] = {
    **{name: _SESSION[name] for name in ("input_audio_format", "input_audio_transcription")},
    **{name: _SESSION[name] for name in ("input_audio_noise_reduction", "turn_detection")},
    "include": ("include",),
}
_RESPONSE: Mapping[str, _Path] = {
    **{name: _SESSION[name] for name in ("modalities", "voice", "output_audio_format", "max_response_output_tokens")},
    **{name: (name,) for name in ("conversation", "metadata", "input", "instructions", "tools", "tool_choice")},
}
_WITHOUT_EFFECT = frozenset({"temperature", "client_secret"})
"""GA has no temperature; what a secret says about its expiry is the business of REST."""
_PART_TYPES = {"output_text": "text", "output_audio": "audio"}
_RENAMED = BETA_NAMES | {"conversation.item.added": "conversation.item.created"}
_NEVER_SAID = frozenset({"conversation.item.done"})


class BetaShape:
    """One connection in the beta's shape."""

    def __init__(self) -> None:
        self._temperature: Any = DEFAULT_TEMPERATURE
        self._conversation_id = ""

    def to_ga(self, event: Json) -> Json:
        """A client event in GA's shape.

        Raises:
            ClientEventError: a field that the beta does not have, such as those of GA.
        """
        match event:
            case {"type": "session.update", "session": dict(session)}:
                self._temperature = session.get("temperature", self._temperature)
                return {**event, "session": session_to_ga(session, "realtime")}
            case {"type": "transcription_session.update", "session": dict(session)}:
                return {**event, "type": "session.update", "session": session_to_ga(session, "transcription")}
            case {"type": "response.create", "response": dict(response)}:
                moved = _to_ga(response, _RESPONSE, "response")
                if isinstance(moved.get("input"), list):
                    moved["input"] = [_item_to_ga(item) for item in moved["input"]]
                return {**event, "response": moved}
            case {"type": "conversation.item.create", "item": item}:
                return {**event, "item": _item_to_ga(item)}
        return event

    def from_ga(self, event: Json) -> list[Json]:
        """What a server of the beta says instead of this event: one or two events, or none."""
        kind = event["type"]
        if kind in _NEVER_SAID:
            return []
        said = {**event, "type": _RENAMED.get(kind, kind)}
        if "session" in said:
            return self._about_session(said)
        if "response" in said:
            said["response"] = self._response(said["response"])
        if "item" in said:
            said["item"] = _item_from_ga(said["item"])
        if kind == "error":
            said["error"] = _error(said["error"])
        if kind == "response.function_call_arguments.done":
            said.pop("name", None)
        return [said]

    def _about_session(self, event: Json) -> list[Json]:
        session = event["session"]
        flat = session_from_ga(session)
        if session.get("type") == "transcription":
            return [{**event, "type": f"transcription_{event['type']}", "session": flat}]
        said = [{**event, "session": flat | {"temperature": self._temperature}}]
        if event["type"] == "session.created":
            self._conversation_id = f"conv_{session['id'].removeprefix('sess_')}"
            conversation = {"id": self._conversation_id, "object": "realtime.conversation"}
            event_id = f"{event['event_id']}_conversation"
            said.append({"type": "conversation.created", "event_id": event_id, "conversation": conversation})
        return said

    def _response(self, response: Json) -> Json:
        flat = {name: value for name, value in response.items() if name not in {"audio", "output_modalities"}}
        flat |= _flat(response, {name: _RESPONSE[name] for name in ("modalities", "voice", "output_audio_format")})
        flat["output"] = [_item_from_ga(item) for item in response["output"]]
        flat["temperature"] = self._temperature
        if response["conversation_id"] is not None:
            flat["conversation_id"] = self._conversation_id
        return flat


def session_to_ga(flat: Json, kind: Literal["realtime", "transcription"]) -> Json:
    """A flat session in GA's shape.

    Raises:
        ClientEventError: a field that the beta does not have; its path begins with `session`.
    """
    if kind == "transcription":
        flat = {name: value for name, value in flat.items() if name != "modalities"}  # it answers nothing
        return {"type": kind, **_to_ga(flat, _TRANSCRIPTION, "session")}
    return {"type": kind, **_to_ga(flat, _SESSION, "session")}


def session_from_ga(session: Json) -> Json:
    """A session of GA's, flat. The beta's temperature is not in it."""
    flat = {name: value for name in ("id", "object", "expires_at") if (value := session.get(name)) is not None}
    return flat | _flat(session, _TRANSCRIPTION if session.get("type") == "transcription" else _SESSION)


def flat_refusal(refused: ClientEventError) -> ClientEventError:
    """The same refusal with the names that the beta's client wrote."""
    told = _error({"param": refused.param, "message": refused.message})
    return ClientEventError(refused.code, told["message"], told["param"], refused.event_id)


def _to_ga(flat: Json, places: Mapping[str, _Path], what: str) -> Json:
    """Put every field where GA has it."""
    moved: Json = {}
    for name, value in flat.items():
        if name in _WITHOUT_EFFECT:
            continue
        if name not in places:
            raise ClientEventError("unknown_parameter", f"Unknown parameter: '{what}.{name}'.", f"{what}.{name}")
        table, path = moved, places[name]
        for step in path[:-1]:
            table = table.setdefault(step, {})
        table[path[-1]] = _VALUES_TO_GA.get(name, _same)(value, f"{what}.{name}")
    return moved


def _flat(nested: Json, places: Mapping[str, _Path]) -> Json:
    """Fetch every field from where GA has it; one that is not there is left out."""
    flat: Json = {}
    for name, path in places.items():
        value: Any = nested
        for step in path:
            value = value.get(step, _ABSENT) if isinstance(value, dict) else _ABSENT
        if value is not _ABSENT:
            flat[name] = _VALUES_FROM_GA.get(name, lambda same: same)(value)
    return flat


_ABSENT = object()


def _same(value: Any, _param: str) -> Any:
    return value


def _modalities_to_ga(value: Any, _param: str) -> Any:
    return ["audio"] if isinstance(value, list) and "audio" in value else value


def _format_to_ga(value: Any, param: str) -> Any:
    if not isinstance(value, str) or value not in _FORMATS:
        kinds = ", ".join(f"'{name}'" for name in _FORMATS)
        raise ClientEventError("invalid_value", f"Invalid value: '{param}'. Supported values are: {kinds}.", param)
    return _FORMATS[value]


_VALUES_TO_GA: Mapping[str, Callable[[Any, str], Any]] = {
    "modalities": _modalities_to_ga,
    "input_audio_format": _format_to_ga,
    "output_audio_format": _format_to_ga,
}
_VALUES_FROM_GA: Mapping[str, Callable[[Any], Any]] = {
    "modalities": lambda value: MODALITIES if value == ["audio"] else value,
    "input_audio_format": lambda value: value and _FORMAT_NAMES.get(value["type"], value["type"]),
    "output_audio_format": lambda value: value and _FORMAT_NAMES.get(value["type"], value["type"]),
}


def _item_to_ga(item: Any) -> Any:
    return _respelt(item, {short: long for long, short in _PART_TYPES.items()})


def _item_from_ga(item: Any) -> Any:
    return _respelt(item, _PART_TYPES)


def _respelt(item: Any, names: Mapping[str, str]) -> Any:
    """The item with the types of its content parts in the other spelling."""
    if not isinstance(item, dict) or not isinstance(item.get("content"), list):
        return item
    content = [
        {**part, "type": names[part["type"]]} if isinstance(part, dict) and part.get("type") in names else part
        for part in item["content"]
    ]
    return {**item, "content": content}


def _error(error: Json) -> Json:
    """The error with the names that the client knows for the fields it is about."""
    told = dict(error)
    for what, places in (("session", _SESSION), ("response", _RESPONSE)):
        for name, path in places.items():
            there = ".".join((what, *path))
            for field in ("param", "message"):
                if isinstance(told.get(field), str):
                    told[field] = told[field].replace(there, f"{what}.{name}")
    return told
