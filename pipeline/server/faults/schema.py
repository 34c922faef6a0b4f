"""What all faults share: when one strikes, what it may do, and what it knows of its connection.

A fault is a frozen record (its schema). On a connection it becomes effects: functions from one event to moves, which
keep their own count. Events are JSON objects here, not the classes of `realtime`: a fault says what these forbid.
"""

import math
from collections.abc import Callable, Iterable
from random import Random
from typing import Annotated, Any, ClassVar, Final, NamedTuple

from msgspec import Meta, Struct

from pipeline.realtime.events import Json

FAULT_EVENT_ID: Final = "event_fault_"
"""Begins the ids of events that a fault made up, so that a log shows who said it."""

Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Milliseconds = Annotated[float, Meta(ge=0, le=3_600_000)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Close(NamedTuple):
    """A close frame."""

    code: int
    reason: str


class Drop(NamedTuple):
    """The TCP connection is reset, without a close frame."""


class Say(NamedTuple):
    """To the client: an event, a frame that is none (malformed text or bytes), or the end of the connection."""

    what: Json | str | bytes | Close | Drop
    delay_s: float = 0.0


class Ask(NamedTuple):
    """To the server, as if the client had said it."""

    event: Json


Move = Say | Ask
Effect = Callable[[Json], Iterable[Move]]


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """When a fault strikes; each has an occasion of its own beside this.

    Attributes:
        after_s: not before so long after it began to work on the connection.
        turn: only while the newest response is the n-th of the connection, counted while any fault is at work; 0 is
            before the first.
        connections: only on the first so many connections since the fault was chosen.
        probability: of striking at an occasion.
        times: at most so often on a connection.
    """

    after_s: Seconds = 0.0
    turn: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    connections: Count | None = None
    probability: Share = 1.0
    times: Count | None = None

    def said(self, _here: "Here") -> Effect | None:
        """What becomes of an event of the server; None if nothing."""
        return None

    def asked(self, _here: "Here") -> Effect | None:
        """What becomes of an event of the client; None if nothing."""
        return None


class ClockFault(Fault, frozen=True, kw_only=True):
    """Base of faults whose occasion is the clock: first at `after_s`, or as soon as turn and `waits` allow.

    Attributes:
        deaf: once it has struck the server reads nothing.
        mute: once it has struck the server says nothing.
    """

    deaf: ClassVar[bool] = False
    mute: ClassVar[bool] = False

    @property
    def period_s(self) -> float:
        """How long after one occasion the next one comes; for most there is none."""
        return math.inf

    def waits(self, _here: "Here") -> bool:
        """Whether something beside the clock is still to come."""
        return False

    def rings(self, _here: "Here") -> Iterable[Say]:
        """What happens."""
        return ()


class Scene:
    """What a connection has come to, as the server sees it. Shared by the faults at work on it.

    Attributes:
        now: the moment, in s of the caller's clock.
        turn: how many responses have begun.
        active: responses under way by id, as `response.created` told them.
        audio_ms: sound of the newest response so far.
        delta: the newest sound delta, if any.
    """

    def __init__(self, now: float) -> None:
        self.now = now
        self.turn = 0
        self.active: dict[str, Json] = {}
        self.audio_ms = 0.0
        self.delta: Json | None = None
        self._item_responses: dict[str, str] = {}
        self._bytes_per_ms = 48
        self._begun_s = now
        self._ids = 0

    @property
    def elapsed_s(self) -> float:
        """Since the connection began."""
        return self.now - self._begun_s

    def new_id(self, prefix: str = FAULT_EVENT_ID) -> str:
        """A fresh id, the same in every run."""
        self._ids += 1
        return f"{prefix}{self._ids}"

    def response_of(self, event: Json) -> str | None:
        """Which response an event belongs to: by its own word, or by its item's."""
        if (response := event.get("response")) is not None:
            return str(response["id"])
        if (response_id := event.get("response_id")) is not None:
            return str(response_id)
        item = event.get("item")
        return self._item_responses.get(str(item.get("id"))) if isinstance(item, dict) else None

    def see(self, event: Json) -> None:
        """Note what the server says, before any fault touches it."""
        match event["type"]:
            case "response.created":
                response = event["response"]
                self.turn += 1
                self.active[response["id"]] = response
                self.audio_ms = 0.0
                self.delta = None
                self._bytes_per_ms = _bytes_per_ms(response)
            case "response.output_item.added":
                self._item_responses[event["item"]["id"]] = event["response_id"]
            case "response.output_audio.delta":
                self.audio_ms += self.delta_ms(event)
                self.delta = event

    def forget(self, event: Json) -> None:
        """Note that the server has said it, after the faults: a response that is done needs no memory."""
        if event["type"] == "response.done":
            response_id = event["response"]["id"]
            self.active.pop(response_id, None)
            self._item_responses = {
                item: response for item, response in self._item_responses.items() if response != response_id
            }

    def delta_ms(self, event: Json) -> float:
        """How long the sound of a delta of the newest response is."""
        return len(event["delta"]) * 3 / 4 / self._bytes_per_ms


class Here:
    """One fault at work on one connection: its dice, how often it has struck, and what it keeps back.

    Attributes:
        kept: events it keeps back, by response where they have one; a fault that is taken away gives them up.
    """

    def __init__(self, fault: Fault, scene: Scene, dice: Random) -> None:
        self.scene = scene
        self.dice = dice
        self.struck = 0
        self.kept: dict[str, list[Json]] = {}
        self._fault = fault
        self._begun_s = scene.now
        self._responses: dict[str, bool] = {}

    def may_strike(self) -> bool:
        """Whether moment, turn and count allow it; throws no dice."""
        fault = self._fault
        return (
            self.scene.now >= self._begun_s + fault.after_s
            and fault.turn in {None, self.scene.turn}
            and (fault.times is None or self.struck < fault.times)
        )

    def strikes(self) -> bool:
        """Whether it happens this time; every call is an occasion."""
        if not self.may_strike() or self.dice.random() >= self._fault.probability:
            return False
        self.struck += 1
        return True

    def strikes_response(self, event: Json) -> bool:
        """Whether it happens to the response that an event belongs to: thrown once, when the response is created."""
        response_id = self.scene.response_of(event)
        if response_id is None:
            return False
        if event["type"] == "response.created":
            self._responses = {known: self._responses.get(known, False) for known in self.scene.active}
            self._responses[response_id] = self.strikes()
        return self._responses.get(response_id, False)

    def error(self, code: str | None, message: str, *, param: str | None = None, about: Json | None = None) -> Say:
        """An `error` event, about a client event or none."""
        event_id = about.get("event_id") if about and isinstance(about.get("event_id"), str) else None
        body = {"type": "invalid_request_error", "code": code, "message": message, "param": param, "event_id": event_id}
        return Say({"type": "error", "event_id": self.scene.new_id(), "error": body})


def when_said(kinds: str | frozenset[str], here: Here, strike: Effect) -> Effect:
    """An effect whose occasions are server events of these kinds; everything else passes."""
    wanted = frozenset({kinds}) if isinstance(kinds, str) else kinds

    def effect(event: Json) -> Iterable[Move]:
        return strike(event) if event["type"] in wanted and here.strikes() else (Say(event),)

    return effect


def when_asked(kind: str, here: Here, strike: Effect) -> Effect:
    """An effect whose occasions are client events of this kind; everything else passes."""

    def effect(event: Json) -> Iterable[Move]:
        return strike(event) if event["type"] == kind and here.strikes() else (Ask(event),)

    return effect


def nothing(_event: Json) -> Iterable[Move]:
    """The event is swallowed."""
    return ()


def _bytes_per_ms(response: Json) -> int:
    audio: Any = response.get("audio") or {}
    audio_format: Any = (audio.get("output") or {}).get("format") or {}
    return 48 if audio_format.get("type", "audio/pcm") == "audio/pcm" else 8
