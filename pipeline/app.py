"""Settings, the map and the edges become a running endpoint."""

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import msgspec
import trio

from pipeline import topology
from pipeline.child import audio_devices, audio_edges, audio_plan
from pipeline.core.devices import Devices
from pipeline.core.retry import RestartIntensity
from pipeline.core.session import Session, SessionPlan
from pipeline.dsp.voice_activity import Detector
from pipeline.edges.control_socket import ControlSocket
from pipeline.edges.interfaces import CommandSource, Connector, InputDevice, OutputDevice, TokenSource
from pipeline.edges.token_client import TokenClient
from pipeline.edges.wav import demand_readable
from pipeline.edges.websocket import WebSocketConnector
from pipeline.overview import Overview
from pipeline.realtime.session_config import session_update
from pipeline.runtime import graph, processes, supervisor, worker
from pipeline.runtime.floor import Floor
from pipeline.runtime.graph import Placement
from pipeline.runtime.health import Health
from pipeline.runtime.links import Links, open_links
from pipeline.runtime.processes import Death
from pipeline.runtime.progress import Progress
from pipeline.runtime.reports import Beat
from pipeline.runtime.supervisor import Incident
from pipeline.vocabulary.errors import ConfigurationError, Fault, Problem, Verdict
from pipeline.vocabulary.settings import AudioSettings, Settings
from pipeline.vocabulary.signals import Adopt, Command, FaultNotice, Notice, Secret

MIC: Final = "mic"
"""The link that every captured frame goes through."""
ATTEMPTS_MAX: Final = 1_000_000_000
"""Connection attempts that one incarnation of the session can number: at 15 a minute more than a century."""
MAIN: Final = worker.PARENT
"""This process; the others are its children."""


class Edges:
    """The world this endpoint lives in: real here, simulated in tests, never mixed up inside."""

    def __init__(
        self,
        microphone: InputDevice,
        loudspeaker: OutputDevice,
        detector: Detector,
        connector: Connector,
        token_source: TokenSource,
        commands: CommandSource,
    ) -> None:
        self.microphone = microphone
        self.loudspeaker = loudspeaker
        self.detector = detector
        self.connector = connector
        self.token_source = token_source
        self.commands = commands


def real_edges(settings: Settings, key: Secret | None, commands: CommandSource) -> Edges:
    """The edges that the settings name.

    Raises:
        ConfigurationError: one of them cannot exist.
        AudioFileError: the recording to be played in cannot be used.
    """
    _demand_two_files(settings.audio)
    if isinstance(settings.audio.input, str) and settings.audio.input.startswith("wav:"):
        demand_readable(Path(settings.audio.input[4:]))
    model = settings.conversation.model
    return Edges(
        *audio_devices(audio_plan(settings)),
        WebSocketConnector(settings.service, model=model),
        TokenClient(settings.token, model=model, key=key),
        commands,
    )


async def run_endpoint(
    settings: Settings,
    *,
    key: Secret | None,
    notify: Callable[[Notice], None],
    commands: CommandSource,
    health: Health,
    control: ControlSocket,
) -> None:
    """Run the endpoint in the real world; as `run`.

    Raises:
        TalkwireError: what ended it, if that was no ordinary end; ConfigurationError before anything starts.
    """
    placement = topology.PLACEMENTS[settings.runtime.placement]
    await run(settings, real_edges(settings, key, commands), notify, placement, health=health, control=control)


async def run(
    settings: Settings,
    edges: Edges,
    notify: Callable[[Notice], None],
    placement: Placement = topology.SINGLE,
    *,
    health: Health | None = None,
    dice: Random | None = None,
    control: ControlSocket | None = None,
) -> None:
    """Run the endpoint until its call is over.

    Args:
        settings: all of them.
        edges: the world.
        notify: is told what happens; must neither wait nor raise.
        placement: actor → process. Who lives in another process makes edges of its own from the settings.
        health: is kept up to date, for who wants to know.
        dice: of the backoff; a simulation gives seeded ones.
        control: where others may look; None for nowhere.

    Raises:
        TalkwireError: what ended it, if that was no ordinary end.
    """
    graph.check(topology.ACTORS, topology.LINKS, placement, topology.INSEPARABLE)
    floor = Floor()
    health = health or Health()
    with open_links(topology.ACTORS, topology.LINKS, placement, MAIN, floor) as links:
        here = [actor for actor in topology.ACTORS if placement[actor.name] == MAIN]
        dice = dice or Random()  # noqa: S311 - of a backoff, not of a secret
        states = supervisor.new_states(here)
        children = [processes.ChildState(name) for name in sorted(set(placement.values()) - {MAIN})]
        health.children += children
        overview = Overview(MAIN, placement, links, states, children, trio.current_time())

        def report(incident: Incident) -> None:
            if incident.fault is None or incident.fault.verdict is not Verdict.STOP:
                notify(_told(incident))  # else it ends the program with that error, which is told as such

        def tell(notice: Notice) -> None:
            if not nursery.cancel_scope.cancel_called:  # else actors tell of each other's end, as if it went on
                notify(notice)

        given = _edges_of_actors(settings, edges, floor, overview, health.progress, tell, dice)
        edges_here = {name: each for name, each in given.items() if placement[name] == MAIN}
        arguments = graph.bind(here, topology.LINKS, links.ends, edges_here)
        try:
            async with trio.open_nursery() as nursery:
                for child in children:
                    nursery.start_soon(_keep_child, child, settings, links, floor, overview.devices, report)
                if control is not None:
                    nursery.start_soon(_serve, control, overview)
                await supervisor.run(here, arguments, states, intensity=_intensity(), report=report)
                nursery.cancel_scope.cancel()
        except ExceptionGroup as group:
            raise supervisor.most_telling(group) from None


