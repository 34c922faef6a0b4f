"""Faults of a reply as a whole: it stalls, fails, stops half-way, goes on after its end, or calls a function wrongly.

Where a fault ends a reply it cancels the response at the server and rewrites what this says about it, so that both
sides of the conversation stay of one mind.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from pipeline.realtime.events import Json
from pipeline.server.faults.refusals import already_active
from pipeline.server.faults.schema import (
    FAULT_EVENT_ID,
    Ask,
    Effect,
    Fault,
    Here,
    Milliseconds,
    Move,
    Say,
)

SOUND: Final = "response.output_audio.delta"
DONE: Final = "response.done"
CANCEL_EVENT_ID: Final = f"{FAULT_EVENT_ID}cancel"
"""Of a fault's own `response.cancel`: should it be answered with an error, that is nobody's business."""


class StalledResponse(Fault, frozen=True, kw_only=True, tag="stalled_response"):
    """`response.created`, or so much sound, then nothing of that response until it is cancelled, by client or speech.

    Client: notices by a watchdog, cancels and tries again.
    """

    after_audio_ms: Milliseconds = 0.0

    def said(self, here: Here) -> Effect:
        """Only the beginning passes; the end is kept until somebody asks for it."""
        passed_ms: dict[str, float] = {}  # of the responses that go on

        def stall(event: Json) -> Iterator[Move]:
            kind = event["type"]
            response_id = here.scene.response_of(event)
            if response_id is None or not here.strikes_response(event):
                yield Say(event)
            elif kind == "response.created" or response_id in passed_ms:
                yield Say(event)
                heard_ms = passed_ms.pop(response_id, 0.0) + (here.scene.delta_ms(event) if kind == SOUND else 0.0)
                if heard_ms >= self.after_audio_ms:
                    here.kept[response_id] = []
                    yield _cancel(response_id)
                elif kind != DONE:
                    passed_ms[response_id] = heard_ms
            elif kind == DONE and event["response"]["id"] in here.kept:
                here.kept[event["response"]["id"]] = [event]
            elif kind == DONE:  # it was asked for before the server had it
                yield Say(event)
            if kind == "input_audio_buffer.speech_started" and here.kept:
                for done in here.kept.pop(next(iter(here.kept))):
                    yield Say(_ended(done, "cancelled", {"type": "cancelled", "reason": "turn_detected"}))

        return stall

    def asked(self, here: Here) -> Effect:
        """The client's cancel is answered; another response is refused until then."""

        def ask(event: Json) -> Iterator[Move]:
            stalled_id = next(iter(here.kept), None)
            if stalled_id and event["type"] == "response.cancel" and event.get("response_id", stalled_id) == stalled_id:
                yield from map(Say, here.kept.pop(stalled_id))
            elif stalled_id and event["type"] == "response.create":
                yield already_active(here, stalled_id, event)
            else:
                yield Ask(event)

        return ask


class ResponseFailed(Fault, frozen=True, kw_only=True, tag="response_failed"):
    """`response.done` says failed, after so much sound; no error event comes.

    Client: plays an apology and backs off; after `insufficient_quota` it does not try again.
    """

    code: Literal["rate_limit_exceeded", "inference_rate_limit_exceeded", "server_error", "insufficient_quota"] = (
        "server_error"
    )
    after_audio_ms: Milliseconds = 0.0

    def said(self, here: Here) -> Effect:
        """The end is rewritten."""
        kind = "server_error" if self.code == "server_error" else "invalid_request_error"
        error = {"type": kind, "code": self.code, "message": f"The response failed: {self.code}."}
        details = {"type": "failed", "error": error}
        return _ended_early(here, self.after_audio_ms, status="failed", details=details)


class ResponseIncomplete(Fault, frozen=True, kw_only=True, tag="response_incomplete"):
    """A reply stops after so much sound, and `response.done` says incomplete.

    Client: plays what came and ends the turn.
    """

    reason: Literal["max_output_tokens", "content_filter"] = "max_output_tokens"
    after_audio_ms: Milliseconds = 500.0

    def said(self, here: Here) -> Effect:
        """The end is rewritten."""
        details = {"type": "incomplete", "reason": self.reason}
        return _ended_early(here, self.after_audio_ms, status="incomplete", details=details)


