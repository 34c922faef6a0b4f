"""The daemon's control socket (design §9); what is said over it stands in `vocabulary/control.py`.

AF_UNIX, mode 0600 in a directory of 0700, and only this user and root are listened to. Everything is bounded: peers,
the length of a line, what is held for a peer that reads slowly, and every wait. Whoever breaks a bound or the protocol
is dropped alone.
"""

import os
import re
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, get_args

import msgspec
import trio

from pipeline.vocabulary import control as ctl
from pipeline.vocabulary import signals as sg
from pipeline.vocabulary.configuration import printable
from pipeline.vocabulary.errors import ConfigurationError, Problem

NAME: Final = "control.sock"
MAX_PEERS: Final = 16
"""A console, a status, a button or two; more is a leak in one of them."""
MAX_HELD_BYTES: Final = 4 * ctl.MAX_LINE_BYTES
"""For a peer that reads slowly: a minute of a lively conversation."""
MAX_COMMANDS: Final = 16
"""On their way to the session, which takes them at once."""
SNAPSHOT_S: Final = 0.5
"""So often those who watch get a new snapshot."""
IDLE_S: Final = 60.0
"""Who neither asks nor watches for so long has forgotten to hang up."""
SEND_S: Final = 2.0
"""Who takes nothing for so long has hung."""
LAST_WORDS_S: Final = 0.2
"""For what is still to be said when the daemon or a conversation ends."""
MAX_PATH_BYTES: Final = 107
"""unix(7): sun_path has 108, one of them a zero."""

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid: SO_PEERCRED, unix(7)
_READ_BYTES: Final = 4_096
_ASKS: Final[msgspec.json.Decoder[ctl.AnyAsk]] = msgspec.json.Decoder(ctl.AnyAsk)
_COMMANDS: Final[dict[type[ctl.Ask], sg.Command]] = {
    ctl.MuteAsk: sg.Mute(),
    ctl.UnmuteAsk: sg.Unmute(),
    ctl.StopAsk: sg.Stop(),
}

Snapshot = Callable[[], ctl.SnapshotNotice]


class RefusalError(Exception):
    """What a peer asked cannot be understood or done; never leaves this file."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.notice = ctl.RefusedNotice(field, message)


@contextmanager
def open_control_socket(directory: Path) -> Iterator["ControlSocket"]:
    """Listen in `directory`, which belongs to this user alone and whose lock this process holds.

    Raises:
        ConfigurationError: no socket can be made there.
    """
    path = directory / NAME
    if len(bytes(path)) > MAX_PATH_BYTES:
        raise _unusable(f"{printable(str(directory))} is too long a path for a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            path.unlink(missing_ok=True)  # of a daemon that was killed: whoever holds the lock is the only one
            os.fchmod(listener.fileno(), 0o600)  # the file takes its mode from here, so it never has another
            listener.bind(str(path))
            listener.listen(MAX_PEERS)
        except OSError as error:
            raise _unusable(f"no socket can be made in {printable(str(directory))}: {error.strerror}") from error
        try:
            yield ControlSocket(trio.socket.from_stdlib_socket(listener))
        finally:
            path.unlink(missing_ok=True)


class ControlSocket:
    """Answers peers, tells those who watch what happens, and steers the call as they ask (CommandSource)."""

    def __init__(self, listener: trio.socket.SocketType) -> None:
        self._listener = listener
        self._peers: set[_Peer] = set()
        self._sender, self._receiver = trio.open_memory_channel[sg.Command](MAX_COMMANDS)

    def notify(self, notice: sg.Notice) -> None:
        """Tell those who watch."""
        watching = [peer for peer in self._peers if peer.watches]
        if watching:
            line = _line(notice)
            for peer in watching:
                peer.say(line)

    async def commands(self) -> AsyncGenerator[sg.Command, None]:
        """Yield commands as peers give them."""
        async for command in self._receiver:
            yield command

    async def serve(self, snapshot: Snapshot) -> None:
        """Serve peers until cancelled; they still get what was said before."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_snapshots, snapshot)
            try:
                while True:
                    line = await _accept(self._listener)
                    if peer_uid(line) not in {0, os.geteuid()}:
                        line.close()
                    elif len(self._peers) == MAX_PEERS:
                        await _send_away(line)
                    else:
                        peer = _Peer(line, snapshot, self._sender.send_nowait)
                        self._peers.add(peer)
                        nursery.start_soon(self._attend, peer)
            finally:
                for peer in self._peers:
                    peer.finish()

    async def _attend(self, peer: "_Peer") -> None:
        try:
            await peer.talk()
        finally:
            self._peers.remove(peer)

    async def _tell_snapshots(self, snapshot: Snapshot) -> None:
        while True:
            await trio.sleep(SNAPSHOT_S)
            if any(peer.watches for peer in self._peers):
                self.notify(snapshot())


