"""The whole endpoint on a virtual clock: real actors, real links, simulated world."""

import base64
import json
import math
import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial, wraps
from itertools import cycle
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import trio
from msgspec import structs
from trio.testing import MockClock

from pipeline import app, topology
from pipeline.core import effects as fx
from pipeline.dsp.voice_activity import Detector, level
from pipeline.edges.control_client import ControlLine, open_control_line
from pipeline.edges.control_socket import open_control_socket
from pipeline.edges.interfaces import CommandSource, Minted, OutputRequest, OutputStream
from pipeline.edges.pacing import Sound, silence
from pipeline.edges.simulated import SimulatedConnector, SimulatedLoudspeaker, SimulatedPeer
from pipeline.edges.simulated_tokens import ScriptedMint, ScriptedTokenSource
from pipeline.edges.synthetic import SyntheticMicrophone, tone
from pipeline.overview import Overview
from pipeline.realtime import events as ev
from pipeline.realtime.codec import encode
from pipeline.runtime import graph
from pipeline.runtime.floor import Floor
from pipeline.runtime.links import Links
from pipeline.runtime.progress import Progress
from pipeline.vocabulary import control as ctl
from pipeline.vocabulary import signals as sg
from pipeline.vocabulary.configuration import load
from pipeline.vocabulary.errors import (
    ConfigurationError,
    ConnectionLostError,
    CredentialExpiredError,
    CredentialRefusedError,
    DeviceError,
    NoDaemonError,
    ServiceRefusedError,
    TalkwireError,
)

DETECTOR = Detector("level", level)
QUESTION_S = 1.0
ANSWER = tone(1.5).pcm
CANARY = "ek_canary_app"


def minted() -> ScriptedMint:
    return ScriptedMint(Minted(sg.Secret(CANARY), 600.0))


class Commands:
    """What a person would press, when."""

    def __init__(self, *presses: tuple[float, sg.Command]) -> None:
        self._presses = presses

    async def commands(self) -> AsyncGenerator[sg.Command, None]:
        for after_s, command in self._presses:
            await trio.sleep(after_s)
            yield command


