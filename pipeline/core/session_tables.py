"""The two tables of a session: the line to the service, and the talk over it.

Each cell names the next state and an action, a method of `core.session.Session`. A missing cell is an error that names
both states; a cell whose action is `nothing` is a decision too. Coupling is one way: losing the line feeds
`On.LOST` into the talk. README's picture is drawn from these tables.
"""

from enum import StrEnum
from typing import Final

from pipeline.vocabulary.signals import CallState


class Line(StrEnum):
    """States of the line to the service."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CONFIGURING = "configuring"
    LIVE = "live"
    BACKOFF = "backoff"
    DRAINING = "draining"
    CLOSED = "closed"


class Turn(StrEnum):
    """States of the talk."""

    QUIET = "quiet"
    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"
    INTERRUPTED = "interrupted"


class On(StrEnum):
    """What happens to the two machines."""

    START = "start"
    GRANTED = "token granted"
    OPENED = "socket open"
    CREATED = "session created"
    UPDATED = "settings confirmed"
    LOST = "lost"
    DUE = "time is up"
    STOP = "stop"
    CLOSED = "closed"
    SPEECH_STARTED = "speech started"
    TALK_OVER = "speech over sound already received"
    BARGE_IN = "speech over a running response"
    SPEECH_STOPPED = "speech stopped"
    NOTHING_SAID = "nothing said"
    RESPONSE_CREATED = "response created"
    RESPONSE_ORPHANED = "response nobody waits for"
    RESPONSE_DONE = "response done"
    AUDIBLE = "first sound heard"
    HEARD_ALL = "all heard"


L, T = Line, Turn
LINE: Final[dict[tuple[Line, On], tuple[Line, str]]] = {
    (L.IDLE, On.START): (L.CONNECTING, "ask_token"),
    (L.CONNECTING, On.GRANTED): (L.CONNECTING, "open_socket"),
    (L.CONNECTING, On.OPENED): (L.CONFIGURING, "await_session"),
    (L.CONNECTING, On.LOST): (L.BACKOFF, "back_off"),
    (L.CONNECTING, On.DUE): (L.BACKOFF, "time_out"),
    (L.CONFIGURING, On.CREATED): (L.CONFIGURING, "send_settings"),
    (L.CONFIGURING, On.UPDATED): (L.LIVE, "go_live"),
    (L.CONFIGURING, On.LOST): (L.BACKOFF, "back_off"),
    (L.CONFIGURING, On.DUE): (L.BACKOFF, "time_out"),
    (L.LIVE, On.CREATED): (L.LIVE, "nothing"),  # sent twice by some services
    (L.LIVE, On.UPDATED): (L.LIVE, "nothing"),  # a service may adjust its own session
    (L.LIVE, On.LOST): (L.BACKOFF, "back_off"),
    (L.BACKOFF, On.DUE): (L.CONNECTING, "ask_token"),
    (L.BACKOFF, On.GRANTED): (L.BACKOFF, "nothing"),  # of the attempt that was just given up, as the next five
    (L.BACKOFF, On.OPENED): (L.BACKOFF, "nothing"),
    (L.BACKOFF, On.CREATED): (L.BACKOFF, "nothing"),
    (L.BACKOFF, On.UPDATED): (L.BACKOFF, "nothing"),
    (L.BACKOFF, On.LOST): (L.BACKOFF, "nothing"),
    (L.BACKOFF, On.CLOSED): (L.BACKOFF, "nothing"),
    (L.IDLE, On.STOP): (L.DRAINING, "hang_up"),
    (L.CONNECTING, On.STOP): (L.DRAINING, "hang_up"),
    (L.CONFIGURING, On.STOP): (L.DRAINING, "hang_up"),
    (L.LIVE, On.STOP): (L.DRAINING, "hang_up"),
    (L.BACKOFF, On.STOP): (L.DRAINING, "hang_up"),
    (L.DRAINING, On.STOP): (L.DRAINING, "nothing"),  # a second signal is the shell's business
    (L.DRAINING, On.GRANTED): (L.DRAINING, "nothing"),  # asked for before the end
    (L.DRAINING, On.OPENED): (L.DRAINING, "nothing"),
    (L.DRAINING, On.CREATED): (L.DRAINING, "nothing"),
    (L.DRAINING, On.UPDATED): (L.DRAINING, "nothing"),
    (L.DRAINING, On.LOST): (L.DRAINING, "nothing"),  # `closed` follows
    (L.DRAINING, On.CLOSED): (L.CLOSED, "finish"),
    (L.DRAINING, On.DUE): (L.CLOSED, "finish"),  # network does not answer; the end comes anyway
}
"""The line: (state, event) → (next state, action)."""

TURN: Final[dict[tuple[Turn, On], tuple[Turn, str]]] = {
    (T.QUIET, On.SPEECH_STARTED): (T.LISTENING, "nothing"),
    (T.QUIET, On.TALK_OVER): (T.LISTENING, "cut_reply"),
    (T.QUIET, On.BARGE_IN): (T.INTERRUPTED, "cut_reply"),
    (T.QUIET, On.SPEECH_STOPPED): (T.QUIET, "nothing"),  # the start was said to a session that is gone
    (T.QUIET, On.NOTHING_SAID): (T.QUIET, "nothing"),
    (T.QUIET, On.RESPONSE_CREATED): (T.THINKING, "expect_answer"),  # the service speaks up by itself
    (T.QUIET, On.RESPONSE_ORPHANED): (T.QUIET, "cancel_orphan"),
    (T.QUIET, On.RESPONSE_DONE): (T.QUIET, "nothing"),
    (T.QUIET, On.AUDIBLE): (T.SPEAKING, "nothing"),  # the line broke after the answer had arrived
    (T.QUIET, On.HEARD_ALL): (T.QUIET, "nothing"),
    (T.QUIET, On.LOST): (T.QUIET, "nothing"),
    (T.LISTENING, On.SPEECH_STARTED): (T.LISTENING, "nothing"),  # said twice
    (T.LISTENING, On.TALK_OVER): (T.LISTENING, "cut_reply"),
    (T.LISTENING, On.BARGE_IN): (T.INTERRUPTED, "cut_reply"),
    (T.LISTENING, On.SPEECH_STOPPED): (T.THINKING, "expect_answer"),
    (T.LISTENING, On.NOTHING_SAID): (T.QUIET, "nothing"),
    (T.LISTENING, On.RESPONSE_CREATED): (T.THINKING, "expect_answer"),  # not every service says that speech stopped
    (T.LISTENING, On.RESPONSE_ORPHANED): (T.LISTENING, "cancel_orphan"),
    (T.LISTENING, On.RESPONSE_DONE): (T.LISTENING, "nothing"),
    (T.LISTENING, On.AUDIBLE): (T.LISTENING, "nothing"),
    (T.LISTENING, On.HEARD_ALL): (T.LISTENING, "nothing"),
    (T.LISTENING, On.LOST): (T.QUIET, "nothing"),
    (T.THINKING, On.SPEECH_STARTED): (T.LISTENING, "stop_expecting"),
    (T.THINKING, On.TALK_OVER): (T.LISTENING, "cut_reply"),
    (T.THINKING, On.BARGE_IN): (T.INTERRUPTED, "cut_reply"),
    (T.THINKING, On.SPEECH_STOPPED): (T.THINKING, "nothing"),  # `stopped`, then `committed`
    (T.THINKING, On.NOTHING_SAID): (T.QUIET, "stop_expecting"),
    (T.THINKING, On.RESPONSE_CREATED): (T.THINKING, "expect_answer"),
    (T.THINKING, On.RESPONSE_ORPHANED): (T.THINKING, "cancel_orphan"),
    (T.THINKING, On.RESPONSE_DONE): (T.THINKING, "nothing"),  # its sound is still on the way; `heard` ends the turn
    (T.THINKING, On.AUDIBLE): (T.SPEAKING, "stop_expecting"),
    (T.THINKING, On.HEARD_ALL): (T.QUIET, "stop_expecting"),  # an answer without sound
    (T.THINKING, On.DUE): (T.QUIET, "replace_session"),
    (T.THINKING, On.LOST): (T.QUIET, "stop_expecting"),
    (T.SPEAKING, On.SPEECH_STARTED): (T.LISTENING, "cut_reply"),
    (T.SPEAKING, On.TALK_OVER): (T.LISTENING, "cut_reply"),
    (T.SPEAKING, On.BARGE_IN): (T.INTERRUPTED, "cut_reply"),
    (T.SPEAKING, On.SPEECH_STOPPED): (T.SPEAKING, "nothing"),
    (T.SPEAKING, On.NOTHING_SAID): (T.SPEAKING, "nothing"),
    (T.SPEAKING, On.RESPONSE_CREATED): (T.SPEAKING, "nothing"),  # a second response queues behind the first
    (T.SPEAKING, On.RESPONSE_ORPHANED): (T.SPEAKING, "cancel_orphan"),
    (T.SPEAKING, On.RESPONSE_DONE): (T.SPEAKING, "nothing"),
    (T.SPEAKING, On.AUDIBLE): (T.SPEAKING, "nothing"),
    (T.SPEAKING, On.HEARD_ALL): (T.QUIET, "nothing"),
    (T.SPEAKING, On.LOST): (T.SPEAKING, "nothing"),  # what has arrived plays out and can still be talked over
    (T.INTERRUPTED, On.SPEECH_STARTED): (T.INTERRUPTED, "nothing"),
    (T.INTERRUPTED, On.TALK_OVER): (T.INTERRUPTED, "nothing"),
    (T.INTERRUPTED, On.BARGE_IN): (T.INTERRUPTED, "nothing"),
    (T.INTERRUPTED, On.SPEECH_STOPPED): (T.THINKING, "expect_answer"),
    (T.INTERRUPTED, On.NOTHING_SAID): (T.QUIET, "nothing"),
    (T.INTERRUPTED, On.RESPONSE_CREATED): (T.THINKING, "expect_answer"),
    (T.INTERRUPTED, On.RESPONSE_ORPHANED): (T.INTERRUPTED, "cancel_orphan"),
    (T.INTERRUPTED, On.RESPONSE_DONE): (T.LISTENING, "nothing"),  # the cancelled response is confirmed gone
    (T.INTERRUPTED, On.AUDIBLE): (T.INTERRUPTED, "nothing"),
    (T.INTERRUPTED, On.HEARD_ALL): (T.INTERRUPTED, "nothing"),
    (T.INTERRUPTED, On.LOST): (T.QUIET, "nothing"),
}
"""The talk: (state, event) → (next state, action)."""

SHOWN: Final = {
    Turn.QUIET: CallState.LISTENING,
    Turn.LISTENING: CallState.USER_SPEAKING,
    Turn.INTERRUPTED: CallState.USER_SPEAKING,
    Turn.THINKING: CallState.THINKING,
    Turn.SPEAKING: CallState.SPEAKING,
}
"""The turn as people are told it, while the line is live."""


def mermaid(name: str, table: dict[tuple[Line, On], tuple[Line, str]] | dict[tuple[Turn, On], tuple[Turn, str]]) -> str:
    """Draw one table as a Mermaid state diagram: the arrows that change the state or do something."""
    rows = [f"%% {name}", "stateDiagram-v2"]
    for (state, event), (target, action) in table.items():
        if state is target and action == "nothing":
            continue
        doing = "" if action == "nothing" else f" / {action}"
        rows.append(f"    {state} --> {target}: {event}{doing}")
    return "\n".join(rows)
