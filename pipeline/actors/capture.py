"""Capture: the microphone's blocks become numbered frames. The device is open only while the session listens."""

import math
from collections.abc import AsyncIterator
from typing import Final

import trio

from pipeline.core.glitches import GlitchTally
from pipeline.core.reopening import Reopening
from pipeline.dsp.turn_detector import TurnDetector, TurnStarted, TurnStopped
from pipeline.dsp.voice_activity import Detector, VoiceActivity
from pipeline.edges.interfaces import InputBlock, InputDevice
from pipeline.runtime.ports import Receiver, Sender
from pipeline.runtime.progress import Progress
from pipeline.vocabulary.errors import AudioFileError, DeviceError, SoundSystemHungError
from pipeline.vocabulary.frames import BYTES_PER_MS, PRE_ROLL_MS, AudioFrame
from pipeline.vocabulary.signals import (
    Activity,
    InputClosed,
    InputCommand,
    InputEnded,
    InputFailed,
    InputGlitched,
    InputOpened,
    InputReady,
    Listen,
    SpeechEnd,
    Talk,
    VoiceBegan,
    VoiceEnded,
)

THRESHOLD: Final = 0.5
"""Probability of speech at which the local detector opens."""
QUIET_AFTER_S: Final = 1.0
"""So long after the last speech, a sound card's frames are handed on some at a time: in a quiet room that takes most of
what everything behind costs away. It delays nothing that matters: from the first sign of speech on, and while a service
waits for the silence to be long enough, each frame goes at once."""
HANGOVER_MS: Final = 500.0
"""Silence after which an utterance is over: as long as the service's, so that both cut where a person pauses."""


async def capture(
    frames: Sender[AudioFrame],
    activity: Sender[Activity],
    commands: Receiver[InputCommand],
    *,
    device: InputDevice,
    detector: Detector,
    frame_ms: int,
    push_to_talk: bool,
    progress: Progress,
    first_seq: int = 0,
    epoch: int = 0,
) -> None:
    """Open and close the microphone as told; with push-to-talk only what is said while the key is held goes through.

    Everything the microphone hears is heard by the `detector`, too. Frames are numbered from `first_seq`; `epoch`
    counts the lives of the process.
    """
    microphone = _Microphone(
        frames, activity, device, detector, frame_ms, progress, first_seq, epoch, push_to_talk=push_to_talk
    )
    await activity.send(InputReady(detector.name))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(microphone.run)
        async for command in commands:
            match command:
                case Listen(on=on):
                    microphone.listen(on=on)
                case Talk(on=on):
                    microphone.talk(on=on)
        nursery.cancel_scope.cancel()