class ScriptedService:
    """A service that hears speech by its level, answers with a tone, and spoils what it is told to spoil."""

    def __init__(self, connector: SimulatedConnector) -> None:
        self.connector = connector
        self.sessions: list[list[dict[str, Any]]] = []
        self.silent_after_open = 0
        self.refuse_settings = False
        self.drop_after_answers = 0
        self.answers = 0

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            async for peer in self.connector.arrivals:
                nursery.start_soon(self._serve, peer)

    async def _serve(self, peer: SimulatedPeer) -> None:
        said: list[dict[str, Any]] = []
        self.sessions.append(said)
        if self.silent_after_open:
            self.silent_after_open -= 1
            await trio.sleep_forever()
        send = partial(self._send, peer)
        try:
            await send(ev.SessionCreated(event_id="e", session=ev.Session(type="realtime")))
            await self._converse(peer, said, send)
        except (trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def _send(self, peer: SimulatedPeer, event: ev.ServerEvent) -> None:
        await peer.send(encode(event))

    async def _converse(self, peer: SimulatedPeer, said: list[dict[str, Any]], send: Callable[..., Any]) -> None:
        speaking, quiet, detects = False, 0, True
        while True:
            event = json.loads(await peer.receive())
            said.append(event)
            match event["type"]:
                case "session.update" if self.refuse_settings:
                    await send(ev.ErrorEvent(event_id="e", error=ev.ErrorBody(code="unknown_parameter", message="no")))
                case "session.update":
                    detects = event["session"]["audio"]["input"]["turn_detection"] is not None
                    await send(ev.SessionUpdated(event_id="e", session=ev.Session(type="realtime")))
                case "input_audio_buffer.append" if detects:
                    loud = max(base64.b64decode(event["audio"])) > 0
                    quiet = 0 if loud else quiet + 1
                    if loud and not speaking:
                        speaking = True
                        await send(ev.InputAudioBufferSpeechStarted(event_id="e", audio_start_ms=0, item_id="u"))
                    elif speaking and quiet == 25:
                        speaking = False
                        await send(ev.InputAudioBufferSpeechStopped(event_id="e", audio_end_ms=0, item_id="u"))
                        await self._answer(peer, send)
                case "input_audio_buffer.commit":
                    await send(ev.InputAudioBufferCommitted(event_id="e", item_id="u"))
                case "response.create":
                    await self._answer(peer, send)

    async def _answer(self, peer: SimulatedPeer, send: Callable[..., Any]) -> None:
        self.answers += 1
        name = f"r{self.answers}"
        await send(ev.ResponseCreated(event_id="e", response=ev.Response(id=name, status="in_progress")))
        for start in range(0, len(ANSWER), 9_600):
            await send(
                ev.ResponseOutputAudioDelta(
                    event_id="e", response_id=name, item_id=f"a{self.answers}", output_index=0, content_index=0,
                    delta=base64.b64encode(ANSWER[start : start + 9_600]).decode(),
                )
            )  # fmt: skip
        if self.drop_after_answers == self.answers:
            peer.drop(ConnectionLostError("the line was cut", cause="reset"))
            return
        await send(ev.ResponseDone(event_id="e", response=ev.Response(id=name, status="completed")))


class World:
    """One endpoint and everything around it."""

    def __init__(self, *overrides: str, script: Iterable[Sound] | None = None) -> None:
        self.settings = load(overrides=["audio.input=none:", "audio.output=none:", *overrides])
        self.script = script or [silence(0.2), tone(QUESTION_S), silence(2.0)]
        self.tokens = [minted() for _ in range(50)]
        self.commands: CommandSource = Commands()
        self.connector = SimulatedConnector()
        self.service = ScriptedService(self.connector)
        self.loudspeaker: Any = SimulatedLoudspeaker()
        self.notices: list[sg.Notice] = []
        self.failure: TalkwireError | None = None

    def edges(self) -> app.Edges:
        return app.Edges(
            SyntheticMicrophone(self.script),
            self.loudspeaker,
            DETECTOR,
            self.connector,
            ScriptedTokenSource(self.tokens),
            self.commands,
        )

    async def run(self, edges: app.Edges | None = None) -> None:
        edges = edges or self.edges()
        with trio.fail_after(3600):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.service.run)
                try:
                    await app.run(self.settings, edges, self.notices.append)
                except TalkwireError as error:
                    self.failure = error
                nursery.cancel_scope.cancel()

    def states(self) -> list[str]:
        return [notice.state.value for notice in self.notices if isinstance(notice, sg.StateNotice)]

    def finished(self) -> sg.FinishedNotice:
        [notice] = [notice for notice in self.notices if isinstance(notice, sg.FinishedNotice)]
        return notice

    def causes(self) -> list[str]:
        return [notice.fault.cause for notice in self.notices if isinstance(notice, sg.FaultNotice)]

    def played(self) -> bytes:
        return b"".join(block.pcm for block in self.loudspeaker.heard)


async def test_a_question_is_answered_bit_exactly_and_the_call_ends(autojump_clock: MockClock) -> None:
    world = World()
    await world.run()
    assert world.states() == ["connecting", "listening", "user_speaking", "thinking", "speaking", "listening", "idle"]
    assert ANSWER in world.played()
    frames = world.finished().frames
    assert frames == {"captured": 160, "sent": 160, "spooled": 0}
    assert (world.finished().turns, world.finished().heard_speech) == (1, True)
    [timeline] = [notice for notice in world.notices if isinstance(notice, sg.TimelineNotice)]
    marks = timeline.timeline_ms
    assert list(marks) == ["speech_stopped", "response_created", "first_delta", "first_audible_sample"]
    assert 480 <= marks["speech_stopped"] <= marks["first_audible_sample"] <= 600


