"""What the network actor and the session tell each other (links `service` and `intent`).

Every connection attempt has a generation, counted up by the session. A signal of an older generation is about a socket
that no longer matters, so both sides compare it before anything else.
"""

from pipeline.realtime.events import ClientEvent, ServerEvent
from pipeline.vocabulary.errors import Fault
from pipeline.vocabulary.signals import Secret, Signal

# network → session (link `service`)


class Opened(Signal, frozen=True):
    """The socket is open; nothing is proven yet (a bad key is reported after the upgrade)."""

    generation: int


class Received(Signal, frozen=True):
    """The service said something (everything but audio deltas, which go to the decoder).

    Attributes:
        generation: the connection it came on.
        turn: number of the reply the event belongs to; 0 if it belongs to none.
        at_s: host clock of its arrival.
        event: what it said.
    """

    generation: int
    turn: int
    at_s: float
    event: ServerEvent


class ReplyBegan(Signal, frozen=True):
    """The first audio delta of a reply arrived."""

    generation: int
    turn: int
    at_s: float


class ReplyStalled(Signal, frozen=True):
    """The sound of a reply broke off: there is more to come and nothing came for too long."""

    generation: int
    turn: int


class ReplyOverflow(Signal, frozen=True):
    """The reply is longer than link `reply` may hold; what followed was thrown away."""

    generation: int
    turn: int


class Lost(Signal, frozen=True):
    """The connection attempt failed or the open socket is gone, for whatever reason; clean closes are losses too."""

    generation: int
    fault: Fault


class Closed(Signal, frozen=True):
    """The socket the session asked to close is closed; `frames` are the ledger's books."""

    generation: int
    frames: dict[str, int]


ServiceSignal = Opened | Received | ReplyBegan | ReplyStalled | ReplyOverflow | Lost | Closed


# session → network (link `intent`)


class Open(Signal, frozen=True):
    """Open a socket with this client secret."""

    generation: int
    secret: Secret


class Send(Signal, frozen=True):
    """Send one control event."""

    generation: int
    event: ClientEvent


class Flow(Signal, frozen=True):
    """The settings are confirmed: captured sound may flow now, and not before."""

    generation: int


class Discard(Signal, frozen=True):
    """Never send what was captured before `before_s` (host clock), whether it waits already or is still to arrive."""

    before_s: float


class Close(Signal, frozen=True):
    """Close the socket; answered by `Closed`."""

    generation: int


Intent = Open | Send | Flow | Discard | Close