class _Peer:
    """One connection.

    Attributes:
        watches: wants to hear everything.
    """

    def __init__(self, line: trio.socket.SocketType, snapshot: Snapshot, command: Callable[[sg.Command], None]) -> None:
        self.watches = False
        self._line = line
        self._snapshot = snapshot
        self._command = command
        self._scope = trio.CancelScope(shield=True)  # ends by `finish`, so that last words are heard
        self._held = bytearray()
        self._news = trio.lowlevel.ParkingLot()
        self._finished = False

    async def talk(self) -> None:
        """Hear and answer until one side has had enough."""
        with self._line, self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                await self._read()
                self.finish()

    def say(self, line: bytes) -> None:
        """Queue a line; a peer for which too much is held is dropped."""
        if self._finished or len(line) > ctl.MAX_LINE_BYTES:  # a transcript of 64 KiB is no speech
            return
        if len(self._held) + len(line) > MAX_HELD_BYTES:
            self._scope.cancel()
            return
        self._held += line
        self._news.unpark_all()

    def refuse(self, refusal: RefusalError) -> None:
        """Say why, and no more."""
        self.say(_line(refusal.notice))
        self.finish()

    def finish(self) -> None:
        """Hang up when what is queued was said, LAST_WORDS_S from now at most."""
        self._finished = True
        self._news.unpark_all()
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + LAST_WORDS_S)

    async def _write(self, scope: trio.CancelScope) -> None:
        while self._held or not self._finished:
            if not self._held:
                await self._news.park()
                continue
            with trio.move_on_after(SEND_S) as patience:
                try:
                    del self._held[: await self._line.send(bytes(self._held))]
                except OSError:  # it has left
                    break
            if patience.cancelled_caught:
                break
        scope.cancel()

    async def _read(self) -> None:
        """Obey line by line, until the peer leaves or is refused."""
        heard = bytearray()
        while not self._finished:
            end = heard.find(b"\n")
            if end >= 0:
                self._take(bytes(heard[:end]))
                del heard[: end + 1]
                continue
            if len(heard) >= ctl.MAX_LINE_BYTES:
                self.refuse(RefusalError("", f"a line is longer than {ctl.MAX_LINE_BYTES} bytes"))
                return
            chunk = await self._receive()
            if not chunk:
                return
            heard += chunk

    async def _receive(self) -> bytes:
        """The next bytes; none when it has left, or is silent and does not watch."""
        with trio.move_on_after(float("inf") if self.watches else IDLE_S):
            try:
                return await self._line.recv(_READ_BYTES)
            except OSError:  # it has left with something unread
                pass
        return b""

    def _take(self, line: bytes) -> None:
        try:
            self._obey(_ask(line))
        except RefusalError as refusal:
            self.refuse(refusal)

    def _obey(self, ask: ctl.AnyAsk) -> None:
        match ask:
            case ctl.StatusAsk():
                self.say(_line(self._snapshot()))
            case ctl.WatchAsk():
                self.say(_line(self._snapshot()))
                self.watches = True
            case ctl.TalkAsk(on):
                self._demand_key()
                self._pass_on(ask, sg.PressTalk() if on else sg.ReleaseTalk())
            case _:
                self._pass_on(ask, _COMMANDS[type(ask)])

    def _demand_key(self) -> None:
        session = self._snapshot().session
        if not session.push_to_talk:
            raise RefusalError("op", "talk is for push-to-talk: turn.mode is server_vad")
        if session.muted:
            raise RefusalError("op", "the microphone is muted")

    def _pass_on(self, ask: ctl.Ask, command: sg.Command) -> None:
        try:
            self._command(command)
        except trio.WouldBlock:
            raise RefusalError("op", "the call takes no commands now") from None
        self.say(_line(ctl.AcceptedNotice(str(ask.__struct_config__.tag))))


async def _send_away(line: trio.socket.SocketType) -> None:
    with line, suppress(OSError), trio.move_on_after(LAST_WORDS_S):
        await line.send(_line(ctl.RefusedNotice("", f"there are {MAX_PEERS} peers already")))


def peer_uid(line: trio.socket.SocketType) -> int:
    """The user at the other end, as the kernel knows it."""
    credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])


def _ask(line: bytes) -> ctl.AnyAsk:
    """What a line asks. Raises RefusalError with the field that is wrong; what it holds is not repeated."""
    try:
        return _ASKS.decode(line)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        named = re.search(r"(?:unknown|required) field `(\w*)`", message)
        field = named[1] if named else path.strip(".`")
        if field == "op" and "missing" not in message:
            known = ", ".join(str(kind.__struct_config__.tag) for kind in get_args(ctl.AnyAsk))
            raise RefusalError("op", f"there is no such op; there are: {known}") from None
        raise RefusalError(field, message[:1].lower() + message[1:].replace("`", "")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RefusalError("", "this is no JSON object on one line") from None


async def _accept(listener: trio.socket.SocketType) -> trio.socket.SocketType:
    while True:
        try:
            line, _ = await listener.accept()
        except OSError:  # it left again, or this process has no descriptor to spare: neither lasts
            await trio.sleep(SNAPSHOT_S)
        else:
            return line


def _line(notice: sg.Notice) -> bytes:
    return msgspec.json.encode(notice) + b"\n"


def _unusable(complaint: str) -> ConfigurationError:
    return ConfigurationError([Problem("runtime.directory", complaint)])
