"""The responses of a conversation: one at a time writes into it, others may run beside it out of band. Pure."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from pipeline.realtime import events
from pipeline.realtime.codec import ClientEventError
from pipeline.server import work
from pipeline.server.approvals import Approvals
from pipeline.server.desk import Desk
from pipeline.server.new_item import referenced_items
from pipeline.server.rate_limit import RateLimit
from pipeline.server.response import Brief, Ending, ResponseLife
from pipeline.server.session_settings import response_audio
from pipeline.server.tool_servers import ToolServers
from pipeline.server.toolbox import Toolbox

MAX_OUT_OF_BAND: Final = 8
"""Responses beside the conversation's own; one more is refused."""


class Answers:
    """The responses under way.

    Args:
        desk: of the conversation.
        rate_limit: of its tokens.
        servers: the tool servers it may use.
        on_rest: called with the moment at which the sound of the conversation's own response will have been played,
            when that response is done.

    Attributes:
        spoke: the assistant has been heard, so its voice can no longer change.
        approvals: of calls of tool servers' tools.
        sounding_until_s: when the sound sent so far will have been played, if it began at once.
    """

    def __init__(
        self, desk: Desk, rate_limit: RateLimit, servers: ToolServers, *, on_rest: Callable[[float], None]
    ) -> None:
        self._desk = desk
        self._rate_limit = rate_limit
        self._on_rest = on_rest
        self._conversation_id = desk.new_id("conv")
        self._active: dict[str, ResponseLife] = {}
        self._servers = servers
        self.approvals = Approvals(desk.items)
        self.spoke = False
        self.sounding_until_s = 0.0

    @property
    def main(self) -> ResponseLife | None:
        """The one that writes into the conversation."""
        return next((response for response in self._active.values() if response.in_conversation), None)

    def create(self, params: events.ResponseParams, awaited: Iterable[str]) -> None:
        """Begin a response; it waits for the words of those `awaited` items that it has to read.

        Raises:
            ClientEventError: another one writes into the conversation, too many run beside it, or its input cannot be.
        """
        out_of_band = params.conversation == "none"
        if not out_of_band and self.main is not None:
            raise already_active(self.main)
        if out_of_band and len(self._active) - (self.main is not None) >= MAX_OUT_OF_BAND:
            message = f"At most {MAX_OUT_OF_BAND} responses may run out of band; wait until one is done."
            raise ClientEventError("rate_limit_exceeded", message, "response.conversation")
        reads = self._items(params)
        read_ids = {item.id for item in reads}
        session = self._desk.session
        tools = (session.tools if params.tools is None else params.tools) or []
        self._servers.ask(params.tools or ())
        response = events.Response(
            id=self._desk.new_id("resp"),
            status="in_progress",
            conversation_id=None if out_of_band else self._conversation_id,
            output_modalities=params.output_modalities or session.output_modalities,
            max_output_tokens=params.max_output_tokens or session.max_output_tokens,
            audio=response_audio(session, params),
            metadata=params.metadata,
        )
        brief = Brief(
            instructions=(session.instructions or "") if params.instructions is None else params.instructions,
            tool_choice=params.tool_choice or session.tool_choice,
            toolbox=partial(self._toolbox, tools, approvals=not out_of_band),
        )
        waits_for = self._servers.awaited(tools).union(each for each in awaited if each in read_ids)
        life = ResponseLife(self._desk, response, reads, brief, waits_for, self.approvals)
        self._active[life.id] = life
        life.create()
        if life.in_conversation:
            for approved in self.approvals.take_approved():
                life.call_approved(approved)
        self._go_on(life)

    def words_known(self, item_id: str) -> None:
        """The words of a user's item are there; who waited for them goes on."""
        for response in self._waiting_for(item_id):
            response.waits_for.discard(item_id)
            self._go_on(response)

    def words_lost(self, item_id: str, message: str) -> None:
        """The words of a user's item will never be known; who waited for them fails."""
        for response in self._waiting_for(item_id):
            self._fail(response, message, "server_error")

    def cancel(self, response_id: str | None) -> None:
        """The client cancels a response: the conversation's own, unless it names another.

        Raises:
            ClientEventError: there is no such response under way.
        """
        response = self.main if response_id is None else self._active.get(response_id)
        if response is None:
            raise ClientEventError("response_cancel_not_active", "Cancellation failed: no active response found")
        self._end(response, "cancelled", "client_cancelled")

    def interrupt(self) -> None:
        """Somebody talks over the conversation's own response."""
        self.sounding_until_s = self._desk.now  # a client stops its loudspeaker then
        if self.main is not None:
            self._end(self.main, "cancelled", "turn_detected")

    def tool_answered(self, result: work.ToolAnswered | work.ToolFailed) -> None:
        """A tool has answered or will not; nothing if the response was cancelled meanwhile."""
        response = self._active.get(result.response_id)
        if response is None:
            return
        match result:
            case work.ToolAnswered(_, item_id, output):
                response.answered(item_id, output)
            case work.ToolFailed(_, item_id, error):
                response.failed(item_id, error)
        self._go_on(response)

    def tools_known(self, result: work.ToolsListed | work.ListingFailed) -> None:
        """A tool server has told what it has, or will not; who waited for it goes on."""
        self._servers.settle(result)
        self.words_known(result.item_id)

    def take(self, result: work.Generation) -> None:
        """Go on with what brain and voice have made; nothing if the response was cancelled meanwhile."""
        response = self._active.get(result.response_id)
        if response is None:
            return
        match result:
            case work.GeneratedText(_, text):
                response.words(text)
            case work.GeneratedAudio(_, sound):
                self._sound(response, sound)
            case work.GeneratedCall(_, name):
                response.call(name)
            case work.GeneratedArguments(_, text):
                response.arguments(text)
            case work.GenerationEnded():
                response.is_generating = False
                response.pause()
                self._go_on(response)
            case work.GenerationFailed(_, message, code):
                response.is_generating = False
                self._fail(response, message, code)
        if response.id in self._active and response.over_limit:
            self._end(response, "incomplete", "max_output_tokens")

    def _sound(self, response: ResponseLife, sound: bytes) -> None:
        self.spoke = True
        before_ms = response.audio_ms
        response.sound(sound)
        begins_s = max(self._desk.now, self.sounding_until_s)
        self.sounding_until_s = begins_s + (response.audio_ms - before_ms) / 1000

    def _go_on(self, response: ResponseLife) -> None:
        """Ask the brain, ask it again when tools have answered, or end: whatever is next, if anything can be."""
        if response.is_busy:
            return
        if response.is_complete:
            self._end(response, "completed")
        elif wait_s := self._rate_limit.wait_s(self._desk.now):
            message = (
                f"Rate limit reached on tokens per min: limit {self._rate_limit.limit}. Try again in {wait_s:.1f}s."
            )
            self._fail(response, message, "rate_limit_exceeded")
        else:
            response.generate()

    def _toolbox(self, tools: Iterable[events.Tool], *, approvals: bool) -> Toolbox:
        """What a response may call; out of band nothing that needs an approval, for nobody would see the request."""
        functions = [tool for tool in tools if tool.type == "function"]
        return Toolbox(functions, self._servers.listed(tools), approvals=approvals)

    def _items(self, params: events.ResponseParams) -> list[events.Item]:
        """What a response reads: the conversation, or what its `input` names."""
        if params.input is None:
            return [entry.item for entry in self._desk.items]
        return referenced_items(params.input, self._desk.items)

    def _waiting_for(self, item_id: str) -> list[ResponseLife]:
        return [response for response in self._active.values() if item_id in response.waits_for]

    def _fail(self, response: ResponseLife, message: str, code: str) -> None:
        self._end(response, "failed", error=events.Failure(type=code, code=code, message=message))

    def _end(
        self, response: ResponseLife, status: Ending, reason: str | None = None, error: events.Failure | None = None
    ) -> None:
        if response.is_generating:
            self._desk.put(work.StopGenerating(response.id))
        del self._active[response.id]
        response.end(status, reason, error)
        self._rate_limit.spend(response.tokens, self._desk.now)
        self._tell_rate_limit()
        if response.in_conversation:
            self._on_rest(max(self._desk.now, self.sounding_until_s))

    def _tell_rate_limit(self) -> None:
        limit, now = self._rate_limit, self._desk.now
        left = events.RateLimit(
            name="tokens",
            limit=limit.limit,
            remaining=limit.remaining(now),
            reset_seconds=round(limit.reset_s(now), 3),
        )
        self._desk.put(events.RateLimitsUpdated(event_id=self._desk.event_id(), rate_limits=[left]))


def already_active(response: ResponseLife) -> ClientEventError:
    """Why a second response cannot write into the conversation."""
    message = (
        f"Conversation already has an active response in progress: {response.id}. "
        "Wait until the response is finished before creating a new one."
    )
    return ClientEventError("conversation_already_has_active_response", message)
