"""The items a response makes, one at a time: a message that is spoken or written, or a function call. Pure.

What it makes of the tools of tool servers is in `mcp_output_items.py`.

Each begins, grows by deltas, and ends with the events that close it, in the order of the protocol. An item of the
conversation is told there as well (`conversation.item.added` and `.done`); one that is out of band is not.
"""

import base64
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from pipeline.realtime.events import (
    AudioFormat,
    ContentPart,
    ConversationItemAdded,
    ConversationItemDone,
    Item,
    ResponseContentPartAdded,
    ResponseContentPartDone,
    ResponseFunctionCallArgumentsDelta,
    ResponseFunctionCallArgumentsDone,
    ResponseOutputAudioDelta,
    ResponseOutputAudioDone,
    ResponseOutputAudioTranscriptDelta,
    ResponseOutputAudioTranscriptDone,
    ResponseOutputItemAdded,
    ResponseOutputItemDone,
    ResponseOutputTextDelta,
    ResponseOutputTextDone,
    ServerEvent,
)
from pipeline.server.audio_format import bytes_per_ms
from pipeline.server.desk import Desk

DELTA_MS: Final = 200
"""Sound in one delta: small enough that the first is on its way at once, large enough that envelopes cost little."""


class Place(NamedTuple):
    """Where an item stands: in which response, as which of its outputs, and whether in the conversation too."""

    response_id: str
    output_index: int
    in_conversation: bool


class OutputItem:
    """What all kinds share."""

    def __init__(self, desk: Desk, place: Place, item: Item) -> None:
        self._desk = desk
        self._place = place
        self.item = item
        self._previous_item_id: str | None = None

    @property
    def id(self) -> str:
        """The item's id."""
        assert self.item.id
        return self.item.id

    def _begin(self, kept: Item) -> Iterator[ServerEvent]:
        """Announce the item; `kept` is what the conversation has of it meanwhile."""
        yield ResponseOutputItemAdded(item=self.item, **self._output())
        if self._place.in_conversation:
            self._previous_item_id = self._desk.items.append(kept)
            yield ConversationItemAdded(
                event_id=self._desk.event_id(), item=self.item, previous_item_id=self._previous_item_id
            )

    def _end(self, item: Item) -> Iterator[ServerEvent]:
        self.item = item
        if self._place.in_conversation:
            entry = self._desk.items.find(self.id)
            if entry is not None and not entry.truncated:  # else its words stay forgotten
                self._desk.items.replace(item)
            yield ConversationItemDone(
                event_id=self._desk.event_id(), item=item, previous_item_id=self._previous_item_id
            )
        yield ResponseOutputItemDone(item=item, **self._output())

    def _output(self) -> dict[str, Any]:
        return {
            "event_id": self._desk.event_id(),
            "response_id": self._place.response_id,
            "output_index": self._place.output_index,
        }

    def _part(self) -> dict[str, Any]:
        return {**self._output(), "item_id": self.id}


class MessageOutput(OutputItem):
    """A message of the assistant: words, and their sound if there is a format for it."""

    def __init__(self, desk: Desk, place: Place, spoken_as: AudioFormat | None) -> None:
        item = Item(
            id=desk.item_id(),
            object="realtime.item",
            type="message",
            role="assistant",
            status="in_progress",
            content=[],
        )
        super().__init__(desk, place, item)
        self._spoken_as = spoken_as
        self.text = ""
        self.audio_ms = 0.0

    def begin(self) -> Iterator[ServerEvent]:
        """The item and its one part."""
        kind = "output_audio" if self._spoken_as else "output_text"
        yield from self._begin(msgspec.structs.replace(self.item, content=[ContentPart(type=kind)]))
        part = ContentPart(type="audio", transcript="") if self._spoken_as else ContentPart(type="text", text="")
        yield ResponseContentPartAdded(part=part, **self._content())

    def words(self, text: str) -> Iterator[ServerEvent]:
        """More words, ahead of their sound."""
        self.text += text
        delta = ResponseOutputAudioTranscriptDelta if self._spoken_as else ResponseOutputTextDelta
        yield delta(delta=text, **self._content())

    def sound(self, sound: bytes) -> Iterator[ServerEvent]:
        """More sound, as it goes on the wire."""
        assert self._spoken_as is not None, "a written message has no sound"
        per_ms = bytes_per_ms(self._spoken_as)
        self.audio_ms += len(sound) / per_ms
        if self._place.in_conversation:
            self._desk.items.add_sound(self.id, sound, per_ms)
        for start in range(0, len(sound), DELTA_MS * per_ms):
            piece = sound[start : start + DELTA_MS * per_ms]
            yield ResponseOutputAudioDelta(delta=base64.b64encode(piece).decode("ascii"), **self._content())

    def end(self, status: str) -> Iterator[ServerEvent]:
        """Close part and item."""
        if self._spoken_as:
            part = ContentPart(type="audio", transcript=self.text)
            kept = ContentPart(type="output_audio", transcript=self.text)
            yield ResponseOutputAudioDone(**self._content())
            yield ResponseOutputAudioTranscriptDone(transcript=self.text, **self._content())
        else:
            part = ContentPart(type="text", text=self.text)
            kept = ContentPart(type="output_text", text=self.text)
            yield ResponseOutputTextDone(text=self.text, **self._content())
        yield ResponseContentPartDone(part=part, **self._content())
        yield from self._end(msgspec.structs.replace(self.item, status=status, content=[kept]))

    def _content(self) -> dict[str, Any]:
        return {**self._part(), "content_index": 0}


class CallOutput(OutputItem):
    """A function call; `text` are its arguments."""

    audio_ms = 0.0

    def __init__(self, desk: Desk, place: Place, name: str) -> None:
        self._call_id = desk.new_id("call")
        self._name = name
        self.text = ""
        item = Item(
            id=desk.item_id(),
            object="realtime.item",
            type="function_call",
            status="in_progress",
            call_id=self._call_id,
            name=name,
            arguments="",
        )
        super().__init__(desk, place, item)

    def begin(self) -> Iterator[ServerEvent]:
        """The item."""
        yield from self._begin(self.item)

    def arguments(self, text: str) -> Iterator[ServerEvent]:
        """More of the arguments' JSON text."""
        self.text += text
        yield ResponseFunctionCallArgumentsDelta(delta=text, call_id=self._call_id, **self._part())

    def end(self, status: str) -> Iterator[ServerEvent]:
        """Close arguments and item; an incomplete call must not be run by anybody."""
        yield ResponseFunctionCallArgumentsDone(
            arguments=self.text, name=self._name, call_id=self._call_id, **self._part()
        )
        yield from self._end(msgspec.structs.replace(self.item, status=status, arguments=self.text))
