"""What the session decides; `actors/session` carries it out."""

from typing import NamedTuple

from pipeline.realtime.exchange import Intent
from pipeline.vocabulary.errors import Fault
from pipeline.vocabulary.signals import InputCommand, Notice, OutputCommand, TokenAsk


class AskToken(NamedTuple):
    """Ask credential for a client secret."""

    ask: TokenAsk


class Tell(NamedTuple):
    """Tell network."""

    intent: Intent


class ToCapture(NamedTuple):
    """Command the microphone."""

    command: InputCommand


class ToPlayback(NamedTuple):
    """Command the loudspeaker."""

    command: OutputCommand


class RaiseFloor(NamedTuple):
    """Make every turn below `turn` stale."""

    turn: int


class Publish(NamedTuple):
    """Tell the world."""

    notice: Notice


class Finish(NamedTuple):
    """The call is over; with a fault if that is why."""

    fault: Fault | None


Effect = AskToken | Tell | ToCapture | ToPlayback | RaiseFloor | Publish | Finish