class LateDeltas(Fault, frozen=True, kw_only=True, tag="late_deltas"):
    """More sound of a response comes after its `response.done`, or after it was cancelled, by speech or by the client.

    Client: drops it by its `response_id`.
    """

    after: Literal["done", "cancel"] = "done"
    count: Annotated[int, Meta(ge=1, le=100)] = 3
    spacing_ms: Milliseconds = 20.0

    def said(self, here: Here) -> Effect:
        """Once the response is done, or the user speaks into it."""
        last: Json | None = None

        def remember(event: Json) -> Iterator[Move]:
            nonlocal last
            yield Say(event)
            if event["type"] == SOUND:
                last = event
            elif last and self.after == "done" and event["type"] == DONE and _same(event["response"], last):
                yield from self._more(here, last)
            elif self.after == "cancel" and event["type"] == "input_audio_buffer.speech_started":
                yield from self._more(here, _sounding(here))

        return remember

    def asked(self, here: Here) -> Effect | None:
        """Once the client cancels."""
        if self.after == "done":
            return None

        def cancelled(event: Json) -> Iterator[Move]:
            yield Ask(event)
            if event["type"] == "response.cancel":
                yield from self._more(here, _sounding(here))

        return cancelled

    def _more(self, here: Here, delta: Json | None) -> Iterator[Move]:
        if delta is not None and here.strikes():
            for number in range(self.count):
                yield Say({**delta, "event_id": here.scene.new_id()}, number * self.spacing_ms / 1_000)


class BrokenArguments(Fault, frozen=True, kw_only=True, tag="broken_arguments"):
    """The arguments of a function call are not JSON: their closing braces are missing.

    Client: answers the call with an error as its output.
    """

    def said(self, here: Here) -> Effect:
        """Everywhere in the response, so that all its events tell the same."""

        def spoil(event: Json) -> Iterator[Move]:
            yield Say(_unclosed(event) if here.strikes_response(event) else event)

        return spoil


def _ended_early(here: Here, after_audio_ms: float, *, status: str, details: Json) -> Effect:
    """Let so much sound pass, cancel the response at the server, and have its end say `status` instead."""
    passed_ms: dict[str, float] = {}

    def end(event: Json) -> Iterator[Move]:
        response_id = here.scene.response_of(event)
        if response_id is None or not here.strikes_response(event):
            yield Say(event)
            return
        if event["type"] == SOUND:
            before_ms = passed_ms[response_id]
            passed_ms[response_id] += here.scene.delta_ms(event)
            if before_ms < after_audio_ms:
                yield Say(event)
            if before_ms < after_audio_ms <= passed_ms[response_id]:
                yield _cancel(response_id)
        elif event["type"] == "response.created":
            passed_ms[response_id] = 0.0
            yield Say(event)
            if not after_audio_ms:
                yield _cancel(response_id)
        elif event["type"] == DONE:
            del passed_ms[response_id]
            yield Say(_ended(event, status, details))
        else:
            yield Say(event)

    return end


def _ended(done: Json, status: str, details: Json) -> Json:
    return {**done, "response": {**done["response"], "status": status, "status_details": details}}


def _cancel(response_id: str) -> Ask:
    return Ask({"type": "response.cancel", "event_id": CANCEL_EVENT_ID, "response_id": response_id})


def _same(response: Json, delta: Json) -> bool:
    return bool(response["id"] == delta["response_id"])


def _sounding(here: Here) -> Json | None:
    """The newest sound, if its response is still under way."""
    delta = here.scene.delta
    return delta if delta and delta["response_id"] in here.scene.active else None


def _unclosed(event: Json) -> Json:
    if event["type"] == "response.function_call_arguments.delta":
        return {**event, "delta": event["delta"].replace("}", "")}
    unclosed: Json = _mapped(event, _without_braces)
    return unclosed


def _without_braces(record: Json) -> Json:
    arguments = record.get("arguments")
    return {**record, "arguments": arguments.replace("}", "")} if isinstance(arguments, str) else record


def _mapped(value: Any, change: Callable[[Json], Json]) -> Any:
    """The value with every object in it changed, innermost first."""
    if isinstance(value, dict):
        return change({name: _mapped(inner, change) for name, inner in value.items()})
    return [_mapped(inner, change) for inner in value] if isinstance(value, list) else value
