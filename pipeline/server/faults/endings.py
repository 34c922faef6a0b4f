"""Faults that end a connection, or leave it open and dead. The clock strikes, or a reply has come so far."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

from msgspec import Meta

from pipeline.server.faults.schema import ClockFault, Close, Drop, Here, Milliseconds, Say

CloseCode = Annotated[int, Meta(ge=1000, le=4999)]


class _Ending(ClockFault, frozen=True, kw_only=True):
    """Base of what happens once: at `after_s`, and with `turn` or `after_audio_ms` in the middle of a reply."""

    after_audio_ms: Milliseconds = 0.0

    def waits(self, here: Here) -> bool:
        """Whether the reply has not come far enough."""
        return here.scene.audio_ms < self.after_audio_ms


class SessionExpired(_Ending, frozen=True, kw_only=True, tag="session_expired"):
    """The session hits its maximum duration early: error `session_expired`, close 1001.

    Client: reconnects at once and restores, although its loop ended quietly.
    """

    def rings(self, here: Here) -> Iterable[Say]:
        """As the service says it."""
        message = "Your session hit the maximum duration of 60 minutes."
        yield here.error("session_expired", message)
        yield Say(Close(1001, message))


class CloseFault(_Ending, frozen=True, kw_only=True, tag="close"):
    """A close frame nobody asked for: clean (1000, 1001) or for an error of the server (1011, 1012, 1013, ...).

    Client: takes every close it did not ask for as a loss; stops what is playing, and reconnects with backoff.
    """

    code: CloseCode = 1011

    def rings(self, _here: Here) -> Iterable[Say]:
        """The frame."""
        yield Say(Close(self.code, ""))


class DropFault(_Ending, frozen=True, kw_only=True, tag="drop"):
    """TCP is reset without a close frame (1006).

    Client: reconnects with backoff.
    """

    def rings(self, _here: Here) -> Iterable[Say]:
        """The reset."""
        yield Say(Drop())


class HalfOpen(_Ending, frozen=True, kw_only=True, tag="half_open"):
    """The peer is gone and nobody says so: nothing is read, pings are not answered, nothing is said.

    Client: notices by an unanswered ping, within seconds.
    """

    deaf: ClassVar[bool] = True
    mute: ClassVar[bool] = True


class Deaf(_Ending, frozen=True, kw_only=True, tag="deaf"):
    """The server stops reading, so that TCP pushes back and pings are not answered; what it has to say still comes.

    Client: does not block on sending, and notices by an unanswered ping.
    """

    deaf: ClassVar[bool] = True
