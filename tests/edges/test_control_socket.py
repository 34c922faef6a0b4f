"""The control socket against peers on real sockets: what is answered, and that whoever misbehaves is dropped alone."""

import json
import os
import socket
import stat
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from pipeline.edges import control_socket as cs
from pipeline.edges.control_client import ANSWER_S, open_control_line
from pipeline.edges.control_socket import IDLE_S, MAX_PEERS, SNAPSHOT_S, ControlSocket, open_control_socket
from pipeline.vocabulary import control as ctl
from pipeline.vocabulary import signals as sg
from pipeline.vocabulary.errors import ConfigurationError, NoDaemonError, ProtocolError
from tests.snapshots import SESSION, SNAPSHOT

STATE = sg.StateNotice(state=sg.CallState.THINKING, at_s=1.0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder with a short path."""
    with TemporaryDirectory() as name:
        yield Path(name)


class Daemon:
    """Serves a snapshot that can be changed, and keeps the commands it was given."""

    def __init__(self, control: ControlSocket) -> None:
        self.control = control
        self.snapshot = SNAPSHOT
        self.commands: list[sg.Command] = []

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.control.serve, lambda: self.snapshot)
            async for command in self.control.commands():
                self.commands.append(command)


@pytest.fixture
async def daemon(folder: Path) -> AsyncGenerator[Daemon, None]:
    with open_control_socket(folder) as control:
        made = Daemon(control)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run)
            yield made
            nursery.cancel_scope.cancel()


class Peer:
    """The bare other end: bytes in, JSON lines out."""

    def __init__(self, line: trio.socket.SocketType) -> None:
        self.line = line
        self._heard = b""

    async def says(self, text: str | bytes) -> None:
        await self.line.send(text.encode() if isinstance(text, str) else text)

    async def hears(self) -> dict[str, Any] | None:
        """The next message; None when the daemon has hung up."""
        while b"\n" not in self._heard:
            try:
                chunk = await self.line.recv(65_536)
            except ConnectionResetError:  # it hung up with something of ours unread
                return None
            if not chunk:
                return None
            self._heard += chunk
        line, _, self._heard = self._heard.partition(b"\n")
        decoded: dict[str, Any] = json.loads(line)
        return decoded


@asynccontextmanager
async def peer(folder: Path) -> AsyncGenerator[Peer, None]:
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        await line.connect(str(folder / cs.NAME))
        yield Peer(line)


async def test_status_is_the_snapshot_once_and_the_line_stays_open(daemon: Daemon, folder: Path) -> None:
    async with peer(folder) as asks:
        for _ in range(2):
            await asks.says('{"op":"status"}\n')
            heard = await asks.hears()
            assert heard is not None
            assert heard["event"] == "snapshot"
            assert heard["session"]["state"] == "listening"


async def test_who_watches_hears_a_snapshot_first_then_every_notice_and_snapshots_in_between(
    daemon: Daemon, folder: Path, autojump_clock: MockClock
) -> None:
    async with peer(folder) as watches:
        await watches.says('{"op":"watch"}\n')
        first = await watches.hears()
        daemon.control.notify(STATE)
        second = await watches.hears()
        begin_s = trio.current_time()
        third = await watches.hears()
        assert first is not None
        assert third is not None
        assert [first["event"], second, third["event"]] == [
            "snapshot", {"event": "state", "state": "thinking", "at_s": 1.0}, "snapshot",
        ]  # fmt: skip
        assert trio.current_time() - begin_s <= SNAPSHOT_S


async def test_who_does_not_watch_hears_no_notices(daemon: Daemon, folder: Path) -> None:
    async with peer(folder) as asks:
        await asks.says('{"op":"status"}\n')
        await asks.hears()
        daemon.control.notify(STATE)
        await asks.says('{"op":"mute"}\n')
        assert await asks.hears() == {"event": "accepted", "op": "mute"}


async def test_commands_reach_the_session_in_their_order(daemon: Daemon, folder: Path) -> None:
    daemon.snapshot = replace(SNAPSHOT, session=replace(SESSION, push_to_talk=True))
    asks = ['{"op":"talk","on":true}', '{"op":"talk","on":false}', '{"op":"mute"}', '{"op":"unmute"}', '{"op":"stop"}']
    async with peer(folder) as steers:
        await steers.says("\n".join(asks) + "\n")
        answers = [await steers.hears() for _ in asks]
    await trio.testing.wait_all_tasks_blocked()
    assert [answer and answer["op"] for answer in answers] == ["talk", "talk", "mute", "unmute", "stop"]
    assert daemon.commands == [sg.PressTalk(), sg.ReleaseTalk(), sg.Mute(), sg.Unmute(), sg.Stop()]


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        (b"hello", "", "no JSON object"),
        (b"\xff\xfe", "", "no JSON object"),
        (b"", "", "no JSON object"),
        (b"[" * 60_000, "", "expected object"),
        (b"[1]", "", "expected object"),
        (b"{}", "op", "missing"),
        (b'{"op":"dance"}', "op", "status, watch, talk"),
        (b'{"op":7}', "op", "status, watch, talk"),
        (b'{"op":"talk"}', "on", "missing"),
        (b'{"op":"talk","on":"yes"}', "on", "expected bool"),
        (b'{"op":"mute","for_s":3}', "for_s", "unknown"),
    ],
)
async def test_what_cannot_be_understood_is_refused_by_its_field_and_ends_that_conversation_alone(
    daemon: Daemon, folder: Path, line: bytes, field: str, words: str
) -> None:
    async with peer(folder) as good, peer(folder) as bad:
        await bad.says(line + b'\n{"op":"stop"}\n')
        refused = await bad.hears()
        assert refused is not None
        assert (refused["event"], refused["field"]) == ("refused", field)
        assert words in refused["message"]
        assert await bad.hears() is None
        await good.says('{"op":"mute"}\n')
        assert await good.hears() == {"event": "accepted", "op": "mute"}
    assert daemon.commands == [sg.Mute()], "nothing after a refusal is obeyed"


@pytest.mark.parametrize(
    ("push_to_talk", "muted", "words"), [(False, False, "turn.mode is server_vad"), (True, True, "is muted")]
)
async def test_a_key_that_could_do_nothing_is_refused(
    daemon: Daemon, folder: Path, *, push_to_talk: bool, muted: bool, words: str
) -> None:
    daemon.snapshot = replace(SNAPSHOT, session=replace(SESSION, push_to_talk=push_to_talk, muted=muted))
    async with peer(folder) as presses:
        await presses.says('{"op":"talk","on":true}\n')
        refused = await presses.hears()
    assert refused is not None
    assert words in refused["message"]
    assert daemon.commands == []


async def test_a_line_without_an_end_is_refused(daemon: Daemon, folder: Path) -> None:
    async with peer(folder) as endless:
        await endless.says(b" " * ctl.MAX_LINE_BYTES)
        refused = await endless.hears()
    assert refused is not None
    assert "longer than 65536 bytes" in refused["message"]


async def test_a_peer_that_does_not_read_is_dropped_and_nobody_waits_for_it(daemon: Daemon, folder: Path) -> None:
    long = sg.TranscriptNotice(role="user", item_id="i", text="x" * 60_000, final=True)
    async with peer(folder) as deaf, peer(folder) as good:
        for each in (deaf, good):
            await each.says('{"op":"watch"}\n')
            await each.hears()
        for _ in range(40):
            daemon.control.notify(long)
            heard = await good.hears()
            assert heard is not None
        count = 0
        while await deaf.hears():
            count += 1
        assert count < 40


async def test_a_notice_longer_than_a_line_may_be_is_left_out(daemon: Daemon, folder: Path) -> None:
    async with peer(folder) as watches:
        await watches.says('{"op":"watch"}\n')
        await watches.hears()
        daemon.control.notify(sg.TranscriptNotice(role="user", item_id="i", text="x" * 70_000, final=True))
        daemon.control.notify(STATE)
        heard = await watches.hears()
    assert heard is not None
    assert heard["event"] == "state"


async def test_one_peer_too_many_is_sent_away_and_a_place_that_becomes_free_is_given(
    daemon: Daemon, folder: Path
) -> None:
    async with trio.open_nursery() as nursery:
        leave = trio.Event()
        ready = trio.open_memory_channel[None](MAX_PEERS)

        async def stay() -> None:
            async with peer(folder) as each:
                await each.says('{"op":"status"}\n')
                await each.hears()
                await ready[0].send(None)
                await leave.wait()

        for _ in range(MAX_PEERS):
            nursery.start_soon(stay)
        for _ in range(MAX_PEERS):
            await ready[1].receive()
        async with peer(folder) as late:
            refused = await late.hears()
            assert refused is not None
            assert refused["message"] == "there are 16 peers already"
            assert await late.hears() is None
        leave.set()
    await trio.testing.wait_all_tasks_blocked(0.05)
    async with peer(folder) as next_one:
        await next_one.says('{"op":"status"}\n')
        assert (await next_one.hears() or {})["event"] == "snapshot"


async def test_who_forgets_to_hang_up_is_dropped_and_who_watches_is_not(
    daemon: Daemon, folder: Path, autojump_clock: MockClock
) -> None:
    async with peer(folder) as silent, peer(folder) as watches:
        await watches.says('{"op":"watch"}\n')
        begin_s = trio.current_time()

        async def wait_for_the_end() -> None:
            assert await silent.hears() is None
            assert trio.current_time() - begin_s == pytest.approx(IDLE_S)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_the_end)
            while trio.current_time() < begin_s + 2 * IDLE_S:
                assert await watches.hears() is not None


async def test_what_was_said_before_the_end_is_still_heard(folder: Path) -> None:
    with open_control_socket(folder) as control:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Daemon(control).run)
            async with peer(folder) as watches:
                await watches.says('{"op":"watch"}\n')
                await watches.hears()
                control.notify(STATE)
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    heard = await watches.hears()
                    assert await watches.hears() is None
    assert heard == {"event": "state", "state": "thinking", "at_s": 1.0}


async def test_commands_nobody_takes_are_refused_and_bounded(folder: Path) -> None:
    with open_control_socket(folder) as control:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(control.serve, lambda: SNAPSHOT)
            async with peer(folder) as steers:
                await steers.says('{"op":"mute"}\n' * (cs.MAX_COMMANDS + 1))
                answers = [await steers.hears() for _ in range(cs.MAX_COMMANDS + 1)]
            nursery.cancel_scope.cancel()
    assert [answer and answer["event"] for answer in answers] == ["accepted"] * cs.MAX_COMMANDS + ["refused"]


def test_the_socket_is_private_whatever_the_umask_and_gone_afterwards(folder: Path) -> None:
    path = folder / cs.NAME
    old = os.umask(0)
    try:
        with open_control_socket(folder):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(old)
    assert not path.exists()


def test_what_a_killed_daemon_left_is_replaced(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / cs.NAME))
    with open_control_socket(folder):
        assert (folder / cs.NAME).is_socket()


def test_where_no_socket_can_be_is_one_clear_line(folder: Path) -> None:
    for directory, words in [(folder / ("x" * 120), "too long a path"), (folder / "no", "No such file")]:
        pattern = r"^runtime\.directory: .*" + words
        with pytest.raises(ConfigurationError, match=pattern), open_control_socket(directory):
            pass


def open_to_everybody(folder: Path) -> None:
    folder.chmod(0o711)
    (folder / cs.NAME).chmod(0o666)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_another_user_is_not_listened_to_even_where_the_modes_would_let_them(
    daemon: Daemon, folder: Path
) -> None:
    open_to_everybody(folder)
    with socket.socket(socket.AF_UNIX) as line:
        os.seteuid(65_534)
        try:
            line.connect(str(folder / cs.NAME))
        finally:
            os.seteuid(0)
        line.sendall(b'{"op":"stop"}\n')
        await trio.testing.wait_all_tasks_blocked(0.01)
        with suppress(ConnectionResetError):  # it hung up with something unread
            assert line.recv(99) == b""
    assert daemon.commands == []


async def test_the_client_understands_what_the_daemon_says(daemon: Daemon, folder: Path) -> None:
    async with open_control_line(folder) as line:
        await line.ask(ctl.WatchAsk())
        assert await line.hear() == SNAPSHOT
        daemon.control.notify(STATE)
        assert await line.hear() == STATE
        await line.ask(ctl.MuteAsk())
        assert await line.hear() == ctl.AcceptedNotice("mute")
        await line.ask(ctl.TalkAsk(on=True))
        with pytest.raises(NoDaemonError, match="the daemon refuses: talk is for push-to-talk"):
            await line.hear()


async def test_the_client_says_that_no_daemon_runs(folder: Path) -> None:
    with pytest.raises(NoDaemonError, match=r"no daemon runs in .*; start one with: talkwire run") as nobody:
        async with open_control_line(folder):
            pass
    assert nobody.value.exit_code == 3


async def test_the_client_does_not_wait_for_a_daemon_that_hangs(folder: Path, autojump_clock: MockClock) -> None:
    with open_control_socket(folder):  # listens, but nobody serves
        async with open_control_line(folder) as line:
            await line.ask(ctl.StatusAsk())
            begin_s = trio.current_time()
            with pytest.raises(NoDaemonError, match="does not answer within 2 s"):
                await line.hear()
            assert trio.current_time() - begin_s == pytest.approx(ANSWER_S)


@pytest.mark.parametrize(("said", "words"), [(b"what?\n", "does not understand"), (b"x" * 200_000, "fits into a line")])
async def test_the_client_refuses_what_is_no_message(folder: Path, said: bytes, words: str) -> None:
    with trio.socket.socket(socket.AF_UNIX) as listener:
        await listener.bind(str(folder / cs.NAME))
        listener.listen(1)
        async with trio.open_nursery() as nursery, open_control_line(folder) as line:
            other, _ = await listener.accept()
            with other:
                nursery.start_soon(trio.SocketStream(other).send_all, said)
                with pytest.raises(ProtocolError, match=words):
                    await line.hear()
                nursery.cancel_scope.cancel()


async def test_the_client_tells_why_it_was_sent_away_before_it_could_ask(folder: Path) -> None:
    with trio.socket.socket(socket.AF_UNIX) as listener:
        await listener.bind(str(folder / cs.NAME))
        listener.listen(1)
        async with open_control_line(folder) as line:
            other, _ = await listener.accept()
            with other:
                await other.send(b'{"event":"refused","field":"","message":"there are 16 peers already"}\n')
            await line.ask(ctl.StatusAsk())
            with pytest.raises(NoDaemonError, match="the daemon refuses: there are 16 peers already"):
                await line.hear()


async def test_the_client_notices_that_the_daemon_has_ended(folder: Path) -> None:
    with trio.socket.socket(socket.AF_UNIX) as listener:
        await listener.bind(str(folder / cs.NAME))
        listener.listen(1)
        async with open_control_line(folder) as line:
            (await listener.accept())[0].close()
            with pytest.raises(NoDaemonError, match="the daemon has ended"):
                await line.hear()
