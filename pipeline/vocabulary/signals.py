"""What actors tell each other beside sound, and what the daemon tells the world.

Signals that carry wire events (links `service` and `intent`) stand in `realtime/exchange.py`: this layer knows no wire.
"""

from enum import StrEnum

import msgspec

from pipeline.vocabulary.errors import Fault
from pipeline.vocabulary.settings import Settings


class Signal(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Base of every signal: a frozen record that can cross a process boundary."""


class Secret(msgspec.Struct, frozen=True):
    """A client secret or key; its repr never shows the value, so a logged record cannot leak it."""

    value: str

    def __repr__(self) -> str:
        return "Secret(***)"


class Glitches(msgspec.Struct, frozen=True):
    """What a device's sound suffered over some time.

    Attributes:
        xruns: losses that the sound system reported.
        starved: of a loudspeaker, gaps because nothing was brought in time.
        lost_ms: of a microphone, sound that its sound system lost; silence stands in its place, up to 0.4 s of it.
        discarded_ms: of a microphone, sound that came too late to be of use and was left out.
    """

    xruns: int = 0
    starved: int = 0
    lost_ms: float = 0.0
    discarded_ms: float = 0.0

    def __add__(self, other: "Glitches") -> "Glitches":
        return Glitches(
            self.xruns + other.xruns,
            self.starved + other.starved,
            self.lost_ms + other.lost_ms,
            self.discarded_ms + other.discarded_ms,
        )


NO_GLITCHES = Glitches()


# capture → session (link `activity`)


class InputReady(Signal, frozen=True):
    """Capture has started, perhaps again, and waits to be told whether to listen.

    `voice_activity` names the detector it has.
    """

    voice_activity: str


class InputOpened(Signal, frozen=True):
    """The microphone is open."""

    name: str


class InputClosed(Signal, frozen=True):
    """The microphone was closed as told: nothing more is captured."""


class InputEnded(Signal, frozen=True):
    """A finite input (a file) has played out; `captured_frames` were sent from it."""

    captured_frames: int


class InputFailed(Signal, frozen=True):
    """The microphone failed."""

    fault: Fault


class InputGlitched(Signal, frozen=True):
    """What the microphone's sound suffered since this was last told."""

    glitches: Glitches


class SpeechEnd(Signal, frozen=True):
    """The last speech sample of a finite input passed at `at_s` (host clock); design: "last speech sample"."""

    at_s: float


class VoiceBegan(Signal, frozen=True):
    """The local detector hears speech, which began at `at_s` (host clock), pre-roll included."""

    at_s: float


class VoiceEnded(Signal, frozen=True):
    """The local detector's speech ended at `at_s` (host clock), or the microphone was closed then."""

    at_s: float


Activity = (
    InputReady
    | InputOpened
    | InputClosed
    | InputEnded
    | InputFailed
    | InputGlitched
    | SpeechEnd
    | VoiceBegan
    | VoiceEnded
)


# playback → session (links `heard`, `flushed`)


class Heard(Signal, frozen=True):
    """How far the listener is in the reply: what has left the loudspeaker.

    Attributes:
        turn: the reply.
        item_id: the item actually sounding.
        content_index: its part.
        heard_ms: of that part.
        finished: everything of the turn has been heard.
        audible_s: host clock of the turn's first sample above -50 dBFS; None until there was one.
    """

    turn: int
    item_id: str
    content_index: int
    heard_ms: float
    finished: bool
    audible_s: float | None


class Flushed(Signal, frozen=True):
    """The floor cut a reply off; `heard_ms` of the part that was sounding had left the loudspeaker."""

    turn: int
    item_id: str
    content_index: int
    heard_ms: float


class OutputOpened(Signal, frozen=True):
    """The loudspeaker is open, perhaps again: what was being played before is lost, and the volume has to be set."""

    name: str


class OutputFailed(Signal, frozen=True):
    """The loudspeaker failed; it is tried again until it is back."""

    fault: Fault


class OutputGlitched(Signal, frozen=True):
    """What the loudspeaker's sound suffered since this was last told."""

    glitches: Glitches


Playout = Flushed | OutputOpened | OutputFailed | OutputGlitched


# session → playback (link `output`), session → capture (link `input`)


class SetVolume(Signal, frozen=True):
    """Gain of everything played, 0 (silent) to 1 (as received)."""

    gain: float


OutputCommand = SetVolume


class Listen(Signal, frozen=True):
    """Open or close the microphone; closed means the device is closed, not that frames are dropped."""

    on: bool


class Talk(Signal, frozen=True):
    """Push-to-talk pressed or released."""

    on: bool


InputCommand = Listen | Talk


# session ↔ credential (links `token_ask`, `token`)


class TokenAsk(Signal, frozen=True):
    """Mint a client secret for connection attempt number `attempt`."""

    attempt: int


class TokenGrant(Signal, frozen=True):
    """A client secret, usable until `expires_s` (host clock, already corrected for the skew of the wall clock)."""

    attempt: int
    secret: Secret
    expires_s: float


class TokenFailure(Signal, frozen=True):
    """No client secret for this attempt."""

    attempt: int
    fault: Fault


Token = TokenGrant | TokenFailure


# a person or a program → session (an edge, not a link)


class PressTalk(Signal, frozen=True):
    """Push-to-talk key down."""


class ReleaseTalk(Signal, frozen=True):
    """Push-to-talk key up."""


class Mute(Signal, frozen=True):
    """Close the microphone until it is unmuted; what is being said is not answered."""


class Unmute(Signal, frozen=True):
    """Open the microphone again."""


class Adopt(Signal, frozen=True):
    """Go on with these settings, which differ from the ones before only in what the session decides with."""

    settings: Settings


class Stop(Signal, frozen=True):
    """Hang up and end."""


Command = PressTalk | ReleaseTalk | Mute | Unmute | Adopt | Stop


# the daemon → the world: one JSON object per line, `event` names the kind (design §9, control protocol)


class CallState(StrEnum):
    """What the call is doing, in the words of the control protocol."""

    IDLE = "idle"
    CONNECTING = "connecting"
    LISTENING = "listening"
    USER_SPEAKING = "user_speaking"
    THINKING = "thinking"
    SPEAKING = "speaking"
    RECONNECTING = "reconnecting"
    MUTED = "muted"
    ERROR = "error"


class Notice(msgspec.Struct, frozen=True, tag_field="event", tag=lambda name: name.removesuffix("Notice").lower()):
    """Base of what the daemon tells the world."""


class StateNotice(Notice, frozen=True):
    """The call changed its state."""

    state: CallState
    at_s: float


class TranscriptNotice(Notice, frozen=True):
    """Words, `final` or as they come. `role` is "user" or "assistant"; `item_id` keys the line."""

    role: str
    item_id: str
    text: str
    final: bool


class TimelineNotice(Notice, frozen=True):
    """How long one answer took, from the last speech sample (design §9); a mark that did not happen is absent."""

    turn: int
    timeline_ms: dict[str, float]


class FaultNotice(Notice, frozen=True):
    """Something went wrong; `retry_in_s` tells when the next attempt is due, None when there is none."""

    fault: Fault
    retry_in_s: float | None


class VoiceNotice(Notice, frozen=True):
    """The local detector began or ceased to hear speech, at `at_s`; whether the service agrees is another matter."""

    active: bool
    at_s: float


class ReloadNotice(Notice, frozen=True):
    """The settings were read again.

    Attributes:
        applied: paths of what is used from now on.
        needs_restart: paths of what has changed and is used after a restart only.
        problems: why none of it is used.
    """

    applied: list[str]
    needs_restart: list[str]
    problems: list[str]


class OmittedNotice(Notice, frozen=True):
    """So many notices were not told: too many of one cause, or the reader stood still or could not take them."""

    count: int
    cause: str


class FinishedNotice(Notice, frozen=True):
    """The daemon has nothing more to do (a finite input was answered and heard).

    Attributes:
        turns: replies heard to their end.
        heard_speech: the service detected speech at least once.
        frames: captured, sent and dropped by reason; captured is always the sum.
    """

    turns: int
    heard_speech: bool
    frames: dict[str, int]


AnyNotice = (
    StateNotice
    | TranscriptNotice
    | TimelineNotice
    | FaultNotice
    | VoiceNotice
    | ReloadNotice
    | OmittedNotice
    | FinishedNotice
)
