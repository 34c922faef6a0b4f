"""Faults of the sound of a reply: how it is cut into deltas, and how fast these come."""

import base64
from collections.abc import Iterable, Iterator
from typing import Annotated, Final, NamedTuple

from msgspec import Meta

from pipeline.realtime.events import Json
from pipeline.server.faults.schema import Effect, Fault, Here, Milliseconds, Move, Say, when_said

SOUND: Final = "response.output_audio.delta"
DONE: Final = "response.done"


class Burst(Fault, frozen=True, kw_only=True, tag="burst"):
    """A reply is kept back until it is complete; then all of it comes within `within_ms`.

    Client: holds it in bounded memory and plays it whole.
    """

    within_ms: Milliseconds = 200.0

    def said(self, here: Here) -> Effect:
        """From the first sound to the end."""

        def keep(event: Json) -> Iterator[Move]:
            response_id = here.scene.response_of(event)
            struck = here.strikes_response(event)
            if response_id is None or not struck or (response_id not in here.kept and event["type"] != SOUND):
                yield Say(event)
                return
            together = here.kept.setdefault(response_id, [])
            together.append(event)
            if event["type"] == DONE:
                del here.kept[response_id]
                for number, each in enumerate(together):
                    yield Say(each, self.within_ms / 1_000 * number / len(together))

        return keep


class Underrun(Fault, frozen=True, kw_only=True, tag="underrun"):
    """A reply's sound comes slower than it plays, by its real-time factor, and unevenly.

    Client: plays without clicks, and does not take a pause for the end.
    """

    real_time_factor: Annotated[float, Meta(ge=0.05, le=100)] = 0.8
    jitter_ms: Milliseconds = 50.0

    def said(self, here: Here) -> Effect:
        """What follows a late delta in its response is late with it."""
        paces: dict[str, _Pace] = {}

        def pace(event: Json) -> Iterator[Move]:
            response_id, now = here.scene.response_of(event), here.scene.now
            if response_id is None or not here.strikes_response(event):
                yield Say(event)
                return
            before = paces.get(response_id, _Pace(now, now))
            if event["type"] == SOUND:
                begin_s = max(now, before.free_s)
                free_s = begin_s + here.scene.delta_ms(event) / 1_000 / self.real_time_factor
                last_s = max(before.last_s, begin_s + here.dice.uniform(0, self.jitter_ms) / 1_000)
                paces[response_id] = before = _Pace(free_s, last_s)
            elif event["type"] == DONE:
                paces.pop(response_id, None)
            yield Say(event, max(0.0, before.last_s - now))

        return pace


class _Pace(NamedTuple):
    """When the line is free for the next delta of a response, and when its last one comes."""

    free_s: float
    last_s: float


class OddBytes(Fault, frozen=True, kw_only=True, tag="odd_bytes"):
    """Deltas end in the middle of a sample: the last byte of each comes with the next one.

    Client: joins the bytes, so that it hears no noise.
    """

    def said(self, here: Here) -> Effect:
        """No byte is lost."""

        def shift(event: Json) -> Iterator[Move]:
            response_id = here.scene.response_of(event)
            struck = here.strikes_response(event)
            if response_id is None or not struck or _is_spoilt(event):
                yield Say(event)
            elif event["type"] == SOUND:
                carried = here.kept.pop(response_id, [])
                sound = b"".join(base64.b64decode(each["delta"]) for each in [*carried, event])
                odd = len(sound) - 1 + len(sound) % 2  # an odd number of bytes, and one or none is left
                if sound[odd:]:
                    here.kept[response_id] = [{**event, "event_id": here.scene.new_id(), "delta": _text(sound[odd:])}]
                yield Say({**event, "delta": _text(sound[:odd])})
            else:
                if event["type"] == "response.output_audio.done":
                    yield from map(Say, here.kept.pop(response_id, []))
                yield Say(event)

        return shift


def _is_spoilt(event: Json) -> bool:
    """`bad_base64` came before: there are no bytes to shift."""
    return event["type"] == SOUND and str(event["delta"]).startswith("%")


class EmptyDelta(Fault, frozen=True, kw_only=True, tag="empty_delta"):
    """A delta without sound comes before the real one.

    Client: is not disturbed.
    """

    def said(self, here: Here) -> Effect:
        """One more event."""

        def add(event: Json) -> Iterable[Move]:
            return Say({**event, "event_id": here.scene.new_id(), "delta": ""}), Say(event)

        return when_said(SOUND, here, add)


class BadBase64(Fault, frozen=True, kw_only=True, tag="bad_base64"):
    """The sound of a delta is not base64; it is lost.

    Client: drops it and goes on.
    """

    def said(self, here: Here) -> Effect:
        """The delta is spoiled."""
        return when_said(SOUND, here, lambda event: (Say({**event, "delta": f"%{event['delta'][1:]}"}),))


class BigFrame(Fault, frozen=True, kw_only=True, tag="big_frame"):
    """A delta comes in one frame over 1 MiB, blown up by padding in `obfuscation`.

    Client: does not close with 1009.
    """

    frame_bytes: Annotated[int, Meta(ge=1, le=15 * 1024 * 1024)] = 1_200_000

    def said(self, here: Here) -> Effect:
        """The sound is the same."""

        def blow_up(event: Json) -> Iterable[Move]:
            return (Say({**event, "obfuscation": "x" * self.frame_bytes}),)

        return when_said(SOUND, here, blow_up)


def _text(sound: bytes) -> str:
    return base64.b64encode(sound).decode("ascii")
