"""What must hold in every simulated run: the invariants that need no second process, numbered as they were agreed.

`missing` says what a later piece of work has to bring before an invariant can hold; it is checked all the same, and a
test fails as soon as it holds.
"""

from typing import Final, NamedTuple


class Invariant(NamedTuple):
    """One promise."""

    says: str
    missing: str = ""


INVARIANTS: Final[dict[str, Invariant]] = {
    "1": Invariant("at most one session is active; at most two are open, and two only while one hands over"),
    "2": Invariant("what the loudspeaker plays has arrived, of a response that was not over when it arrived"),
    "3": Invariant("the blocks of two responses are never mixed, and within one each follows its neighbour"),
    "3-whole": Invariant("what has arrived of an answer is heard to its end, if nobody talks over it"),
    "4": Invariant("once speech_started can be read, nothing older than it is played but the fade"),
    "5": Invariant("a truncation names the item that sounded and the place where it stopped, within what arrived"),
    "5-told": Invariant("an answer that is talked over while all is well is truncated or deleted at the service"),
    "6": Invariant("frames captured are the sum of all their fates, in the daemon's books as at the microphone"),
    "7": Invariant("a frame counts as received only if the service has it", "frames in flight, settled by a pong"),
    "8": Invariant("no frame is received twice in a session, and none in a second one once it was settled"),
    "8-whole": Invariant("an utterance is heard whole in one session, or not at all", "unsettled speech sent again"),
    "9": Invariant("a session receives frames in the order they were captured"),
    "10": Invariant("no frame older than 20 s is sent"),
    "10-kept": Invariant("no frame younger than 15 s is left out, unless it was captured before a mute"),
    "10-open": Invariant("once there was a session the microphone stays open, unless it is muted or gone"),
    "11": Invariant("while muted the microphone is closed and nothing is sent"),
    "11-spool": Invariant("speech that waited when the microphone was muted is not sent"),
    "11-clear": Invariant("what was being said when the microphone was muted is taken back from the service"),
    "12": Invariant("at most 15 attempts in 60 s, never two within 100 ms, none before Retry-After"),
    "12-first": Invariant("after a cut of a line that was long well the first attempt comes at once"),
    "13": Invariant("every attempt has its own client secret, used once"),
    "13-last": Invariant("the daemon gives up only if it was refused outright, or three fresh secrets in a row were"),
    "16": Invariant("sound that can flow is less than 2 s old when it is received"),
    "17": Invariant("no secret is in anything the daemon says or prints"),
    "18": Invariant("no sound is sent before the settings are confirmed; on a replaced session nothing but its close"),
    "19": Invariant("a restored conversation holds only what was said or heard", "restoring the conversation"),
    "20": Invariant("no request waits beyond its deadline"),
    "20-id": Invariant(
        "an error names the one request it is about", "event ids on requests, kept until they are answered or too old"
    ),
    "21": Invariant("no actor fails, whatever happens around it"),
    "22": Invariant("there is a ready session 12 s after the last fault has ended"),
    "22-kept": Invariant("a session that is well is kept"),
    "23": Invariant("no session is ended by the service for its age", "make-before-break renewal"),
    "24": Invariant("what is said while all is well is answered, and the answer heard, within 10 s"),
    "25-stall": Invariant("an answer that does not come costs the session within 8 s"),
    "25-gap": Invariant("an answer that breaks off costs the session within 3 s"),
    "25-failed": Invariant("two answers that fail within 60 s cost the session"),
    "25-deaf": Invariant("a service that hears nothing of two utterances loses the session within 8 s"),
    "25-streaming": Invariant("a half-open line is given up within 3 s of sound that vanishes"),
    "25-idle": Invariant("a half-open line is given up within 10 s of silence"),
    "26": Invariant("told to stop, the daemon ends within 5 s"),
}


class Violation(NamedTuple):
    """An invariant did not hold at `at_s`."""

    invariant: str
    at_s: float
    text: str
