"""Session: the shell of core/session. Every port feeds the machine, and what it decides is carried out at once.

Between a signal and its effects there is no await (every link it sends on refuses or replaces, none waits), so a
transition is atomic however many ports are served.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import trio

from pipeline.core import effects as fx
from pipeline.core.session import Session
from pipeline.edges.interfaces import CommandSource
from pipeline.realtime.exchange import Intent, ServiceSignal
from pipeline.runtime.ports import FloorHolder, Receiver, Sender
from pipeline.vocabulary.errors import Fault, error_from
from pipeline.vocabulary.signals import Activity, Heard, InputCommand, Notice, OutputCommand, Playout, Token, TokenAsk

T = TypeVar("T")


async def session(
    service: Receiver[ServiceSignal],
    activity: Receiver[Activity],
    heard: Receiver[Heard],
    flushed: Receiver[Playout],
    tokens: Receiver[Token],
    intents: Sender[Intent],
    asks: Sender[TokenAsk],
    microphone: Sender[InputCommand],
    loudspeaker: Sender[OutputCommand],
    *,
    machine: Callable[[int], Session],
    floor: FloorHolder,
    notify: Callable[[Notice], None],
    commands: CommandSource,
) -> None:
    """Hold the call until it is over. `machine` makes the session's decisions, numbering turns above its argument.

    Raises:
        TalkwireError: the call ended for a reason that trying again cannot mend.
    """
    floor.raise_to(floor.newest + 1)  # an earlier incarnation may have left an answer in the links
    shell = _Shell(machine(floor.newest), intents, asks, microphone, loudspeaker, floor, notify)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.serve, service)
        nursery.start_soon(shell.serve, activity)
        nursery.start_soon(shell.serve, heard)
        nursery.start_soon(shell.serve, flushed)
        nursery.start_soon(shell.serve, tokens)
        nursery.start_soon(shell.obey, commands)
        nursery.start_soon(shell.keep_time)
        shell.start()
        await shell.over.wait()
        nursery.cancel_scope.cancel()
    if shell.fault is not None:
        raise error_from(shell.fault)


class _Shell:
    """Performs effects."""

    def __init__(
        self,
        machine: Session,
        intents: Sender[Intent],
        asks: Sender[TokenAsk],
        microphone: Sender[InputCommand],
        loudspeaker: Sender[OutputCommand],
        floor: FloorHolder,
        notify: Callable[[Notice], None],
    ) -> None:
        self._machine = machine
        self._intents = intents
        self._asks = asks
        self._microphone = microphone
        self._loudspeaker = loudspeaker
        self._floor = floor
        self._notify = notify
        self._armed_for_s = math.inf
        self._rearm = trio.Event()
        self.over = trio.Event()
        self.fault: Fault | None = None

    def start(self) -> None:
        """Begin the call."""
        self.perform(self._machine.start(trio.current_time()))

    async def serve(self, port: Receiver[T]) -> None:
        """Feed the machine from one port."""
        async for signal in port:
            self._handle(signal)

    async def obey(self, commands: CommandSource) -> None:
        """Feed the machine from the person who steers the call."""
        async for command in commands.commands():
            self._handle(command)

    async def keep_time(self) -> None:
        """Tick the machine whenever its deadline comes."""
        while True:
            self._armed_for_s = self._due_s()
            self._rearm = trio.Event()
            with trio.move_on_at(self._armed_for_s):
                await self._rearm.wait()
                continue
            if not self.over.is_set():
                self.perform(self._machine.tick(trio.current_time()))

    def perform(self, effects: list[fx.Effect]) -> None:
        """Carry the effects out, in their order."""
        for effect in effects:
            match effect:
                case fx.AskToken(ask):
                    self._asks.send_nowait(ask)
                case fx.Tell(intent):
                    self._intents.send_nowait(intent)
                case fx.ToCapture(command):
                    self._microphone.send_nowait(command)
                case fx.ToPlayback(output):
                    self._loudspeaker.send_nowait(output)
                case fx.RaiseFloor(turn):
                    self._floor.raise_to(turn)
                case fx.Publish(notice):
                    self._notify(notice)
                case fx.Finish(fault):
                    self.fault = fault
                    self.over.set()
        if self._due_s() != self._armed_for_s:
            self._rearm.set()

    def _handle(self, signal: object) -> None:
        if not self.over.is_set():
            self.perform(self._machine.handle(signal, trio.current_time()))

    def _due_s(self) -> float:
        due_s = self._machine.deadline()
        return math.inf if due_s is None else due_s
