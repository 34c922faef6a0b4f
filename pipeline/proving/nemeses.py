"""The nemeses: what the world does to the daemon, one catalogue, each by its name.

Each is a function that begins something, lasts, and ends it; so any may fall into any other, and a burst is several at
once. Those that are the service's own come from the local server's catalogue of faults, under their names there.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from random import Random
from typing import Any, Final, NamedTuple

import trio

from pipeline.proving import happenings as hp
from pipeline.proving.simulated_backend import BackendFault
from pipeline.proving.simulated_devices import Utterance
from pipeline.proving.toxics import Bandwidth, HalfOpen, Latency, Slicer, Stall
from pipeline.proving.world import Plan, World
from pipeline.realtime import events as ev
from pipeline.server.faults import door, endings, refusals, replies, sound, turns, wire
from pipeline.server.faults.catalogue import KINDS, Fault
from pipeline.server.faults.door import DoorFault


class Strike(NamedTuple):
    """This nemesis begins at `at_s` and lasts `lasts_s`; `seed` is of its own dice."""

    at_s: float
    nemesis: str
    lasts_s: float
    seed: str


class Stage(NamedTuple):
    """What a nemesis has to work with."""

    world: World
    lasts_s: float
    dice: Random

    async def last(self) -> None:
        """Until it is over."""
        await trio.sleep(self.lasts_s)


class Nemesis(NamedTuple):
    """One entry of the catalogue."""

    act: Callable[[Stage], Awaitable[None]]
    shortest_s: float
    longest_s: float

    @property
    def says(self) -> str:
        """What it does, in a line."""
        return (self.act.__doc__ or "").partition("\n")[0]


# the network


async def cut(stage: Stage) -> None:
    """Every line is cut, and the network is away for a while."""
    with stage.world.network.refusing():
        stage.world.network.cut()
        await stage.last()


async def reset(stage: Stage) -> None:
    """Every line is reset; a new one can be had at once."""
    stage.world.network.cut()
    await stage.last()


async def black_hole(stage: Stage) -> None:
    """Nothing arrives in either direction, and nobody is told."""
    await _swallow(stage, HalfOpen())


async def black_hole_up(stage: Stage) -> None:
    """Nothing that the daemon sends arrives."""
    await _swallow(stage, HalfOpen(direction="up"))


async def black_hole_down(stage: Stage) -> None:
    """Nothing that the service sends arrives."""
    await _swallow(stage, HalfOpen(direction="down"))


async def _swallow(stage: Stage, toxic: HalfOpen) -> None:
    with stage.world.network.poisoned(toxic), stage.world.network.swallowing():
        await stage.last()


async def slow(stage: Stage) -> None:
    """A slow and shaky line."""
    rate_kbit_s = stage.dice.choice([32.0, 64.0, 256.0, 1_000.0])
    toxics = Latency(latency_ms=300.0, jitter_ms=100.0), Bandwidth(rate_kbit_s=rate_kbit_s)
    with stage.world.network.poisoned(*toxics):
        await stage.last()


async def slice_(stage: Stage) -> None:
    """Bytes come in slices that end anywhere."""
    average = stage.dice.choice([1, 7, 100, 1_000])
    with stage.world.network.poisoned(Slicer(average_bytes=average, variation_bytes=average // 2)):
        await stage.last()


async def duplicate_accept(stage: Stage) -> None:
    """The service gets every connection twice: the twin says the same hello, then nothing."""
    network = stage.world.network
    for each in network.wires:
        if each.greeting:
            twin = network.connect(twin=True)
            await twin.client.send_all(each.greeting)
            await stage.last()
            await twin.client.aclose()
            return


async def swizzle_clog(stage: Stage) -> None:
    """Both directions and the token backend clog one after another, and clear in another order; nothing is lost."""
    network, backend = stage.world.network, stage.world.backend
    clogs: list[AbstractContextManager[None]] = [
        network.poisoned(Stall(direction="up")),
        network.poisoned(Stall(direction="down")),
        backend.ailing(BackendFault.HANGS),
    ]
    stage.dice.shuffle(clogs)
    order = stage.dice.sample(clogs, len(clogs))
    for clog in clogs:
        clog.__enter__()
        await trio.sleep(stage.lasts_s / 6)
    for clog in order:
        clog.__exit__(None, None, None)
        await trio.sleep(stage.lasts_s / 6)


# the token backend: whatever ails it shows only to a daemon that needs a secret


def _ailing(fault: BackendFault, says: str) -> Callable[[Stage], Awaitable[None]]:
    async def ail(stage: Stage) -> None:
        with stage.world.backend.ailing(fault):
            stage.world.network.cut()
            await stage.last()

    ail.__doc__ = f"The lines are cut while the token backend {says}."
    return ail


# the service


async def cap_changed(stage: Stage) -> None:
    """The service changes how long its sessions may live, and ends those that are too old by the new rule."""
    service = stage.world.service
    service.cap_s = stage.dice.choice([900.0, 1_800.0, 3_600.0])
    for session in list(service.sessions.values()):
        session.hang_up(1001, f"Your session hit the maximum duration of {service.cap_s / 60:g} minutes.")
    await stage.last()


async def orphan_response(stage: Stage) -> None:
    """The service begins a response nobody asked for."""
    for session in list(stage.world.service.sessions.values()):
        session.ask(ev.ResponseCreate())
    await stage.last()


async def poisoned_session(stage: Stage) -> None:
    """Every response fails, two of them at least."""
    service = stage.world.service
    with service.spoilt(replies.ResponseFailed()):
        for _ in range(2):
            for session in list(service.sessions.values()):
                session.ask(ev.ResponseCreate())
            await trio.sleep(stage.lasts_s / 2)


async def vad_stuck_off(stage: Stage) -> None:
    """The sessions open now hear nobody, for long or until they end; new ones do."""
    with ExitStack() as spoilt, trio.move_on_after(stage.lasts_s):
        for session in (deaf := list(stage.world.service.sessions.values())):
            spoilt.enter_context(session.spoilt(turns.MissedSpeech()))
        for session in deaf:
            await session.ended.wait()


async def flood(stage: Stage) -> None:
    """The service says 500 things at once."""
    for session in list(stage.world.service.sessions.values()):
        session.flood(500)
    await stage.last()


def _spoilt(kind: type[Fault]) -> Callable[[Stage], Awaitable[None]]:
    """A fault of the local server's catalogue, on every connection while it lasts."""

    async def spoil(stage: Stage) -> None:
        chosen = {field: stage.dice.choice(values) for field, values in VARIED.get(kind, {}).items()}
        with stage.world.service.spoilt(kind(**chosen)):
            if kind in AT_THE_DOOR:
                stage.world.network.cut()
            await stage.last()

    spoil.__doc__ = " ".join((kind.__doc__ or "").partition("\n")[0].split())
    return spoil


