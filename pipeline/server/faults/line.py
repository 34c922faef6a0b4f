"""The line between a conversation and its client, with the faults at work on it. Pure; `now` is an argument.

What the client says goes through the faults in order and then to the server; what the server says goes through them
in order and then to the client, each frame at its moment. What a fault says itself goes through those after it. With no
faults both ways are as they are.
"""

import heapq
import itertools
import math
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import msgspec

from pipeline.realtime.codec import as_event
from pipeline.realtime.events import Json
from pipeline.server.faults.catalogue import Fault
from pipeline.server.faults.door import Answer, DoorFault
from pipeline.server.faults.replies import CANCEL_EVENT_ID
from pipeline.server.faults.schema import Ask, ClockFault, Close, Drop, Effect, Here, Say, Scene

Frame = str | bytes | Close | Drop
"""What the client gets: a text or a binary frame, or the end of the connection."""


class Upgrade(NamedTuple):
    """What happens at the door: the answer, after a delay; None lets the client in."""

    delay_s: float
    answer: Answer | None


class FaultLine:
    """One connection.

    Args:
        faults: at work from the beginning, in order.
        seed: of the dice; with the same one, the same faults do the same to the same events.
        number: which connection it is since the faults were chosen, from 1.
        now: the moment it begins.
    """

    def __init__(self, faults: Sequence[Fault] = (), *, seed: str, number: int = 1, now: float) -> None:
        self.faults: tuple[Fault, ...] = ()
        self.ended = False
        self._seed = f"{seed}/{number}"
        self._scene = Scene(now)
        self._working: list[_Working] = []
        self._to_server: list[str | bytes] = []
        self._to_client: list[_Due] = []
        self._held_chars = 0
        self._sequence = 0
        self.use([one for one in faults if one.connections is None or number <= one.connections], now)

    def use(self, faults: Sequence[Fault], now: float) -> None:
        """Work with these faults from now on, whatever their `connections`; one that was there keeps its count."""
        self.faults = tuple(faults)
        self._scene.now = now
        before, self._working = self._working, []
        for place, fault in enumerate(faults):
            kept = next((old for old in before if old.fault == fault), None)
            if kept:
                before.remove(kept)
            dice = Random(f"{self._seed}/{place}/{fault}")  # noqa: S311 - reproducible faults, not a secret
            self._working.append(kept or _Working(fault, Here(fault, self._scene, dice), now))
        for old in before:
            for event in itertools.chain.from_iterable(old.here.kept.values()):
                self._put(_text(event), now)
        self.tick(now)

    @property
    def at_work(self) -> bool:
        """Whether anything may differ from a line without faults."""
        return bool(self._working or self._to_client)

    @property
    def hears(self) -> bool:
        """Whether the server reads, and answers pings."""
        return not any(one.deaf for one in self._working)

    @property
    def speaks(self) -> bool:
        """Whether the client gets anything at all."""
        return not any(one.mute for one in self._working)

    @property
    def held_chars(self) -> int:
        """How much is kept for a later moment."""
        return self._held_chars

    def upgrade(self) -> Upgrade:
        """What happens at the door; asked once."""
        delay_s = 0.0
        for one in self._working:
            if isinstance(one.fault, DoorFault) and one.here.strikes():
                delay_s += one.fault.late_s
                if one.fault.answer is not None:
                    return Upgrade(delay_s, one.fault.answer)
        return Upgrade(delay_s, None)

    def client_said(self, message: str | bytes, now: float) -> None:
        """A message of the client; see `take_for_server` for what becomes of it."""
        event = as_event(message) if self._working else None
        if event is None:
            self._to_server.append(message)
        else:
            self._ask(Ask(event), 0, now, untouched=(event, message))
        self.tick(now)

    def server_said(self, text: str, now: float) -> None:
        """A message of the server; see `take_for_client` for what becomes of it."""
        event = as_event(text) if self._working else None
        if event is None:
            self._put(text, now)
            return
        if event["type"] == "error" and event["error"]["event_id"] == CANCEL_EVENT_ID:
            return  # about a fault's own cancel: the response was done already
        self._scene.now = now
        self._scene.see(event)
        self._say(Say(event), 0, now, untouched=(event, text))
        self._scene.forget(event)
        self.tick(now)

    def tick(self, now: float) -> None:
        """Time has passed."""
        self._scene.now = now
        for place, one in enumerate(self._working):
            if isinstance(one.fault, ClockFault) and now >= one.next_s and not one.fault.waits(one.here):
                if not one.here.may_strike():
                    continue  # it waits for its turn
                one.next_s = now + one.fault.period_s
                if one.here.strikes():
                    for said in one.fault.rings(one.here):
                        self._say(said, place + 1, now)

    def next_due_s(self) -> float:
        """When to call `tick` and `take_for_client` next."""
        alarms = [one.next_s for one in self._working if one.next_s > self._scene.now]
        return min([*alarms, self._to_client[0].at_s if self._to_client else math.inf])

    def take_for_server(self) -> list[str | bytes]:
        """What the conversation gets now."""
        taken, self._to_server = self._to_server, []
        return taken

    def take_for_client(self, now: float) -> list[Frame]:
        """What the client gets now; nothing follows an end of the connection."""
        taken: list[Frame] = []
        if not self.speaks:
            self._forget_held()
        while self._to_client and self._to_client[0].at_s <= now:
            frame = heapq.heappop(self._to_client).frame
            self._held_chars -= _size(frame)
            taken.append(frame)
            if isinstance(frame, Close | Drop):
                self.end()
        return taken

    def end(self) -> None:
        """The connection has ended: nothing more is said, and what was kept for later is lost."""
        self.ended = True
        self._forget_held()

    def _forget_held(self) -> None:
        self._to_client.clear()
        self._held_chars = 0

    def _say(self, say: Say, place: int, now: float, untouched: tuple[Json, str] | None = None) -> None:
        """Hand on what is said to the faults from `place` on; `untouched` spares writing again what none changed."""
        if not isinstance(say.what, dict):
            self._put(say.what, now + say.delay_s)
            return
        for later, one in enumerate(self._working[place:], place + 1):
            if one.said:
                for move in one.said(say.what):
                    if isinstance(move, Say):
                        handed = Say(move.what, say.delay_s + move.delay_s)
                        self._say(handed, later, now, untouched)
                    else:
                        self._to_server.append(_text(move.event))
                return
        text = untouched[1] if untouched and untouched[0] is say.what else _text(say.what)
        self._put(text, now + say.delay_s)

    def _ask(self, ask: Ask, place: int, now: float, untouched: tuple[Json, str | bytes]) -> None:
        self._scene.now = now
        for later, one in enumerate(self._working[place:], place + 1):
            if one.asked:
                for move in one.asked(ask.event):
                    if isinstance(move, Ask):
                        self._ask(move, later, now, untouched)
                    else:
                        self._say(move, later, now)
                return
        self._to_server.append(untouched[1] if untouched[0] is ask.event else _text(ask.event))

    def _put(self, frame: Frame, at_s: float) -> None:
        if self.ended or not self.speaks:
            return
        self._sequence += 1
        self._held_chars += _size(frame)
        heapq.heappush(self._to_client, _Due(at_s, self._sequence, frame))


class _Working:
    """A fault at work on the line."""

    def __init__(self, fault: Fault, here: Here, now: float) -> None:
        self.fault = fault
        self.here = here
        self.said: Effect | None = fault.said(here)
        self.asked: Effect | None = fault.asked(here)
        self.next_s = now + fault.after_s if isinstance(fault, ClockFault) else math.inf

    @property
    def deaf(self) -> bool:
        return isinstance(self.fault, ClockFault) and self.fault.deaf and self.here.struck > 0

    @property
    def mute(self) -> bool:
        return isinstance(self.fault, ClockFault) and self.fault.mute and self.here.struck > 0


class _Due(NamedTuple):
    """A frame and its moment; the sequence keeps the order of those with the same one."""

    at_s: float
    sequence: int
    frame: Frame


def _text(event: Json) -> str:
    return msgspec.json.encode(event).decode()


def _size(frame: Frame) -> int:
    return len(frame) if isinstance(frame, str | bytes) else 0