async def test_the_first_thing_a_session_is_told_is_its_settings(autojump_clock: MockClock) -> None:
    world = World()
    await world.run()
    [said] = world.service.sessions
    assert said[0]["type"] == "session.update"
    assert said[0]["session"]["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 500


async def test_push_to_talk_commits_and_asks_for_the_answer(autojump_clock: MockClock) -> None:
    world = World("turn.mode=push_to_talk", script=[tone(6)])
    world.commands = Commands((1.0, sg.PressTalk()), (1.0, sg.ReleaseTalk()), (3.0, sg.Stop()))
    await world.run()
    [said] = world.service.sessions
    kinds = [event["type"] for event in said]
    assert kinds[-2:] == ["input_audio_buffer.commit", "response.create"]
    assert 48 <= kinds.count("input_audio_buffer.append") <= 53
    assert said[0]["session"]["audio"]["input"]["turn_detection"] is None
    assert ANSWER in world.played()


async def test_speaking_over_the_answer_silences_it_and_tells_the_service_what_was_heard(
    autojump_clock: MockClock,
) -> None:
    world = World(script=[tone(1), silence(1.2), tone(1), silence(3)])
    await world.run()
    [said] = world.service.sessions
    [truncated] = [event for event in said if event["type"] == "conversation.item.truncate"]
    assert truncated["item_id"] == "a1"
    assert 400 < truncated["audio_end_ms"] < 900
    assert world.played().count(ANSWER) == 1, "the second answer is whole, the first is not"
    assert world.finished().turns == 1


async def test_a_cut_line_is_mended_with_a_fresh_secret_and_the_settings_again(autojump_clock: MockClock) -> None:
    world = World(script=[tone(1), silence(3), tone(1), silence(3)])
    world.service.drop_after_answers = 1
    await world.run()
    assert len(world.service.sessions) == 2
    assert [said[0]["type"] for said in world.service.sessions] == ["session.update"] * 2
    assert "reconnecting" in world.states()
    assert world.causes() == ["reset"]
    assert world.played().count(ANSWER) == 2, "what had arrived plays out, and the next answer comes"
    frames = world.finished().frames
    assert frames["captured"] == frames["sent"] == 400


async def test_what_was_said_into_an_outage_and_then_muted_is_never_sent(autojump_clock: MockClock) -> None:
    world = World(script=[tone(1), silence(1.5), *[tone(1)] * 60])
    world.service.drop_after_answers = 1
    world.commands = Commands((6.0, sg.Mute()), (120.0, sg.Unmute()), (2.0, sg.Stop()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        await trio.sleep(1)
        world.connector.refusals.extend([ConnectionLostError("no network", cause="network")] * 10)
    _, second = world.service.sessions
    assert "muted" in world.states()
    kinds = [event["type"] for event in second]
    assert 90 <= kinds.count("input_audio_buffer.append") <= 100, "the two seconds after it was unmuted"
    frames = world.finished().frames
    assert frames["dropped_muted"] > 100
    assert frames.pop("captured") == sum(frames.values())
    assert frames["spooled"] <= 1, "what is captured in the very moment of the stop"


async def test_an_expired_secret_is_replaced_at_once(autojump_clock: MockClock) -> None:
    world = World()
    world.connector.refusals.append(CredentialExpiredError("expired", cause="status_401"))
    await world.run()
    assert world.causes() == ["status_401"]
    assert world.finished().turns == 1


async def test_a_service_that_stays_silent_after_the_upgrade_is_given_up_and_tried_again(
    autojump_clock: MockClock,
) -> None:
    world = World()
    world.service.silent_after_open = 1
    await world.run()
    assert world.causes() == ["timeout"]
    assert world.finished().turns == 1


async def test_refused_settings_end_the_endpoint_with_the_reason(autojump_clock: MockClock) -> None:
    world = World()
    world.service.refuse_settings = True
    await world.run()
    assert isinstance(world.failure, ServiceRefusedError)
    assert world.states()[-1] == "error"


async def test_a_wrong_key_ends_the_endpoint_with_78(autojump_clock: MockClock) -> None:
    world = World()
    world.tokens = [ScriptedMint(CredentialRefusedError("the key is wrong", cause="status_401"))]
    await world.run()
    assert isinstance(world.failure, CredentialRefusedError)
    assert world.failure.exit_code == 78


async def test_silence_is_reported_as_nothing_heard(autojump_clock: MockClock) -> None:
    world = World(script=[silence(3)])
    await world.run()
    assert not world.finished().heard_speech
    assert world.finished().frames["captured"] == 150


async def test_stop_ends_the_call_in_any_state(autojump_clock: MockClock) -> None:
    for after_s in (0.0, 0.01, 0.5, 1.9, 2.5):
        world = World(script=[tone(1), silence(60)])
        world.commands = Commands((after_s, sg.Stop()))
        await world.run()
        assert world.states()[-1] == "idle"
        frames = world.finished().frames
        assert frames.pop("captured", 0) == sum(frames.values())


async def test_no_secret_reaches_a_notice(autojump_clock: MockClock) -> None:
    world = World()
    world.connector.refusals.append(CredentialExpiredError("expired", cause="status_401"))
    await world.run()
    assert CANARY not in msgspec.json.encode(world.notices).decode()
    assert CANARY not in repr(world.notices)


@pytest.mark.parametrize("after_ms", range(0, 4000, 130))
async def test_a_cancelled_endpoint_leaves_nothing_behind(autojump_clock: MockClock, after_ms: int) -> None:
    world = World()
    with trio.move_on_after(after_ms / 1000):
        await world.run()
    assert trio.lowlevel.current_statistics().tasks_living <= 4, "trio's own and this test's"


async def test_an_actor_that_fails_is_restarted_and_told_without_its_words(autojump_clock: MockClock) -> None:
    world = World()
    world.tokens = [ScriptedMint(minted().outcome)]
    spoilt = ScriptedTokenSource(world.tokens)
    calls = 0

    async def mint() -> Minted:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError(CANARY)
        return await spoilt.mint()

    edges = world.edges()
    edges.token_source = SimpleNamespace(mint=mint)
    await world.run(edges)
    told = [notice.fault.message for notice in world.notices if isinstance(notice, sg.FaultNotice)]
    assert told[0].startswith("actor credential failed: ZeroDivisionError in test_app.py:")
    assert "actor credential restarted" in told[1]
    assert CANARY not in repr(world.notices)
    assert world.finished().turns == 1


UNPLUGGED = "the loudspeaker was unplugged; plug it in"


class FragileLoudspeaker(SimulatedLoudspeaker):
    """Fails `after_s` into its first opening and is away for a second."""

    def __init__(self, after_s: float) -> None:
        super().__init__()
        self._after_s = after_s
        self.openings = 0

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[OutputStream, None]:
        self.openings += 1
        if 1 < self.openings < 6:
            raise DeviceError(UNPLUGGED)
        fails_s = trio.current_time() + self._after_s if self.openings == 1 else math.inf
        async with super().open(frame_ms) as stream:
            wait_request = stream.wait_request

            async def wait_or_fail() -> OutputRequest:
                if trio.current_time() >= fails_s:
                    raise DeviceError(UNPLUGGED)
                return await wait_request()

            yield cast("OutputStream", SimpleNamespace(wait_request=wait_or_fail, write=stream.write, rest=stream.rest))


async def test_a_loudspeaker_that_fails_costs_the_answer_it_was_playing_and_no_more(
    autojump_clock: MockClock,
) -> None:
    world = World(script=[tone(1), silence(4), tone(1), silence(3)])
    world.loudspeaker = FragileLoudspeaker(after_s=2.0)
    await world.run()
    assert world.loudspeaker.openings == 6, "tried again every quarter of a second"
    assert world.service.answers == 2
    assert [notice.fault.message for notice in world.notices if isinstance(notice, sg.FaultNotice)] == [UNPLUGGED]
    assert world.played().count(ANSWER) == 1
    [said] = world.service.sessions
    [truncated] = [event for event in said if event["type"] == "conversation.item.truncate"]
    assert 300 < truncated["audio_end_ms"] < 700
    assert world.states()[-2:] == ["listening", "idle"]


@pytest.mark.parametrize("actor", ["network", "session", "decoder", "capture"])
async def test_a_call_survives_the_crash_of_any_actor(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, actor: str
) -> None:
    """It crashes in the middle of the third answer, when turns have been numbered and heard."""
    world = World(script=iter([tone(1), silence(3)] * 5))
    crash_s = 4 * 2 + 2.0
    spec = next(spec for spec in topology.ACTORS if spec.name == actor)
    crashes = 0

    @wraps(spec.function)
    async def fragile(**arguments: Any) -> None:
        nonlocal crashes
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(spec.function, **arguments))
            if not crashes:
                await trio.sleep(crash_s)
                crashes += 1
                raise ZeroDivisionError(CANARY)

    actors = [structs.replace(each, function=fragile) if each is spec else each for each in topology.ACTORS]
    monkeypatch.setattr(topology, "ACTORS", actors)
    monkeypatch.setattr(graph, "check", lambda *_: None)  # the map itself is checked elsewhere
    with trio.move_on_after(40):
        await world.run()
    answered = world.played().count(ANSWER)
    assert crashes == 1
    assert answered >= 3, "two before the crash, and those after the one it cost"
    assert "stall" not in world.causes()
    assert CANARY not in repr(world.notices)


def test_one_recording_cannot_be_question_and_answer(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    settings = load(overrides=[f"audio.input=wav:{path}", f"audio.output=wav:{tmp_path}/../{tmp_path.name}/call.wav"])
    with pytest.raises(ConfigurationError, match=r"audio\.output: is the same file"):
        app.real_edges(settings, None, Commands())


async def test_a_running_endpoint_is_watched_and_steered_over_its_control_socket(autojump_clock: MockClock) -> None:
    world = World(script=cycle([silence(1.0), tone(QUESTION_S), silence(3.0)]))
    with TemporaryDirectory() as name, open_control_socket(Path(name)) as control:
        world.commands = control
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.service.run)
            nursery.start_soon(partial(app.run, world.settings, world.edges(), control.notify, control=control))
            with trio.fail_after(3600):
                async with open_control_line(Path(name)) as line:
                    await follow_a_call(line)
                    with pytest.raises(NoDaemonError):
                        await line.hear()
            nursery.cancel_scope.cancel()


async def follow_a_call(line: ControlLine) -> None:
    """Watch, mute, unmute and stop; what is seen has to agree with it."""
    await line.ask(ctl.WatchAsk())
    shown = await until(line, lambda message: isinstance(message, ctl.SnapshotNotice) and message.voice.utterances > 1)
    assert shown.troubles == []
    assert (shown.session.line, shown.session.generation) == ("live", 1)
    assert (shown.microphone.state, shown.loudspeaker.state) == ("open", "open")
    assert shown.frames["captured"] == sum(shown.frames.values()) - shown.frames["captured"] > 100
    assert 0 < shown.voice.speech_frames < shown.frames["captured"]
    assert {actor.state for actor in shown.actors} == {"running"}
    assert [link.name for link in shown.links] == [spec.name for spec in topology.LINKS]
    mic = shown.links[0].sides
    assert [side.process for side in mic] == ["main"]
    assert 0 <= mic[0].sent - shown.frames["captured"] <= 3
    [main] = shown.processes
    assert (main.pid, main.state, main.beat_age_s) == (os.getpid(), "running", None)

    await line.ask(ctl.MuteAsk())
    await until(line, lambda message: isinstance(message, sg.StateNotice) and message.state is sg.CallState.MUTED)
    muted = [await until(line, lambda message: isinstance(message, ctl.SnapshotNotice)) for _ in range(6)]
    assert {each.microphone.state for each in muted} == {"closed"}
    assert muted[1].frames == muted[-1].frames, "nothing is captured"
    assert muted[-1].troubles == []

    await line.ask(ctl.UnmuteAsk())
    await until(line, lambda message: isinstance(message, sg.VoiceNotice) and message.active)
    await line.ask(ctl.StopAsk())
    await until(line, lambda message: isinstance(message, sg.FinishedNotice))


async def until(line: ControlLine, wanted: Callable[[ctl.Message], bool]) -> Any:
    """The next message that is wanted."""
    while not wanted(message := await line.hear()):
        pass
    return message


async def test_a_line_that_cannot_be_had_is_shown_as_trouble(autojump_clock: MockClock) -> None:
    world = World()
    world.connector.refusals.extend(ConnectionLostError("nobody is there", cause="refused") for _ in range(1_000))
    with TemporaryDirectory() as name, open_control_socket(Path(name)) as control:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(app.run, world.settings, world.edges(), world.notices.append, control=control))
            async with open_control_line(Path(name)) as line:
                await line.ask(ctl.WatchAsk())
                shown = await until(
                    line,
                    lambda message: isinstance(message, ctl.SnapshotNotice) and message.session.state == "reconnecting",
                )
            assert shown.troubles == ["there is no line to the service: nobody is there"]
            nursery.cancel_scope.cancel()


async def test_a_session_that_is_started_again_goes_on_with_the_settings_adopted() -> None:
    louder = load((), ["audio.volume=0.25"])
    edges = app.Edges(
        SyntheticMicrophone([tone(0.1)]), SimulatedLoudspeaker(), DETECTOR, SimulatedConnector(),
        ScriptedTokenSource([minted()]), Commands((0, sg.Adopt(louder))),
    )  # fmt: skip
    overview = Overview("main", topology.SINGLE, Links({}, {}, {}), {}, [], 0.0)
    given = app._edges_of_actors(load(), edges, Floor(), overview, Progress(), lambda _: None, Random(1))["session"]
    machine, commands = cast("Any", given["machine"]), cast("Any", given["commands"])
    assert [command async for command in commands.commands()] == [sg.Adopt(louder)]
    loudspeaker_is_back = machine(0).handle(sg.OutputOpened("none:"), 0.0)
    assert fx.ToPlayback(sg.SetVolume(0.25)) in loudspeaker_is_back