AT_THE_DOOR: Final = (
    *DoorFault.__subclasses__(),
    door.ExpiredKey,
    door.NoSession,
    door.SlowSettings,
    door.WrongExpiry,
    door.WrongFormat,
    refusals.UpdateRefused,
)
"""Faults that only a new connection meets."""

VARIED: Final[dict[type[Fault], dict[str, Sequence[Any]]]] = {
    door.RefuseUpgrade: {"status": (401, 403, 404, 429, 500, 503), "retry_after_s": (None, 5, 20)},
    endings.CloseFault: {"code": (1000, 1001, 1011, 1012, 1013)},
    endings.DropFault: {"after_audio_ms": (0.0, 600.0)},
    endings.HalfOpen: {"after_audio_ms": (0.0, 600.0)},
    replies.LateDeltas: {"after": ("done", "cancel")},
    replies.StalledResponse: {"after_audio_ms": (0.0, 400.0)},
    sound.BigFrame: {"frame_bytes": (1_200_000, 17_000_000)},
    turns.FalseStart: {"missing": ("stopped", "committed")},
    wire.DuplicateEvent: {"event": ("", "response.output_audio.delta")},
}
"""Fields that the dice choose; all others are as the catalogue has them."""


# the machine


async def clock_step(stage: Stage) -> None:
    """The clock on the wall jumps."""
    stage.world.wall_offset_s += stage.dice.choice([-86_400.0, -3_600.0, -60.0, 60.0, 3_600.0, 86_400.0])
    await stage.last()


async def suspend(stage: Stage) -> None:
    """The machine sleeps: its clock stands still while the world goes on and forgets it."""
    world = stage.world
    world.slept_s += stage.dice.choice([30.0, 600.0, 30_000.0])
    for each in world.network.wires:
        each.forget()
    await stage.last()


async def microphone_stop(stage: Stage) -> None:
    """The microphone is unplugged for a while."""
    with stage.world.microphone.unplugged():
        await stage.last()


async def loudspeaker_stop(stage: Stage) -> None:
    """The loudspeaker is unplugged for a while."""
    with stage.world.loudspeaker.unplugged():
        await stage.last()


# the person beside it


async def mute(stage: Stage) -> None:
    """Somebody mutes the microphone for a while."""
    stage.world.operator.mute(on=True)
    await stage.last()
    stage.world.operator.mute(on=False)


async def mute_hammered(stage: Stage) -> None:
    """Somebody hammers on the mute button, and the last that is asked is to be muted."""
    for _ in range(stage.dice.randint(3, 20)):
        for on in (True, False):
            stage.world.operator.mute(on=on)
            await trio.sleep(stage.dice.uniform(0.02, 0.2))
    await mute(stage)


async def mute_offline(stage: Stage) -> None:
    """Somebody mutes the microphone while the network is away; it is back before they listen again."""
    with stage.world.network.refusing():
        stage.world.network.cut()
        await trio.sleep(stage.lasts_s / 3)
        stage.world.operator.mute(on=True)
        await trio.sleep(stage.lasts_s / 3)
    await trio.sleep(stage.lasts_s / 3)
    stage.world.operator.mute(on=False)


