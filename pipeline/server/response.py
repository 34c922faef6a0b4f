"""The life of one response: its events in the order of the protocol, from `response.created` to `response.done`. Pure.

created → for each item: output_item.added → conversation.item.added → content_part.added → words, then sound → the
done events of the part → conversation.item.done → output_item.done → done. An item begins with its first word, so a
response that is cancelled before it has no output.

A call of a tool server's tool is made at once, and when it is answered, the brain is asked again in the same response:
whoever has asked a question wants to hear the answer, not that a tool was called. Not so while a call waits for the
client, who gives its output or its approval and so begins the next response.
"""

from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple

import msgspec

from pipeline.realtime.events import (
    AudioFormat,
    Failure,
    Item,
    Json,
    Response,
    ResponseCreated,
    ResponseDone,
    StatusDetails,
    TokenDetails,
    ToolChoice,
    Usage,
)
from pipeline.server import work
from pipeline.server.approvals import Approvals, Approved
from pipeline.server.context import ask
from pipeline.server.desk import Desk
from pipeline.server.items import count_tokens, pictures_of, text_of
from pipeline.server.mcp_output_items import ApprovalOutput, McpCallOutput
from pipeline.server.output_items import CallOutput, MessageOutput, Place
from pipeline.server.toolbox import Toolbox

MS_PER_INPUT_TOKEN: Final = 100
"""As the service counts sound: 600 tokens a minute in, 1,200 out."""
MS_PER_OUTPUT_TOKEN: Final = 50

MAX_ROUNDS: Final = 8
"""How often the brain may call tools of tool servers before it has to answer without."""
CANCELLED: Final = {"type": "tool_execution_error", "message": "The response ended before the tool had answered."}

NOTHING: Final = TokenDetails(text_tokens=0, audio_tokens=0)

Ending = Literal["completed", "cancelled", "incomplete", "failed"]


Output = MessageOutput | CallOutput | McpCallOutput | ApprovalOutput


class Brief(NamedTuple):
    """How a response is to be answered; what may be called, is known when tool servers have told what they have."""

    instructions: str
    tool_choice: str | ToolChoice | None
    toolbox: Callable[[], Toolbox]


