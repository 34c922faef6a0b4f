"""Settings, the map and the edges become a running endpoint."""

import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

from pipeline import topology
from pipeline.core.retry import RestartIntensity
from pipeline.core.session import Session, SessionPlan
from pipeline.edges.devices import input_device, output_device
from pipeline.edges.interfaces import CommandSource, Connector, InputDevice, OutputDevice, TokenSource
from pipeline.edges.token_client import TokenClient
from pipeline.edges.wav import demand_readable
from pipeline.edges.websocket import WebSocketConnector
from pipeline.realtime.session_config import session_update
from pipeline.runtime import graph, supervisor
from pipeline.runtime.floor import Floor
from pipeline.runtime.local_link import open_local_links
from pipeline.vocabulary.errors import ConfigurationError, Fault, Problem, TalkwireError, Verdict
from pipeline.vocabulary.settings import AudioSettings, Settings
from pipeline.vocabulary.signals import FaultNotice, Notice, Secret

ATTEMPTS_MAX: Final = 1_000_000_000
"""Connection attempts that one incarnation of the session can number: at 15 a minute more than a century."""
TAIL_MARGIN_S: Final = 1.5
"""s a recording is followed by beyond the service's own silence window, so that its end is noticed."""


class Edges:
    """The world this endpoint lives in: real here, simulated in tests, never mixed up inside."""

    def __init__(
        self,
        microphone: InputDevice,
        loudspeaker: OutputDevice,
        connector: Connector,
        token_source: TokenSource,
        commands: CommandSource,
    ) -> None:
        self.microphone = microphone
        self.loudspeaker = loudspeaker
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
    tail_s = settings.turn.silence_duration_ms / 1000 + TAIL_MARGIN_S
    model = settings.conversation.model
    return Edges(
        input_device(settings.audio.input, tail_s=tail_s),
        output_device(settings.audio.output),
        WebSocketConnector(settings.service, model=model),
        TokenClient(settings.token, model=model, key=key),
        commands,
    )


async def run_endpoint(
    settings: Settings, *, key: Secret | None, notify: Callable[[Notice], None], commands: CommandSource
) -> None:
    """Run the endpoint in the real world; as `run`.

    Raises:
        TalkwireError: what ended it, if that was no ordinary end; ConfigurationError before anything starts.
    """
    await run(settings, real_edges(settings, key, commands), notify)


async def run(
    settings: Settings, edges: Edges, notify: Callable[[Notice], None], *, dice: Random | None = None
) -> None:
    """Run the endpoint until its call is over.

    Args:
        settings: all of them.
        edges: the world.
        notify: is told what happens; must neither wait nor raise.
        dice: of the backoff; a simulation gives seeded ones.

    Raises:
        TalkwireError: what ended it, if that was no ordinary end.
    """
    graph.check(topology.ACTORS, topology.LINKS, topology.SINGLE, topology.INSEPARABLE)
    floor = Floor()
    with open_local_links(topology.LINKS, floor) as links:
        ends = {name: (link.sender, link.receiver) for name, link in links.items()}
        arguments = graph.bind(
            topology.ACTORS,
            topology.LINKS,
            ends,
            _settings_of_actors(settings, edges, floor, notify, dice or Random()),  # noqa: S311  no secret
        )
        intensity = RestartIntensity(topology.RESTARTS_MAX, topology.RESTART_PERIOD_S)

        def report(incident: supervisor.Incident) -> None:
            if not (isinstance(incident.error, TalkwireError) and incident.error.verdict is Verdict.STOP):
                notify(_told(incident))  # else it ends the program with that error, which is told as such

        await supervisor.run(topology.ACTORS, arguments, intensity=intensity, report=report)


def _demand_two_files(audio: AudioSettings) -> None:
    """A recording that is both asked and answered into would be empty before it is read."""
    inputs, outputs = ([each] if isinstance(each, str) else each for each in (audio.input, audio.output))
    files = [{Path(each[4:]).resolve() for each in side if each.startswith("wav:")} for side in (inputs, outputs)]
    if files[0] & files[1]:
        raise ConfigurationError(
            [Problem("audio.output", "is the same file as audio.input, which would be overwritten")]
        )


def _settings_of_actors(
    settings: Settings, edges: Edges, floor: Floor, notify: Callable[[Notice], None], dice: Random
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
    frame_ms = settings.audio.frame_ms
    incarnations = count()

    def machine(first_turn: int) -> Session:
        """Each incarnation of the session numbers its attempts apart, so that it never takes up an older one's."""
        return Session(plan, dice, first_turn, next(incarnations) * ATTEMPTS_MAX)

    return {
        "session": {"machine": machine, "floor": floor, "notify": notify, "commands": edges.commands},
        "credential": {"source": edges.token_source},
        "network": {"connector": edges.connector, "floor": floor},
        "decoder": {"frame_ms": frame_ms},
        "playback": {
            "device": edges.loudspeaker, "floor": floor, "frame_ms": frame_ms, "fade_ms": settings.audio.fade_ms,
        },
        "capture": {"device": edges.microphone, "frame_ms": frame_ms, "push_to_talk": push_to_talk},
    }  # fmt: skip


def _told(incident: supervisor.Incident) -> FaultNotice:
    """An incident as people are told it: the text of a foreign error may hold anything, also speech or a secret."""
    message = f"actor {incident.actor} {incident.what}"
    if isinstance(incident.error, TalkwireError):
        message += f": {incident.error.message}"
    elif incident.error is not None:
        place = traceback.extract_tb(incident.error.__traceback__)[-1]
        message += f": {type(incident.error).__name__} in {Path(place.filename).name}:{place.lineno}"
    fault = Fault(kind="Actor", verdict=Verdict.RESTART, cause=incident.what, message=message)
    return FaultNotice(fault, retry_in_s=None)