class _Microphone:
    """Turns one device's blocks into frames."""

    def __init__(
        self,
        frames: Sender[AudioFrame],
        activity: Sender[Activity],
        device: InputDevice,
        detector: Detector,
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
        self._detector = detector
        self._frame_ms = frame_ms
        self._progress = progress
        self._push_to_talk = push_to_talk
        self._seq = first_seq
        self._kept: list[AudioFrame] = []  # wait for those that come together with them
        self._together = 1
        self._speech_s = -math.inf  # when the last frame with speech, or of held talk, was captured
        self._epoch = epoch
        self._tally = GlitchTally()
        self._let_through = not push_to_talk
        self._talking = not push_to_talk
        self._wanted = False
        self._asked = trio.lowlevel.ParkingLot()
        self._scope = trio.CancelScope()

    def talk(self, *, on: bool) -> None:
        """The key went down or up. However short the press, the next block goes through and carries its end."""
        self._talking = on
        self._let_through = self._let_through or on

    def listen(self, *, on: bool) -> None:
        """Open the device, or close it; what is asked last counts, and two openings never overlap."""
        self._wanted = on
        if on:
            self._asked.unpark_all()
        else:
            self._scope.cancel()
            self._let_through = self._talking  # the next block to come is not the one in which the key was released

    async def run(self) -> None:
        """Listen whenever that is wanted, until a finite input ends."""
        while True:
            while not self._wanted:
                await self._asked.park()
            with trio.CancelScope() as self._scope:
                await self._listen()
            if not self._scope.cancelled_caught:
                return
            await self._activity.send(InputClosed())

    async def _listen(self) -> None:
        """Keep the device open until cancelled or a finite input ends; an outage is reported once."""
        told, reopening = False, Reopening()
        while True:
            try:
                async with self._device.open(self._frame_ms) as blocks:
                    told = False
                    reopening.opened(trio.current_time())
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
                await trio.sleep(reopening.failed(trio.current_time()))
            else:
                await self._end()
                return

    async def _hear(self, blocks: AsyncIterator[InputBlock]) -> None:
        ear = _Ear(self._detector.new())
        self._together = 1  # that the device is back is told by its first block
        self._progress.made()  # from now on the device owes a block
        try:
            async for block in blocks:
                self._progress.made()
                if (glitches := self._tally.add(block.glitches, block.captured_s)) is not None:
                    self._activity.send_nowait(InputGlitched(glitches))  # a cancelled send would forget them
                for change in ear.hear(block):
                    await self._activity.send(change)
                await self._take(block, speech=ear.hears_speech)
        finally:
            self._progress.paused()
            self._release()
            if (glitches := self._tally.rest()) is not None:
                self._activity.send_nowait(InputGlitched(glitches))
            if (end := ear.close()) is not None:
                self._activity.send_nowait(end)

    async def _take(self, block: InputBlock, *, speech: bool) -> None:
        talking = self._talking  # once: the key may be released while the frame is on its way
        if speech or (talking and self._push_to_talk):
            self._speech_s = block.captured_s
        is_quiet = block.captured_s - self._speech_s > QUIET_AFTER_S
        if talking or self._let_through:
            self._let_through = talking
            keep = is_quiet and len(self._kept) + 1 < self._together
            self._send(block.captured_s, block.pcm, ends_turn=not talking, speech=speech, keep=keep)
        if is_quiet and not self._kept and block.no_hurry is not None:
            self._together = block.no_hurry()
        if block.speech_end_s is not None:
            await self._activity.send(SpeechEnd(block.speech_end_s))

    async def _end(self) -> None:
        """A finite input is over; held talk ends with it, by one more frame of silence that carries the mark."""
        if self._push_to_talk and self._let_through:
            self._send(trio.current_time(), bytes(self._frame_ms * BYTES_PER_MS), ends_turn=True, speech=False)
        await self._activity.send(InputEnded(self._seq))

    def _send(self, captured_s: float, pcm: bytes, *, ends_turn: bool, speech: bool, keep: bool = False) -> None:
        self._kept.append(AudioFrame(self._seq, captured_s, pcm, ends_turn, self._epoch, speech))
        self._seq += 1
        if not keep:
            self._release()

    def _release(self) -> None:
        """Hand on what was kept back. Link `mic` drops its oldest, so nobody waits here, but for the next block."""
        kept, self._kept = self._kept, []
        for frame in kept:
            self._frames.send_nowait(frame)


class _Ear:
    """Follows the speech in one opening of the microphone.

    Attributes:
        hears_speech: there was some in the last block, or its end is not certain yet.
    """

    def __init__(self, voice_activity: VoiceActivity) -> None:
        self.hears_speech = False
        self._voice_activity = voice_activity
        self._utterances = TurnDetector(
            threshold=THRESHOLD, prefix_padding_ms=PRE_ROLL_MS, silence_duration_ms=HANGOVER_MS, origin_ms=0.0
        )
        self._heard_ms = 0.0
        self._heard_s = 0.0

    def hear(self, block: InputBlock) -> list[VoiceBegan | VoiceEnded]:
        """Take the next block in; what begins and ends with it."""
        changes: list[VoiceBegan | VoiceEnded] = []
        block_ms = len(block.pcm) / BYTES_PER_MS
        self._heard_ms += block_ms
        self._heard_s = block.captured_s + block_ms / 1000
        self.hears_speech = self._utterances.in_turn
        for probability in self._voice_activity.process(block.pcm):
            match self._utterances.hear(probability, self._voice_activity.hop_ms):
                case TurnStarted(start_ms):
                    changes.append(VoiceBegan(self._date(start_ms)))
                    self.hears_speech = True
                case TurnStopped(end_ms, silence_ms):
                    changes.append(VoiceEnded(self._date(end_ms - silence_ms)))
        return changes

    def close(self) -> VoiceEnded | None:
        """Nothing more comes; what ends thereby."""
        return VoiceEnded(self._heard_s) if self._utterances.in_turn else None

    def _date(self, moment_ms: float) -> float:
        """From the stream's clock to the host's, by the last block: so the device's clock may drift."""
        return self._heard_s - (self._heard_ms - moment_ms) / 1000