async def several(stage: Stage) -> None:
    """Three to six of the others within 15 s."""
    async with trio.open_nursery() as nursery:
        for number in range(stage.dice.randint(3, 6)):
            name = stage.dice.choice(SINGLE)
            nemesis = NEMESES[name]
            lasts_s = min(stage.lasts_s, _length(nemesis, stage.dice))
            part = Strike(trio.current_time() + stage.dice.uniform(0, 15), name, lasts_s, f"{number}")
            nursery.start_soon(strike, stage.world, part, stage.dice.random())


NEMESES: Final[dict[str, Nemesis]] = {
    "cut": Nemesis(cut, 1.0, 120.0),
    "reset": Nemesis(reset, 0.0, 0.0),
    "black-hole": Nemesis(black_hole, 1.0, 60.0),
    "black-hole-up": Nemesis(black_hole_up, 1.0, 60.0),
    "black-hole-down": Nemesis(black_hole_down, 1.0, 60.0),
    "slow": Nemesis(slow, 5.0, 60.0),
    "slice": Nemesis(slice_, 5.0, 60.0),
    "duplicate-accept": Nemesis(duplicate_accept, 1.0, 40.0),
    "swizzle-clog": Nemesis(swizzle_clog, 3.0, 60.0),
    "token-401": Nemesis(_ailing(BackendFault.REFUSES, "refuses this device (401)"), 1.0, 30.0),
    "token-403": Nemesis(_ailing(BackendFault.FORBIDS, "forbids this device (403)"), 1.0, 30.0),
    "token-429": Nemesis(_ailing(BackendFault.BUSY, "is asked too often (429)"), 1.0, 60.0),
    "token-5xx": Nemesis(_ailing(BackendFault.BROKEN, "is broken (5xx)"), 1.0, 60.0),
    "token-hang": Nemesis(_ailing(BackendFault.HANGS, "does not answer"), 1.0, 60.0),
    "token-garbage": Nemesis(_ailing(BackendFault.GARBAGE, "answers with a web page"), 1.0, 60.0),
    "cap-changed": Nemesis(cap_changed, 0.0, 0.0),
    "orphan-response": Nemesis(orphan_response, 1.0, 1.0),
    "vad-stuck-off": Nemesis(vad_stuck_off, 300.0, 1_800.0),
    "poisoned-session": Nemesis(poisoned_session, 1.0, 60.0),
    "clock-step": Nemesis(clock_step, 0.0, 0.0),
    "suspend": Nemesis(suspend, 0.0, 0.0),
    "microphone-stop": Nemesis(microphone_stop, 1.0, 60.0),
    "loudspeaker-stop": Nemesis(loudspeaker_stop, 1.0, 60.0),
    "mute": Nemesis(mute, 0.5, 60.0),
    "mute-hammered": Nemesis(mute_hammered, 0.5, 20.0),
    "mute-offline": Nemesis(mute_offline, 6.0, 45.0),
    "flood": Nemesis(flood, 0.0, 0.0),
    "several": Nemesis(several, 15.0, 60.0),
    **{name: Nemesis(_spoilt(kind), 1.0, 60.0) for name, kind in KINDS.items()},
}
"""All of them by name."""

SINGLE: Final = [name for name in NEMESES if name != "several"]


async def strike(world: World, planned: Strike, seed: object) -> None:
    """Let one nemesis work, from its beginning to its end."""
    await trio.sleep_until(planned.at_s)
    world.trace.add(hp.Troubled(planned.nemesis))
    dice = Random(f"{planned.seed} {seed}")  # noqa: S311 - reproducible, not a secret
    await NEMESES[planned.nemesis].act(Stage(world, planned.lasts_s, dice))
    world.trace.add(hp.Calmed(planned.nemesis))


async def unleash(world: World, strikes: Sequence[Strike]) -> None:
    """Let all of them work, each at its time."""
    async with trio.open_nursery() as nursery:
        for number, planned in enumerate(strikes):
            nursery.start_soon(strike, world, planned, number)


def schedule(plan: Plan, script: Sequence[Utterance]) -> list[Strike]:
    """When which nemesis strikes: half of them at any time, half while somebody speaks or is answered.

    None begins in the last three minutes, so that every run can show how it ends well.
    """
    dice = Random(f"{plan.seed} nemeses")  # noqa: S311 - reproducible, not a secret
    last_s = plan.duration_s - 180.0
    strikes: list[Strike] = []
    at_s = 0.0
    while plan.faults and (at_s := at_s + dice.expovariate(plan.faults_per_h / 3_600)) < last_s:
        name = dice.choice(plan.faults)
        near = dice.choice(script).start_s if script and dice.random() < 0.5 else None
        begin_s = at_s if near is None else near + dice.uniform(-3.0, 6.0)
        lasts_s = min(_length(NEMESES[name], dice), last_s - begin_s)
        if begin_s > 0 and lasts_s >= 0:
            strikes.append(Strike(round(begin_s, 3), name, round(lasts_s, 3), str(plan.seed)))
    return sorted(strikes)


def _length(nemesis: Nemesis, dice: Random) -> float:
    """Short ones are as likely as long ones, by order of magnitude."""
    if nemesis.longest_s == 0:
        return 0.0
    return math.exp(dice.uniform(math.log(nemesis.shortest_s), math.log(nemesis.longest_s)))
