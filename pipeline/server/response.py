"""The life of one response: its events in the order of the protocol, from `response.created` to `response.done`. Pure.

created → output_item.added → conversation.item.added → content_part.added → words, then sound → the done events of the
part → conversation.item.done → output_item.done → done. The item begins with the first word, so a response that is
cancelled before it has no output.
"""

import base64
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from pipeline.realtime.events import (
    AudioFormat,
    ContentPart,
    ConversationItemAdded,
    ConversationItemDone,
    ErrorBody,
    Item,
    Response,
    ResponseContentPartAdded,
    ResponseContentPartDone,
    ResponseCreated,
    ResponseDone,
    ResponseOutputAudioDelta,
    ResponseOutputAudioDone,
    ResponseOutputAudioTranscriptDelta,
    ResponseOutputAudioTranscriptDone,
    ResponseOutputItemAdded,
    ResponseOutputItemDone,
    ResponseOutputTextDelta,
    ResponseOutputTextDone,
    ServerEvent,
    StatusDetails,
    TokenDetails,
    Usage,
)
from pipeline.server.audio_format import bytes_per_ms
from pipeline.server.items import Items, count_tokens

DELTA_MS: Final = 200
"""Sound in one delta: small enough that the first is on its way at once, large enough that envelopes cost little."""
MS_PER_INPUT_TOKEN: Final = 100
"""As the service counts sound: 600 tokens a minute in, 1,200 out."""
MS_PER_OUTPUT_TOKEN: Final = 50

Ending = Literal["completed", "cancelled", "incomplete", "failed"]


