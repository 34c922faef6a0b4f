"""The life of one response: its events in the order of the protocol, from `response.created` to `response.done`. Pure.

created → for each item: output_item.added → conversation.item.added → content_part.added → words, then sound → the
done events of the part → conversation.item.done → output_item.done → done. An item begins with its first word, so a
response that is cancelled before it has no output.
"""

from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

from pipeline.realtime.events import (
    AudioFormat,
    Failure,
    Item,
    Response,
    ResponseCreated,
    ResponseDone,
    StatusDetails,
    TokenDetails,
    Usage,
)
from pipeline.server.desk import Desk
from pipeline.server.engines.interfaces import Ask
from pipeline.server.items import count_tokens, pictures_of, text_of
from pipeline.server.output_items import CallOutput, MessageOutput, Place

MS_PER_INPUT_TOKEN: Final = 100
"""As the service counts sound: 600 tokens a minute in, 1,200 out."""
MS_PER_OUTPUT_TOKEN: Final = 50

Ending = Literal["completed", "cancelled", "incomplete", "failed"]


class ResponseLife:
    """One response under way.

    Args:
        desk: of its conversation.
        response: its public state, in_progress, its audio settings complete; without a conversation id out of band.
        reads: the items it answers, as they stand now.
        question: makes of them what the brain is asked.
        waits_for: ids of the users' items among them whose words are not known yet.

    Attributes:
        is_generating: the shell is at work for it.
        audio_ms: sound it has made.
    """

    def __init__(
        self,
        desk: Desk,
        response: Response,
        reads: Iterable[Item],
        question: Callable[[Iterable[Item]], Ask],
        waits_for: Iterable[str],
    ) -> None:
        self._desk = desk
        self.response = response
        self._reads = list(reads)
        self._of_conversation = {item.id for item in self._reads if desk.items.find(item.id or "") is not None}
        self._question = question
        self.waits_for = set(waits_for)
        self.is_generating = False
        self.audio_ms = 0.0
        assert response.audio is not None
        assert response.audio.output is not None
        audio_format = response.audio.output.format
        assert audio_format is not None
        self.spoken_as: AudioFormat | None = audio_format if response.output_modalities == ["audio"] else None
        session_audio = desk.session.audio
        assert session_audio is not None
        assert session_audio.output is not None
        self.speed: float = session_audio.output.speed or 1.0
        self._open: MessageOutput | CallOutput | None = None
        self._ended: list[Item] = []
        self._to_read = self._read = TokenDetails(text_tokens=0, audio_tokens=0)
        self._text_tokens = 0

    @property
    def id(self) -> str:
        """The response's id."""
        return self.response.id

    @property
    def in_conversation(self) -> bool:
        """Whether its items enter the conversation."""
        return self.response.conversation_id is not None

    @property
    def over_limit(self) -> bool:
        """It has used up `max_output_tokens`."""
        limit = self.response.max_output_tokens
        return isinstance(limit, int) and _sum(self._spent()) > limit

    @property
    def tokens(self) -> int:
        """What it has cost so far."""
        return _sum(self._read) + _sum(self._spent())

    def create(self) -> None:
        """The response begins."""
        self._desk.put(ResponseCreated(event_id=self._desk.event_id(), response=self.response))

    def read(self) -> Ask:
        """What the brain is asked, now that all words are known; what was deleted meanwhile is not in it."""
        items = [item for item in map(self._as_it_is_now, self._reads) if item is not None]
        self._to_read = _input_tokens(self._desk, items)
        return self._question(items)

    def _as_it_is_now(self, item: Item) -> Item | None:
        if item.id not in self._of_conversation:
            return item
        entry = self._desk.items.find(item.id or "")
        return None if entry is None else entry.item

    def words(self, text: str) -> None:
        """More of the answer's words, always ahead of their sound."""
        message = self._open
        if not isinstance(message, MessageOutput):
            message = MessageOutput(self._desk, self._next_place(), self.spoken_as)
            self._begin(message)
        self._text_tokens += count_tokens(text)
        self._desk.put(*message.words(text))

    def sound(self, sound: bytes) -> None:
        """More of the answer's sound, as it goes on the wire."""
        assert isinstance(self._open, MessageOutput), "words come ahead of sound"
        before_ms = self._open.audio_ms
        self._desk.put(*self._open.sound(sound))
        self.audio_ms += self._open.audio_ms - before_ms

    def call(self, name: str) -> None:
        """The answer calls a function."""
        self._begin(CallOutput(self._desk, self._next_place(), name))
        self._text_tokens += count_tokens(name)

    def arguments(self, text: str) -> None:
        """More of the last call's arguments."""
        assert isinstance(self._open, CallOutput), "a call begins before its arguments"
        self._text_tokens += count_tokens(text)
        self._desk.put(*self._open.arguments(text))

    def end(self, status: Ending, reason: str | None = None, error: Failure | None = None) -> None:
        """The response ends, however it ends; what it had begun is closed first."""
        self._close("completed" if status == "completed" else "incomplete")
        self.response = msgspec.structs.replace(
            self.response,
            status=status,
            status_details=StatusDetails(type=status, reason=reason, error=error),
            output=self._ended,
            usage=self._usage(),
        )
        self._desk.put(ResponseDone(event_id=self._desk.event_id(), response=self.response))

    def _close(self, status: str) -> None:
        if self._open is not None:
            self._desk.put(*self._open.end(status))
            self._ended.append(self._open.item)
            self._open = None

    def _begin(self, output: MessageOutput | CallOutput) -> None:
        self._open = output
        self._read = self._to_read  # a response without output has cost nothing
        self._desk.put(*output.begin())

    def _next_place(self) -> Place:
        """Where the next item goes, after the open one was closed."""
        self._close("completed")
        return Place(self.id, len(self._ended), self.in_conversation)

    def _spent(self) -> TokenDetails:
        return TokenDetails(text_tokens=self._text_tokens, audio_tokens=int(self.audio_ms / MS_PER_OUTPUT_TOKEN))

    def _usage(self) -> Usage:
        spent = self._spent()
        input_tokens, output_tokens = _sum(self._read), _sum(spent)
        return Usage(
            total_tokens=input_tokens + output_tokens,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            input_token_details=self._read,
            output_token_details=spent,
        )


def _input_tokens(desk: Desk, items: Iterable[Item]) -> TokenDetails:
    text_tokens = image_tokens = 0
    audio_ms = 0.0
    for item in items:
        entry = desk.items.find(item.id or "")
        text_tokens += count_tokens(text_of(item)) if entry is None else entry.text_tokens
        audio_ms += 0.0 if entry is None else entry.audio_ms
        image_tokens += len(pictures_of(item))  # nobody here can look at one: it counts as a thing, not by its size
    return TokenDetails(
        text_tokens=text_tokens, audio_tokens=int(audio_ms / MS_PER_INPUT_TOKEN), image_tokens=image_tokens or None
    )


def _sum(tokens: TokenDetails) -> int:
    return (tokens.text_tokens or 0) + (tokens.audio_tokens or 0) + (tokens.image_tokens or 0)
