"""Faults of how events are written: repeated, unknown, incomplete, in older names, or no events at all."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

import msgspec

from pipeline.realtime.codec import BETA_NAMES
from pipeline.realtime.events import Json
from pipeline.server.faults.schema import Effect, Fault, Here, Move, Say, nothing, when_said

OPTIONAL: Final = frozenset(
    {
        "rate_limits.updated",
        "response.content_part.added",
        "response.content_part.done",
        "conversation.item.done",
    }
)
"""Events that some services leave out."""


class DuplicateEvent(Fault, frozen=True, kw_only=True, tag="duplicate_event"):
    """An event comes twice, with the same `event_id`: every kind, or only `event`.

    Client: does nothing twice; a tool runs once for each `call_id`.
    """

    event: str = ""

    def said(self, here: Here) -> Effect:
        """Once more."""

        def repeat(event: Json) -> Iterator[Move]:
            yield Say(event)
            if self.event in {"", event["type"]} and here.strikes():
                yield Say(event)

        return repeat


class UnknownEventFault(Fault, frozen=True, kw_only=True, tag="unknown_event"):
    """An event of a kind nobody knows comes before the real one.

    Client: ignores it.
    """

    event: str = "future.event"

    def said(self, here: Here) -> Effect:
        """One more event."""

        def foretell(event: Json) -> Iterator[Move]:
            if here.strikes():
                yield Say({"type": self.event, "event_id": here.scene.new_id(), "future": {"is": ["unwritten"]}})
            yield Say(event)

        return foretell


class ExtraFields(Fault, frozen=True, kw_only=True, tag="extra_fields"):
    """Events hold fields nobody knows, and null for `previous_item_id`.

    Client: ignores them.
    """

    def said(self, here: Here) -> Effect:
        """In every event."""

        def add(event: Json) -> Iterator[Move]:
            if here.strikes():
                event = {**event, "obfuscation": "aGVq", "future": {"field": [1, None]}}
                if "previous_item_id" in event:
                    event["previous_item_id"] = None
            yield Say(event)

        return add


class MissingEvents(Fault, frozen=True, kw_only=True, tag="missing_events"):
    """`rate_limits.updated`, `response.content_part.*` and `conversation.item.done` never come.

    Client: works without them.
    """

    def said(self, here: Here) -> Effect:
        """They are swallowed."""
        return when_said(OPTIONAL, here, nothing)


class BetaNames(Fault, frozen=True, kw_only=True, tag="beta_names"):
    """Events of a reply have the names of the beta protocol: `response.audio.delta` and its kin.

    Client: understands them, or says clearly that it does not.
    """

    def said(self, here: Here) -> Effect:
        """Only the name differs."""

        def rename(event: Json) -> Iterable[Move]:
            return (Say({**event, "type": BETA_NAMES[event["type"]]}),)

        return when_said(frozenset(BETA_NAMES), here, rename)


class PartTypes(Fault, frozen=True, kw_only=True, tag="part_types"):
    """Content parts have the other spelling: `text` and `audio` (short), or `output_text` and `output_audio` (long).

    Client: understands both, everywhere.
    """

    spelling: Literal["short", "long"] = "short"

    def said(self, here: Here) -> Effect:
        """In items and in parts."""
        names = {"output_text": "text", "output_audio": "audio"}
        if self.spelling == "long":
            names = {short: long for long, short in names.items()}

        def respell(value: Any) -> Any:
            if isinstance(value, list):
                return [respell(inner) for inner in value]
            if not isinstance(value, dict):
                return value
            spelt = {name: respell(inner) for name, inner in value.items()}
            return {**spelt, "type": names.get(spelt["type"], spelt["type"])} if "type" in spelt else spelt

        def rewrite(event: Json) -> Iterator[Move]:
            concerned = "item" in event or "part" in event or event["type"] == "response.done"
            yield Say(respell(event) if concerned and here.strikes() else event)

        return rewrite


class MalformedJson(Fault, frozen=True, kw_only=True, tag="malformed_json"):
    """A text frame that is not JSON, the first half of an event, comes before the whole event.

    Client: logs it and goes on.
    """

    def said(self, here: Here) -> Effect:
        """One more frame."""

        def break_off(event: Json) -> Iterator[Move]:
            if here.strikes():
                text = msgspec.json.encode(event).decode()
                yield Say(text[: len(text) // 2])
            yield Say(event)

        return break_off


class BinaryFrame(Fault, frozen=True, kw_only=True, tag="binary_frame"):
    """A binary frame comes before an event; the protocol has none.

    Client: logs it and goes on.
    """

    def said(self, here: Here) -> Effect:
        """One more frame."""

        def add(event: Json) -> Iterator[Move]:
            if here.strikes():
                yield Say(here.dice.randbytes(32))
            yield Say(event)

        return add