class ResponseLife:
    """One response under way.

    Args:
        desk: of its conversation.
        response: its public state, in_progress, its audio settings complete; without a conversation id out of band.
        reads: the items it answers, as they stand now.
        brief: how to answer them.
        waits_for: ids of the items that are not known yet: users' words, lists of tools.
        approvals: where it asks for one.

    Attributes:
        is_generating: brain and voice are at work for it.
        audio_ms: sound it has made.
    """

    def __init__(
        self,
        desk: Desk,
        response: Response,
        reads: Iterable[Item],
        brief: Brief,
        waits_for: Iterable[str],
        approvals: Approvals,
    ) -> None:
        self._desk = desk
        self.response = response
        self._reads = list(reads)
        self._of_conversation = {item.id for item in self._reads if desk.items.find(item.id or "") is not None}
        self._brief = brief
        self._approvals = approvals
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
        self._toolbox = Toolbox((), (), approvals=False)
        self._open: Output | None = None
        self._outputs: list[Output] = []
        self._calls: dict[str, McpCallOutput] = {}  # under way, by their items' ids
        self._rounds = 0
        self._is_answered = self._waits_for_client = False
        self._to_read = self._read = NOTHING
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
    def is_busy(self) -> bool:
        """Something has to become known before it can go on."""
        return bool(self.waits_for or self.is_generating or self._calls)

    @property
    def is_complete(self) -> bool:
        """Nothing is left for the brain to say."""
        return self._is_answered or self._waits_for_client

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

    def generate(self) -> None:
        """Ask the brain, now that everything is known; what was deleted meanwhile is not in the question."""
        self._toolbox = self._brief.toolbox()
        asked = [*self._reads, *(output.item for output in self._outputs)]
        if self.in_conversation:
            self._of_conversation |= {output.id for output in self._outputs}
        items = [item for item in map(self._as_it_is_now, asked) if item is not None]
        self._to_read = _input_tokens(self._desk, items)
        question = ask(
            items, instructions=self._brief.instructions, toolbox=self._toolbox, tool_choice=self._tool_choice()
        )
        self._rounds += 1
        self._is_answered = True  # unless a tool is called
        self.is_generating = True
        self._desk.put(work.Generate(self.id, question, self.spoken_as, self.speed))

    def _tool_choice(self) -> str | ToolChoice | None:
        """What has to be called is called first, if it was not approved before; at last there must be an answer."""
        if not self._outputs:
            return self._brief.tool_choice
        return "none" if self._rounds >= MAX_ROUNDS or self._brief.tool_choice == "none" else "auto"

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
        """The answer calls a function, or a tool of a tool server."""
        offer, place = self._toolbox.offer(name), self._next_place()
        if offer is None:
            self._waits_for_client = True
            self._begin(CallOutput(self._desk, place, name))
        elif offer.needs_approval:
            self._waits_for_client = True
            self._begin(ApprovalOutput(self._desk, place, offer))
        else:
            self._begin(McpCallOutput(self._desk, place, offer))
        self._text_tokens += count_tokens(name)

    def call_approved(self, approved: Approved) -> None:
        """Make a call that somebody has approved."""
        call = McpCallOutput(self._desk, self._next_place(), approved.offer, approved.request_id)
        self._begin(call)
        self._desk.put(*call.arguments(approved.arguments))
        self.pause()

    def answered(self, item_id: str, output: str) -> None:
        """A tool has answered."""
        self._desk.put(*self._calls.pop(item_id).succeed(output))
        self._is_answered = False

    def failed(self, item_id: str, error: Json) -> None:
        """A tool will not answer; the brain is told why."""
        self._desk.put(*self._calls.pop(item_id).fail(error))
        self._is_answered = False

    def arguments(self, text: str) -> None:
        """More of the last call's arguments."""
        assert self._open is not None, "a call begins before its arguments"
        assert not isinstance(self._open, MessageOutput), "a message has no arguments"
        self._text_tokens += count_tokens(text)
        self._desk.put(*self._open.arguments(text))

    def end(self, status: Ending, reason: str | None = None, error: Failure | None = None) -> None:
        """The response ends, however it ends; what it had begun is closed first."""
        self._close("completed" if status == "completed" else "incomplete")
        for item_id, call in self._calls.items():
            self._desk.put(work.StopCalling(item_id), *call.fail(CANCELLED))
        self.response = msgspec.structs.replace(
            self.response,
            status=status,
            status_details=StatusDetails(type=status, reason=reason, error=error),
            output=[output.item for output in self._outputs],
            usage=self._usage(),
        )
        self._desk.put(ResponseDone(event_id=self._desk.event_id(), response=self.response))

    def pause(self) -> None:
        """No more is coming for now: the open item is complete."""
        self._close("completed")

    def _close(self, status: str) -> None:
        match self._open:
            case McpCallOutput() as call if status == "completed":
                self._calls[call.id] = call
                self._desk.put(*call.run())
            case McpCallOutput() as call:
                self._desk.put(*call.fail(CANCELLED))
            case MessageOutput() | CallOutput() | ApprovalOutput() as output:
                self._desk.put(*output.end(status))
                if isinstance(output, ApprovalOutput) and status == "completed":
                    self._approvals.request(output.id, output.offer, output.text)
        self._open = None

    def _begin(self, output: Output) -> None:
        self._open = output
        self._outputs.append(output)
        self._read = _together(self._read, self._to_read)  # a response without output has cost nothing
        self._to_read = NOTHING
        self._desk.put(*output.begin())

    def _next_place(self) -> Place:
        """Where the next item goes, after the open one was closed."""
        self.pause()
        return Place(self.id, len(self._outputs), self.in_conversation)

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


def _together(one: TokenDetails, other: TokenDetails) -> TokenDetails:
    def both(name: str) -> int:
        return (getattr(one, name) or 0) + (getattr(other, name) or 0)

    return TokenDetails(
        text_tokens=both("text_tokens"), audio_tokens=both("audio_tokens"), image_tokens=both("image_tokens") or None
    )


def _sum(tokens: TokenDetails) -> int:
    return (tokens.text_tokens or 0) + (tokens.audio_tokens or 0) + (tokens.image_tokens or 0)
