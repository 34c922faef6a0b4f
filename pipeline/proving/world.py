"""The simulated world: the whole daemon with everything around it, in one process, under one seed and one clock.

The daemon is the one that ships: `app.run` with every actor, the real session, the real WebSocket edge and token
client. Simulated are only what stands outside of it: network, service, backend, room, clock on the wall.
"""

import gc
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from random import Random
from typing import Final

import msgspec
import trio

from pipeline import app
from pipeline.dsp.voice_activity import Detector
from pipeline.edges.keepalive import RestUntil
from pipeline.edges.token_client import TokenClient
from pipeline.edges.websocket import WebSocketConnector
from pipeline.proving import happenings as hp
from pipeline.proving.network import Network
from pipeline.proving.simulated_backend import SimulatedBackend
from pipeline.proving.simulated_devices import (
    MarkedVoiceActivity,
    SimulatedLoudspeaker,
    SimulatedMicrophone,
    Utterance,
)
from pipeline.proving.simulated_service import MODEL, SimulatedService
from pipeline.proving.trace import Listener, Trace
from pipeline.realtime.dialects import DIALECTS
from pipeline.server.admission import Admission
from pipeline.vocabulary.configuration import load
from pipeline.vocabulary.errors import TalkwireError
from pipeline.vocabulary.settings import Settings
from pipeline.vocabulary.signals import Command, FinishedNotice, Mute, Notice, Secret, Stop, Unmute

