"""What the simulated world saw happen: records of the devices, the network, the backend, the service and the nemeses.

None of them is made from what the daemon says about itself, but for `Noticed`, which only the drawing and the search
for secrets use. Numbers count within one run: wires, frames of the microphone, utterances, replies.
"""

from typing import Final, NamedTuple, get_args


class DaemonStarted(NamedTuple):
    """The daemon was started, perhaps again after it had ended."""


class DaemonEnded(NamedTuple):
    """The daemon has ended; `error` names the class of what ended it, empty if it was told to stop."""

    error: str


class StopAsked(NamedTuple):
    """The daemon was told to stop."""


class MicrophoneOpened(NamedTuple):
    """The daemon opened the microphone."""


class MicrophoneClosed(NamedTuple):
    """The microphone is closed, or gone."""


class Captured(NamedTuple):
    """The microphone gave a block: frame number `frame`, of this utterance."""

    frame: int
    utterance: int
    speech: bool


class UtteranceBegan(NamedTuple):
    """Somebody begins to speak, whether anybody listens or not."""

    utterance: int


class UtteranceEnded(NamedTuple):
    """Somebody has said the last of it."""

    utterance: int


class Muted(NamedTuple):
    """Somebody told a running daemon to mute its microphone."""


class Unmuted(NamedTuple):
    """Somebody told a running daemon to listen again."""


class LoudspeakerOpened(NamedTuple):
    """The daemon opened the loudspeaker."""


class LoudspeakerClosed(NamedTuple):
    """The loudspeaker is closed, or gone."""


class Played(NamedTuple):
    """The loudspeaker was given this block of this reply; not `whole` if it was cut short or fades out.

    `reply` 0 is sound that does not begin with a block: a gap has shifted what follows it.
    """

    reply: int
    block: int
    whole: bool


class Attempted(NamedTuple):
    """The daemon asks for a client secret: an attempt to connect begins."""


class Minted(NamedTuple):
    """The token backend was asked, and answered with this status (0: not at all) and pause in s, if it asked for one.

    `secret` numbers the client secrets; 0 is none.
    """

    status: int
    secret: int
    retry_after_s: float | None


class Dialled(NamedTuple):
    """The daemon dials the service."""


class Connected(NamedTuple):
    """It got a wire."""

    wire: int


class Left(NamedTuple):
    """The daemon has closed its end of this wire."""

    wire: int


class Broken(NamedTuple):
    """This wire was reset under both ends."""

    wire: int


class Twinned(NamedTuple):
    """The network has connected the service a second time for the same dial; this is the wire too many."""

    wire: int


class Forgotten(NamedTuple):
    """The far end of this wire is gone, and the daemon was not told."""

    wire: int


class Deafened(NamedTuple):
    """The service neither reads this wire nor answers its pings from now on."""

    wire: int


class Recovered(NamedTuple):
    """The service reads this wire again."""

    wire: int


class Swallowed(NamedTuple):
    """The first bytes the daemon sent on this wire have vanished, and nobody was told."""

    wire: int


class Sent(NamedTuple):
    """The daemon has handed `frames` of the microphone, from the `first` on, to this wire in one message."""

    wire: int
    first: int
    frames: int = 1


class SentBehind(NamedTuple):
    """The daemon has sent this on a wire although it holds a newer one: `what` is a kind of WebSocket frame."""

    wire: int
    what: str


class Upgraded(NamedTuple):
    """The service took a client in that came with this secret (0: none it knows), for a session of `life_s`."""

    wire: int
    secret: int
    life_s: float


class Refused(NamedTuple):
    """The service refused to take a client in."""

    wire: int
    status: int
    retry_after_s: float | None


class Heard(NamedTuple):
    """The service got `frames` of the microphone, from the `first` on, in one message."""

    wire: int
    first: int
    frames: int = 1


class Asked(NamedTuple):
    """The service got another event.

    Attributes:
        wire: it came on this one.
        kind: its `type`.
        item: it is about; empty if about none.
        end_ms: of a truncation, else 0.
        event_id: by which an error could name it; empty if it has none.
    """

    wire: int
    kind: str
    item: str
    end_ms: int
    event_id: str = ""


class Replied(NamedTuple):
    """The service has begun to speak a reply, as this item of its conversation."""

    wire: int
    reply: int
    item: str


class Told(NamedTuple):
    """An event of the service has reached the daemon's end of the wire, so it can read it.

    Attributes:
        wire: it came on this one.
        kind: its `type`.
        reply: it belongs to; 0 if to none.
        sound_bytes: that it carries.
        first: number of the block its sound begins with; -1 in the middle of one.
        again: an event with the same id has come before.
        status: of the response that is done; empty for everything else.
        about: the `event_id` of what the error is about; empty for everything else.
    """

    wire: int
    kind: str
    reply: int = 0
    sound_bytes: int = 0
    first: int = -1
    again: bool = False
    status: str = ""
    about: str = ""


class HungUp(NamedTuple):
    """The service closes this wire; `cause` is why."""

    wire: int
    code: int
    cause: str


class Troubled(NamedTuple):
    """A nemesis begins."""

    nemesis: str


class Calmed(NamedTuple):
    """A nemesis is over."""

    nemesis: str


class Noticed(NamedTuple):
    """What the daemon said about itself, as the line it would print."""

    kind: str
    line: str


Happening = (
    DaemonStarted | DaemonEnded | StopAsked | MicrophoneOpened | MicrophoneClosed | Captured | UtteranceBegan
    | UtteranceEnded | Muted | Unmuted | LoudspeakerOpened | LoudspeakerClosed | Played | Attempted | Minted | Dialled
    | Connected | Left | Broken | Twinned | Forgotten | Deafened | Recovered | Swallowed | Sent | SentBehind
    | Upgraded | Refused | Heard | Asked | Replied | Told | HungUp | Troubled | Calmed | Noticed
)  # fmt: skip
"""Anything a trace holds."""

KINDS: Final[tuple[type[Happening], ...]] = get_args(Happening)
"""All of them."""