async def _serve(control: ControlSocket, overview: Overview) -> None:
    await overview.begun.wait()
    await control.serve(lambda: overview.snapshot(trio.current_time()))


async def _keep_child(
    state: processes.ChildState,
    settings: Settings,
    links: Links,
    floor: Floor,
    devices: Devices,
    report: Callable[[Incident], None],
) -> None:
    captured = epoch = 0

    def plan(last: Beat | None, death: Death | None) -> bytes:
        """Frames are numbered on over a death, so that those it took with it are missed and counted.

        A new process would open the very card that the last one hung on, and only the parent is there to tell it.
        """
        nonlocal captured, epoch
        if death is not None:
            devices.lose()
        captured += sum(link.sent for link in last.links if link.name == MIC) if last else 0
        epoch += 1
        sound_hung = death is Death.OUTAGE
        return msgspec.msgpack.encode(audio_plan(settings, first_seq=captured, epoch=epoch, sound_hung=sound_hung))

    await processes.supervise(
        processes.ChildSpec(
            state.name, [sys.executable, "-m", "pipeline.runtime.fork_server", "pipeline.child", state.name]
        ),
        state,
        links,
        floor,
        plan=plan,
        intensity=_intensity(),
        report=report,
    )


def _intensity() -> RestartIntensity:
    return RestartIntensity(topology.RESTARTS_MAX, topology.RESTART_PERIOD_S)


def _demand_two_files(audio: AudioSettings) -> None:
    """A recording that is both asked and answered into would be empty before it is read."""
    inputs, outputs = ([each] if isinstance(each, str) else each for each in (audio.input, audio.output))
    files = [{Path(each[4:]).resolve() for each in side if each.startswith("wav:")} for side in (inputs, outputs)]
    if files[0] & files[1]:
        raise ConfigurationError(
            [Problem("audio.output", "is the same file as audio.input, which would be overwritten")]
        )


def _edges_of_actors(
    settings: Settings,
    edges: Edges,
    floor: Floor,
    overview: Overview,
    progress: Progress,
    notify: Callable[[Notice], None],
    dice: Random,
) -> dict[str, dict[str, object]]:
    push_to_talk = settings.turn.mode == "push_to_talk"
    plan = SessionPlan(
        update=session_update(settings),
        push_to_talk=push_to_talk,
        hands_free=push_to_talk and isinstance(settings.audio.input, str) and settings.audio.input.startswith("wav:"),
        volume=settings.audio.volume,
        service=settings.service,
        retry=settings.retry,
    )
    incarnations = count()
    commands = _Commands(edges.commands)

    def machine(first_turn: int) -> Session:
        """Each incarnation of the session numbers its attempts apart, so that it never takes up an older one's."""
        session = Session(plan, dice, overview.devices, first_turn, next(incarnations) * ATTEMPTS_MAX)
        if commands.adopted is not None:
            session.adopt(commands.adopted)
        overview.follow(session)
        return session

    return {
        "session": {"machine": machine, "floor": floor, "notify": notify, "commands": commands},
        "credential": {"source": edges.token_source},
        "network": {"connector": edges.connector, "floor": floor, "ledger": overview.ledger},
        **audio_edges(audio_plan(settings), edges.microphone, edges.loudspeaker, edges.detector, floor, progress),
    }


class _Commands:
    """What steers the call (CommandSource), and what its next session has to know of it.

    Attributes:
        adopted: the settings that came last.
    """

    def __init__(self, source: CommandSource) -> None:
        self._source = source
        self.adopted: Settings | None = None

    async def commands(self) -> AsyncGenerator[Command, None]:
        """Pass the commands on."""
        async with aclosing(self._source.commands()) as commands:
            async for command in commands:
                if isinstance(command, Adopt):
                    self.adopted = command.settings
                yield command


def _told(incident: Incident) -> FaultNotice:
    """An incident as people are told it."""
    message = f"{incident.who} {incident.what}" + (f": {incident.fault.message}" if incident.fault else "")
    fault = Fault(kind="Actor", verdict=Verdict.RESTART, cause=incident.what, message=message)
    return FaultNotice(fault, retry_in_s=None)
