"""Capture: the microphone's blocks become numbered frames. The device is open only while the session listens."""

from collections.abc import AsyncIterator
from typing import Final

import trio

from pipeline.edges.interfaces import InputBlock, InputDevice
from pipeline.runtime.ports import Receiver, Sender
from pipeline.runtime.progress import Progress
from pipeline.vocabulary.errors import AudioFileError, DeviceError, SoundSystemHungError
from pipeline.vocabulary.frames import BYTES_PER_MS, AudioFrame
from pipeline.vocabulary.signals import (
    Activity,
    InputCommand,
    InputEnded,
    InputFailed,
    InputOpened,
    InputReady,
    Listen,
    SpeechEnd,
    Talk,
)

REOPEN_S: Final = 0.25
"""A device outage is a state, not a crash: the microphone is tried again this often, for ever (design §5)."""


async def capture(
    frames: Sender[AudioFrame],
    activity: Sender[Activity],
    commands: Receiver[InputCommand],
    *,
    device: InputDevice,
    frame_ms: int,
    push_to_talk: bool,
    progress: Progress,
    first_seq: int = 0,
    epoch: int = 0,
) -> None:
    """Open and close the microphone as told; with push-to-talk only what is said while the key is held goes through.

    Frames are numbered from `first_seq`; `epoch` counts the lives of the process.
    """
    microphone = _Microphone(frames, activity, device, frame_ms, progress, first_seq, epoch, push_to_talk=push_to_talk)
    await activity.send(InputReady())
    async with trio.open_nursery() as nursery:
        listening: trio.CancelScope | None = None
        async for command in commands:
            match command:
                case Listen(on=True) if listening is None:
                    listening = trio.CancelScope()
                    nursery.start_soon(microphone.listen, listening)
                case Listen(on=False) if listening is not None:
                    listening.cancel()
                    listening = None
                case Talk(on=on):
                    microphone.talk(on=on)
                case _:
                    pass  # it is as asked already
        nursery.cancel_scope.cancel()


class _Microphone:
    """Turns one device's blocks into frames."""

    def __init__(
        self,
        frames: Sender[AudioFrame],
        activity: Sender[Activity],
        device: InputDevice,
        frame_ms: int,
        progress: Progress,
        first_seq: int,
        epoch: int,
        *,
        push_to_talk: bool,
    ) -> None:
        self._frames = frames
        self._activity = activity
        self._device = device
        self._frame_ms = frame_ms
        self._progress = progress
        self._push_to_talk = push_to_talk
        self._seq = first_seq
        self._epoch = epoch
        self._let_through = not push_to_talk
        self._talking = not push_to_talk

    def talk(self, *, on: bool) -> None:
        """The key went down or up. However short the press, the next block goes through and carries its end."""
        self._talking = on
        self._let_through = self._let_through or on

    async def listen(self, scope: trio.CancelScope) -> None:
        """Keep the device open until `scope` is cancelled or a finite input ends; an outage is reported once."""
        told = False
        with scope:
            while True:
                try:
                    async with self._device.open(self._frame_ms) as blocks:
                        told = False
                        await self._activity.send(InputOpened(self._device.name))
                        await self._hear(blocks)
                except AudioFileError as error:
                    await self._activity.send(InputFailed(error.fault()))
                    return
                except SoundSystemHungError:
                    raise  # this process has to end
                except DeviceError as error:
                    if not told:
                        await self._activity.send(InputFailed(error.fault()))
                    told = True
                    await trio.sleep(REOPEN_S)
                else:
                    await self._end()
                    return

    async def _hear(self, blocks: AsyncIterator[InputBlock]) -> None:
        self._progress.made()  # from now on the device owes a block
        try:
            async for block in blocks:
                self._progress.made()
                await self._take(block)
        finally:
            self._progress.paused()

    async def _take(self, block: InputBlock) -> None:
        talking = self._talking  # once: the key may be released while the frame is on its way
        if talking or self._let_through:
            self._let_through = talking
            await self._send(block.captured_s, block.pcm, ends_turn=not talking)
        if block.speech_end_s is not None:
            await self._activity.send(SpeechEnd(block.speech_end_s))

    async def _end(self) -> None:
        """A finite input is over; held talk ends with it, by one more frame of silence that carries the mark."""
        if self._push_to_talk and self._let_through:
            await self._send(trio.current_time(), bytes(self._frame_ms * BYTES_PER_MS), ends_turn=True)
        await self._activity.send(InputEnded(self._seq))

    async def _send(self, captured_s: float, pcm: bytes, *, ends_turn: bool) -> None:
        await self._frames.send(AudioFrame(self._seq, captured_s, pcm, ends_turn, self._epoch))
        self._seq += 1