class ResponseLife:
    """One response under way.

    Args:
        response: its public state, in_progress, its audio settings complete.
        item_id: id of the one item it will make.
        items: the conversation it writes into.
        new_id: makes ids from a prefix.
        waits_for: id of the user's item whose words it needs first.
    """

    def __init__(
        self, response: Response, item_id: str, items: Items, new_id: Callable[[str], str], waits_for: str | None
    ) -> None:
        self.response = response
        self.item_id = item_id
        self.waits_for = waits_for
        assert response.audio is not None
        assert response.audio.output is not None
        audio_format = response.audio.output.format
        assert audio_format is not None
        self._bytes_per_ms = bytes_per_ms(audio_format)
        self.spoken_as: AudioFormat | None = audio_format if response.output_modalities == ["audio"] else None
        self._items = items
        self._new_id = new_id
        self._words: str | None = None  # None until the item began
        self._audio_bytes = 0
        self._previous_item_id: str | None = None
        self._input = TokenDetails(text_tokens=0, audio_tokens=0)  # read when the answer begins, not before

    @property
    def id(self) -> str:
        """The response's id."""
        return self.response.id

    @property
    def over_limit(self) -> bool:
        """It has used up `max_output_tokens`."""
        limit = self.response.max_output_tokens
        return isinstance(limit, int) and _sum(self._spent()) > limit

    def created(self) -> list[ServerEvent]:
        """The response begins."""
        return [ResponseCreated(event_id=self._event_id(), response=self.response)]

    def words(self, text: str) -> list[ServerEvent]:
        """More of the answer's words, always ahead of their sound."""
        events = self._begin_item() if self._words is None else []
        self._words = (self._words or "") + text
        delta = ResponseOutputAudioTranscriptDelta if self.spoken_as else ResponseOutputTextDelta
        return [*events, delta(event_id=self._event_id(), delta=text, **self._place())]

    def sound(self, sound: bytes) -> list[ServerEvent]:
        """More of the answer's sound, as it goes on the wire."""
        assert self._words is not None, "words come ahead of sound"
        self._audio_bytes += len(sound)
        entry = self._items.find(self.item_id)
        if entry is not None:
            entry.audio_ms += len(sound) / self._bytes_per_ms
        size = DELTA_MS * self._bytes_per_ms
        return [
            ResponseOutputAudioDelta(
                event_id=self._event_id(),
                delta=base64.b64encode(sound[start : start + size]).decode("ascii"),
                **self._place(),
            )
            for start in range(0, len(sound), size)
        ]

    def done(self, status: Ending, reason: str | None = None, error: ErrorBody | None = None) -> list[ServerEvent]:
        """The response ends, however it ends; what it had begun is closed first."""
        events: list[ServerEvent] = []
        output: list[Item] = []
        if self._words is not None:
            item = self._item("completed" if status == "completed" else "incomplete")
            self._keep(item)
            events += self._end_item(item)
            output = [item]
        self.response = msgspec.structs.replace(
            self.response,
            status=status,
            status_details=StatusDetails(type=status, reason=reason, error=error),
            output=output,
            usage=self._usage(),
        )
        return [*events, ResponseDone(event_id=self._event_id(), response=self.response)]

    def _begin_item(self) -> list[ServerEvent]:
        item = Item(
            id=self.item_id, object="realtime.item", type="message", role="assistant", status="in_progress", content=[]
        )
        self._input = _input_usage(self._items)
        empty = ContentPart(type="output_audio" if self.spoken_as else "output_text")
        self._previous_item_id = self._items.append(msgspec.structs.replace(item, content=[empty]))
        part = ContentPart(type="audio", transcript="") if self.spoken_as else ContentPart(type="text", text="")
        return [
            ResponseOutputItemAdded(event_id=self._event_id(), response_id=self.id, output_index=0, item=item),
            ConversationItemAdded(event_id=self._event_id(), item=item, previous_item_id=self._previous_item_id),
            ResponseContentPartAdded(event_id=self._event_id(), part=part, **self._place()),
        ]

    def _end_item(self, item: Item) -> list[ServerEvent]:
        text = self._words or ""
        events: list[ServerEvent]
        if self.spoken_as:
            part = ContentPart(type="audio", transcript=text)
            events = [
                ResponseOutputAudioDone(event_id=self._event_id(), **self._place()),
                ResponseOutputAudioTranscriptDone(event_id=self._event_id(), transcript=text, **self._place()),
            ]
        else:
            part = ContentPart(type="text", text=text)
            events = [ResponseOutputTextDone(event_id=self._event_id(), text=text, **self._place())]
        return [
            *events,
            ResponseContentPartDone(event_id=self._event_id(), part=part, **self._place()),
            ConversationItemDone(event_id=self._event_id(), item=item, previous_item_id=self._previous_item_id),
            ResponseOutputItemDone(event_id=self._event_id(), response_id=self.id, output_index=0, item=item),
        ]

    def _item(self, status: str) -> Item:
        text = self._words or ""
        spoken = ContentPart(type="output_audio", transcript=text)
        content = [spoken if self.spoken_as else ContentPart(type="output_text", text=text)]
        return Item(
            id=self.item_id, object="realtime.item", type="message", role="assistant", status=status, content=content
        )

    def _keep(self, item: Item) -> None:
        entry = self._items.find(self.item_id)
        if entry is not None and not entry.truncated:  # else its words stay forgotten
            self._items.replace(item)

    def _spent(self) -> TokenDetails:
        heard_ms = self._audio_bytes / self._bytes_per_ms
        return TokenDetails(
            text_tokens=count_tokens(self._words or ""), audio_tokens=int(heard_ms / MS_PER_OUTPUT_TOKEN)
        )

    def _usage(self) -> Usage:
        read, spent = self._input, self._spent()
        input_tokens, output_tokens = _sum(read), _sum(spent)
        return Usage(
            total_tokens=input_tokens + output_tokens,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            input_token_details=read,
            output_token_details=spent,
        )

    def _place(self) -> dict[str, Any]:
        return {"response_id": self.id, "output_index": 0, "item_id": self.item_id, "content_index": 0}

    def _event_id(self) -> str:
        return self._new_id("event")


def _input_usage(items: Items) -> TokenDetails:
    audio_ms = sum(entry.audio_ms for entry in items)
    return TokenDetails(
        text_tokens=sum(entry.text_tokens for entry in items), audio_tokens=int(audio_ms / MS_PER_INPUT_TOKEN)
    )


def _sum(tokens: TokenDetails) -> int:
    return (tokens.text_tokens or 0) + (tokens.audio_tokens or 0)
