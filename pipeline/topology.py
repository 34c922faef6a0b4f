"""THE MAP: actors, links, placements and restart rules of talkwire, as tables and nothing else.

`runtime/graph` refuses a map that cannot work, sums its delays and draws README's picture; `app` brings it to life.
"""

from typing import Final

from pipeline.actors.capture import capture
from pipeline.actors.credential import credential
from pipeline.actors.decoder import decoder
from pipeline.actors.encoder import encoder
from pipeline.actors.network import network
from pipeline.actors.playback import playback
from pipeline.actors.session import session
from pipeline.core.overflow import Hold, Overflow
from pipeline.runtime.graph import ActorSpec, LinkSpec, Placement, Restart

RESTARTS_MAX: Final = 5
"""Restart intensity: more restarts than this ..."""
RESTART_PERIOD_S: Final = 60.0
"""... within this long mean that restarting does not help (design §5)."""

ACTORS: Final = (
    ActorSpec("session", session, restart=Restart.TRANSIENT, significant=True),
    ActorSpec("credential", credential),
    ActorSpec("network", network, gateway=True, grace_s=1.5),  # a close frame may take its deadline of 1 s
    ActorSpec("encoder", encoder),
    ActorSpec("decoder", decoder),
    ActorSpec("playback", playback),
    ActorSpec("capture", capture),
)
"""In the order of starting: who must be there before others speak to it. A failure restarts the rest of the row."""


def _ms(amount: float) -> Hold:
    return Hold(amount, "ms")


def _items(amount: int) -> Hold:
    return Hold(amount, "items")


LINKS: Final = (
    LinkSpec(
        "mic", "capture.frames", "encoder.frames", _ms(2_000), Overflow.DROP_OLDEST,
        "a busy process can stall 0.4 to 0.8 s and the device cannot wait",
    ),
    LinkSpec(
        "uplink", "encoder.packets", "network.uplink", _ms(200), Overflow.WAIT,
        "network drains it at all times, into the ledger's spool",
    ),
    LinkSpec(
        "reply", "network.reply", "decoder.packets", _ms(240_000), Overflow.FAIL,
        "the service sends faster than real time and the reader must never wait, or pings queue behind sound",
        obeys_floor=True,
    ),
    LinkSpec(
        "speech", "decoder.frames", "playback.frames", _ms(2_000), Overflow.WAIT,
        "real backpressure, the loudspeaker is the clock; its depth is harmless, a floor empties it",
        obeys_floor=True,
    ),
    LinkSpec(
        "heard", "playback.heard", "session.heard", _items(1), Overflow.LATEST,
        "a gauge: only the newest position matters",
    ),
    LinkSpec(
        "flushed", "playback.flushed", "session.flushed", _items(8), Overflow.FAIL,
        "truncation needs every one, so none is overwritten",
    ),
    LinkSpec(
        "activity", "capture.activity", "session.activity", _items(8), Overflow.FAIL,
        "a lost start or end of input would leave the call waiting",
    ),
    LinkSpec(
        "service", "network.service", "session.service", _items(64), Overflow.FAIL,
        "control never drops silently; the session answers each at once",
    ),
    LinkSpec(
        "intent", "session.intents", "network.intents", _items(32), Overflow.FAIL,
        "control never drops silently",
    ),
    LinkSpec(
        "output", "session.loudspeaker", "playback.commands", _items(8), Overflow.FAIL,
        "a lost command would leave the volume wrong",
    ),
    LinkSpec(
        "input", "session.microphone", "capture.commands", _items(8), Overflow.FAIL,
        "a lost command would leave the microphone open",
    ),
    LinkSpec(
        "token_ask", "session.asks", "credential.asks", _items(1), Overflow.LATEST,
        "single flight: only the newest attempt needs a secret",
    ),
    LinkSpec(
        "token", "credential.tokens", "session.tokens", _items(1), Overflow.LATEST,
        "an older attempt's secret is worth nothing",
    ),
)  # fmt: skip
"""Every link with its bound, its overflow rule and the reason for both."""

INSEPARABLE: Final = (("capture", "playback"),)
"""They share a device and its clock; the echo canceller needs both sides of it."""

SINGLE: Final[Placement] = {actor.name: "main" for actor in ACTORS}
"""Everything in one process: tests and simulation."""

DAEMON: Final[Placement] = {**SINGLE, "capture": "audio", "playback": "audio"}
"""Sound apart from everything that could make it stutter, and from what only a kill cures (design §4)."""

PLACEMENTS: Final = {"single": SINGLE, "daemon": DAEMON}
"""By the name that the setting `runtime.placement` gives."""