EPOCH_S: Final = 1_800_000_000.0
"""Unix time at which every run begins."""
PROVIDER_KEY: Final = Secret("sk-simulated")
"""Of the service; nobody in this world holds it, so that only client secrets open sessions."""
RESTART_S: Final = 5.0
"""A daemon that ended is started again after this, as a service manager does it."""
PATIENCE_S: Final = 30.0
"""So long the world waits at the end for the daemon."""
SWEEP_S: Final = 12 * 3_600.0
"""Garbage is collected this often."""
PAUSE_S: Final = 1.5, 6.0
"""Between two utterances of a visit."""
AT_ONCE_SHARE: Final = 0.25
"""So many utterances are the last one's afterthought ..."""
AT_ONCE_S: Final = 0.55, 0.85
"""... and come after so much silence: the service has taken the last one for over, and its answer is about to sound."""
OVERRIDES: Final = (
    "audio.input=none:",
    "audio.output=none:",
    f"conversation.model={MODEL}",
    "turn.mode=server_vad",
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    Attributes:
        seed: of everything.
        duration_s: how long it is.
        visits_per_h: how often somebody comes to talk, on average.
        faults: nemeses by name.
        faults_per_h: how often one of them strikes, on average.
        continuous: the microphone hears all the time, else only while somebody speaks.
        frame_ms: length of its blocks.
    """

    seed: int
    duration_s: float
    visits_per_h: float = 1.2
    faults: tuple[str, ...] = ()
    faults_per_h: float = 1.0
    continuous: bool = False
    frame_ms: int = 20

    @property
    def command(self) -> str:
        """The line that runs it again."""
        days = _written(self.duration_s / 86_400, lambda days: days * 86_400 == self.duration_s)
        faults_per_h = _written(self.faults_per_h, lambda per_h: per_h == self.faults_per_h)
        visits_per_h = _written(self.visits_per_h, lambda per_h: per_h == self.visits_per_h)
        parts = [f"talkwire simulate --days {days} --seed {self.seed}"]
        parts.append(f"--faults {','.join(self.faults) or 'none'}")
        parts.append(f"--faults-per-hour {faults_per_h} --visits-per-hour {visits_per_h}")
        return " ".join(parts + ["--continuous"] * self.continuous)


def _written(number: float, says_it: Callable[[float], bool]) -> str:
    """In as few digits as say it: a run that is a hair longer is another one."""
    texts = (f"{number:.{digits}g}" for digits in range(6, 18))
    return next((text for text in texts if says_it(float(text))), repr(number))


class World:
    """Everything of one run.

    Attributes:
        plan: the run.
        trace: what happened.
        script: who speaks when.
        network, backend, service, microphone, loudspeaker, operator: what stands around the daemon.
        rest_until: how an idle line waits for its next ping.
        wall_offset_s: how wrong the clock on the daemon's wall is.
        slept_s: how long the machine was suspended: the world has gone on by so much.
        books: the frames by fate, summed over every daemon that ended in order.
    """

    def __init__(self, plan: Plan, script: Sequence[Utterance], listener: Listener) -> None:
        self.plan = plan
        self.settings: Settings = load(overrides=[*OVERRIDES, f"audio.frame_ms={plan.frame_ms}"])
        self.trace = Trace(listener)
        self.script = script
        self.wall_offset_s = 0.0
        self.slept_s = 0.0
        self.books: dict[str, int] = {}
        voice, dialect = self.settings.conversation.voice, DIALECTS[self.settings.server.dialect]
        admission = Admission(PROVIDER_KEY, voice=voice, max_sessions=1_000, dialect=dialect)
        self.loudspeaker = SimulatedLoudspeaker(self.trace)
        self.microphone = SimulatedMicrophone(self.trace, self.script, continuous=plan.continuous)
        self.service = SimulatedService(
            self.trace, admission, self.true_wall_s, plan.frame_ms, plan.seed, self.settings.server
        )
        self.network = Network(self.trace, self.service.accept, plan.frame_ms, plan.seed)
        self.backend = SimulatedBackend(self.trace, self.network, admission, self.true_wall_s)
        self.rest_until: RestUntil = self.network.rest_until
        self.operator = Operator(self.trace)
        self._nursery: trio.Nursery | None = None

    def true_wall_s(self) -> float:
        """Unix time by everybody else's clock."""
        return EPOCH_S + trio.current_time() + self.slept_s

    def wall_s(self) -> float:
        """Unix time by the daemon's clock."""
        return self.true_wall_s() + self.wall_offset_s

    async def live(self) -> None:
        """From the start of the daemon to its end."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self.service.run)
            self._nursery.start_soon(self._sweep)
            self._nursery.start_soon(self._speak)
            self._nursery.start_soon(self._end)
            await self._run_daemon()
            self._nursery.cancel_scope.cancel()

    def start_soon(self, work: Callable[[], Awaitable[None]]) -> None:
        """Let something more happen in it."""
        assert self._nursery is not None, "the world lives"
        self._nursery.start_soon(work)

    async def _run_daemon(self) -> None:
        dice = Random(f"{self.plan.seed} daemon")  # noqa: S311 - reproducible, not a secret
        while not self.operator.asked:
            self.trace.add(hp.DaemonStarted())
            error = ""
            try:
                await app.run(self.settings, self._edges(), self._note, dice=dice)
            except TalkwireError as reason:
                error = type(reason).__name__
            self.trace.add(hp.DaemonEnded(error))
            if not self.operator.asked:
                with trio.move_on_after(RESTART_S):
                    await self.operator.wait()

    def _edges(self) -> app.Edges:
        settings = self.settings
        return app.Edges(
            self.microphone,
            self.loudspeaker,
            Detector("marks", lambda: MarkedVoiceActivity(self.plan.frame_ms)),
            WebSocketConnector(
                settings.service,
                MODEL,
                open_stream=self.network.open_stream,
                wall_s=self.wall_s,
                rest_until=self.rest_until,
            ),
            TokenClient(settings.token, model=MODEL, key=None, transport=self.backend, wall_s=self.wall_s),
            self.operator,
        )

    def _note(self, notice: Notice) -> None:
        if isinstance(notice, FinishedNotice):
            for fate, frames in notice.frames.items():
                self.books[fate] = self.books.get(fate, 0) + frames
        self.trace.add(hp.Noticed(type(notice).__name__, msgspec.json.encode(notice).decode()))

    async def _speak(self) -> None:
        for utterance in self.script:
            await trio.sleep_until(utterance.start_s)
            self.trace.add(hp.UtteranceBegan(utterance.number))
            await trio.sleep_until(utterance.end_s)
            self.trace.add(hp.UtteranceEnded(utterance.number))

    async def _end(self) -> None:
        await trio.sleep_until(self.plan.duration_s)
        self.trace.add(hp.StopAsked())
        self.operator.stop()
        await trio.sleep(PATIENCE_S)
        assert self._nursery is not None, "the world lives"
        self._nursery.cancel_scope.cancel()  # a daemon that does not end is ended; the oracle has seen it

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_S)
            gc.collect()


class Operator:
    """Whoever steers the daemon and stops it at the end (CommandSource)."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._asked = trio.Event()
        self._orders: deque[Command] = deque()
        self._ordered = trio.lowlevel.ParkingLot()
        self._is_heard = False

    @property
    def asked(self) -> bool:
        """Whether it shall end."""
        return self._asked.is_set()

    def stop(self) -> None:
        """Let it end."""
        self._asked.set()
        self._ordered.unpark_all()

    def mute(self, *, on: bool) -> None:
        """Mute the microphone, or let it listen again; a daemon that does not run hears nothing of it."""
        if self._is_heard:
            self._trace.add(hp.Muted() if on else hp.Unmuted())
            self._orders.append(Mute() if on else Unmute())
            self._ordered.unpark_all()

    async def wait(self) -> None:
        """Until it shall end."""
        await self._asked.wait()

    async def commands(self) -> AsyncGenerator[Command, None]:
        """As CommandSource."""
        self._is_heard = True
        try:
            while True:
                while self._orders:
                    yield self._orders.popleft()
                if self.asked:
                    yield Stop()
                    return
                await self._ordered.park()
        finally:
            self._is_heard = False
            self._orders.clear()


def talk(plan: Plan) -> list[Utterance]:
    """Who speaks when: visits of one to three utterances.

    Some of them begin before the last answer has ended. Where there are faults, some begin just when it does; without
    any, everything said is answered.
    """
    dice = Random(f"{plan.seed} talk")  # noqa: S311 - reproducible, not a secret
    script: list[Utterance] = []
    at_s = 10.0
    while plan.visits_per_h and (at_s := at_s + dice.expovariate(plan.visits_per_h / 3_600)) < plan.duration_s - 30:
        for _ in range(dice.randint(1, 3)):
            end_s = at_s + dice.uniform(0.6, 2.0)
            script.append(Utterance(len(script) + 1, at_s, end_s))
            at_once = plan.faults and dice.random() < AT_ONCE_SHARE
            at_s = end_s + dice.uniform(*(AT_ONCE_S if at_once else PAUSE_S))
    return [each for each in script if each.end_s < plan.duration_s - 20]
