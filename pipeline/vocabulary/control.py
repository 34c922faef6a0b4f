"""The control protocol (design §9): what a client says and hears, one JSON object per line of at most 64 KiB.

    {"op":"status"}             the snapshot, once
    {"op":"watch"}              the snapshot, then every notice as it comes, and a new snapshot twice a second
    {"op":"talk","on":true}     press the talk key; false releases it
    {"op":"mute"}, {"op":"unmute"}, {"op":"stop"}

A command is answered by `accepted`; what cannot be understood or done by `refused`, which names the field and is the
last line of the connection. Notices are those of `talkwire run --json`, told apart by `event` as everything here.
"""

from enum import StrEnum
from typing import Final

import msgspec

from pipeline.vocabulary.signals import NO_GLITCHES, AnyNotice, CallState, Glitches, Notice

MAX_LINE_BYTES: Final = 65_536
"""Of a message in either direction, its line feed included."""


class Ask(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag_field="op",
    tag=lambda name: name.removesuffix("Ask").lower(),
):
    """Base of what a client asks."""


class StatusAsk(Ask, frozen=True):
    """The snapshot, once."""


class WatchAsk(Ask, frozen=True):
    """The snapshot, and everything from now on."""


class TalkAsk(Ask, frozen=True):
    """Press the talk key, or release it."""

    on: bool


class MuteAsk(Ask, frozen=True):
    """Close the microphone."""


class UnmuteAsk(Ask, frozen=True):
    """Open it again."""


class StopAsk(Ask, frozen=True):
    """Hang up and end the daemon."""


AnyAsk = StatusAsk | WatchAsk | TalkAsk | MuteAsk | UnmuteAsk | StopAsk


class ProcessStatus(msgspec.Struct, frozen=True):
    """A process of the daemon.

    Attributes:
        name: as in the placement.
        pid: 0 while there is none.
        state: "running", "starting" or "down".
        restarts: lives after the first.
        uptime_s: of this life; 0 while there is none.
        beat_age_s: since it last said that it lives; None for the process that answers.
        resident_bytes: memory it holds; None if that cannot be read.
        ended: how its last life ended, in words; empty if there was none.
    """

    name: str
    pid: int
    state: str
    restarts: int
    uptime_s: float
    beat_age_s: float | None
    resident_bytes: int | None
    ended: str


class ActorStatus(msgspec.Struct, frozen=True):
    """An actor, and the process it is placed in.

    Attributes:
        state: "waiting", "running", "ended" or "overdue"; "down" with its process.
        restarts: in this life of its process.
        failure: what it failed with last, in words; empty if it never did.
    """

    name: str
    process: str
    state: str
    restarts: int
    failure: str


class LinkSide(msgspec.Struct, frozen=True):
    """A link as one process sees it: whole, or the end that lives there.

    Attributes:
        held: what waits in the queue, in the link's unit.
        items: the same in values.
        waiting: senders that find no room.
        lost: values that were on their way to a process that died.
    """

    process: str
    held: float
    items: int
    sent: int
    received: int
    dropped: int
    stale: int
    waiting: int
    lost: int


class LinkStatus(msgspec.Struct, frozen=True):
    """A link of the map: from one actor to another, what it may hold, and one side, or two if it crosses.

    The sender's side stands first. A process that is down has none.
    """

    name: str
    source: str
    target: str
    hold: float
    unit: str
    overflow: str
    sides: list[LinkSide]


class DeviceState(StrEnum):
    """How a microphone or loudspeaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    FAILED = "failed"
    ENDED = "ended"
    """A recording has played out."""
    GONE = "gone"
    """The process that held it has ended, and the next one has not told of it yet."""


class DeviceStatus(msgspec.Struct, frozen=True):
    """A microphone or loudspeaker: the one that is open or was last.

    Attributes:
        name: for people.
        state: how it stands.
        fault: why it is not open.
        glitches: of all that were open since the daemon began.
    """

    name: str = ""
    state: DeviceState = DeviceState.CLOSED
    fault: str = ""
    glitches: Glitches = NO_GLITCHES


class VoiceStatus(msgspec.Struct, frozen=True):
    """Local voice activity: which detector, whether it hears speech now, and how often it began to.

    `speech_frames` counts the frames that carried its flag.
    """

    detector: str
    active: bool
    utterances: int
    speech_frames: int


class SessionStatus(msgspec.Struct, frozen=True):
    """The call.

    Attributes:
        state: in the words of the protocol.
        state_age_s: for how long.
        line, turn: states of the two machines (design §6).
        generation: number of the newest connection attempt.
        live_age_s: how long the line has been up; None while it is not.
        expires_at: unix time at which the service ends this session; None if it did not say.
        turns_heard: replies heard to their end.
        muted: the microphone is closed on request.
        push_to_talk: the talk key decides who speaks.
        fault: why the line is down or was last lost; empty if it never was.
    """

    state: CallState
    state_age_s: float
    line: str
    turn: str
    generation: int
    live_age_s: float | None
    expires_at: int | None
    turns_heard: int
    muted: bool
    push_to_talk: bool
    fault: str


class SnapshotNotice(Notice, frozen=True):
    """Everything there is to see at one moment.

    Attributes:
        version: of talkwire.
        at_s: host clock of this moment, the same that notices carry.
        uptime_s: of the daemon.
        troubles: what is wrong, a sentence each; empty means healthy.
        frames: captured frames by fate; captured is the sum of the others.
    """

    version: str
    at_s: float
    uptime_s: float
    troubles: list[str]
    session: SessionStatus
    microphone: DeviceStatus
    loudspeaker: DeviceStatus
    voice: VoiceStatus
    frames: dict[str, int]
    processes: list[ProcessStatus]
    actors: list[ActorStatus]
    links: list[LinkStatus]


class AcceptedNotice(Notice, frozen=True):
    """The command `op` is on its way."""

    op: str


class RefusedNotice(Notice, frozen=True):
    """What was asked cannot be understood or done; `field` names what is wrong with it, empty for all of it."""

    field: str
    message: str


Message = AnyNotice | SnapshotNotice | AcceptedNotice | RefusedNotice
"""What the daemon says on its control socket."""
