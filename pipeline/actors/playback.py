"""Playback: the loudspeaker asks, the jitter buffer answers, the playhead knows what was heard. Obeys the floor."""

from functools import partial
from typing import Final

import trio

from pipeline.core.glitches import GlitchTally
from pipeline.core.jitter_buffer import SAMPLE_BYTES, Block, JitterBuffer
from pipeline.core.playout import Playhead
from pipeline.core.reopening import Reopening
from pipeline.dsp.fade import fade_out, ramp
from pipeline.dsp.level import first_audible_sample
from pipeline.edges.interfaces import OutputDevice, OutputRequest, OutputStream
from pipeline.runtime.ports import FloorView, Receiver, Sender, wait_any
from pipeline.vocabulary.errors import DeviceError, SoundSystemHungError
from pipeline.vocabulary.frames import RATE_HZ, SpeechFrame
from pipeline.vocabulary.signals import (
    Flushed,
    Glitches,
    Heard,
    OutputCommand,
    OutputFailed,
    OutputGlitched,
    OutputOpened,
    Playout,
    SetVolume,
)

PREFILL_MS: Final = 20.0
"""Held before a reply starts: one block, because a service sends faster than real time and waiting is heard."""
HOLD_MS: Final = 1_000.0
"""Held at most: the process that brings the sound can stall 0.4 to 0.8 s, and is then a window of the link behind.

The rest waits in link `speech`, whose backpressure reaches back to link `reply`; a floor empties this as well.
"""


async def playback(
    frames: Receiver[SpeechFrame],
    commands: Receiver[OutputCommand],
    heard: Sender[Heard],
    flushed: Sender[Playout],
    *,
    device: OutputDevice,
    floor: FloorView,
    frame_ms: int,
    fade_ms: float,
) -> None:
    """Play for ever; report what was heard after every block and every cut of the floor.

    A loudspeaker that fails is told once and tried again until it is back.

    Raises:
        AudioFileError: the file that stands in for a loudspeaker cannot be written.
    """
    told, reopening, tally = False, Reopening(), GlitchTally()
    while True:
        loudspeaker = _Loudspeaker(floor.value, fade_ms)
        try:
            async with device.open(frame_ms) as stream:
                told = False
                reopening.opened(trio.current_time())
                await flushed.send(OutputOpened(device.name))
                await _play(stream, loudspeaker, frames, commands, heard, flushed, floor, tally)
        except SoundSystemHungError:
            raise  # this process has to end
        except DeviceError as error:
            for flushing in loudspeaker.abandon(floor.value, trio.current_time()):
                await flushed.send(flushing)  # of a floor that rose since the last request: nobody else tells it
            if (place := loudspeaker.report(trio.current_time())) is not None:
                await heard.send(place)  # how far it came: the last report may be a request old, and so some blocks
            if not told:
                await flushed.send(OutputFailed(error.fault()))
            told = True
            await trio.sleep(reopening.failed(trio.current_time()))


async def _play(
    stream: OutputStream,
    loudspeaker: "_Loudspeaker",
    frames: Receiver[SpeechFrame],
    commands: Receiver[OutputCommand],
    heard: Sender[Heard],
    flushed: Sender[Playout],
    floor: FloorView,
    tally: GlitchTally,
) -> None:
    def cut() -> None:
        loudspeaker.cut(floor.value, stream)

    floor.register(cut)  # else what lies ready would sound until the loudspeaker asks for more
    try:
        while True:
            loudspeaker.obey(commands)
            if loudspeaker.is_silent:
                _tell(tally.rest(), flushed)  # the next reply may be hours away
                await stream.rest(partial(wait_any, frames, commands))
            request = await stream.wait_request()
            _tell(tally.add(request.glitches, trio.current_time()), flushed)
            loudspeaker.obey(commands)
            pcm, cuts = loudspeaker.answer(request, floor.value, frames)
            for flushing in cuts:  # first: the device may fail at the next block
                await flushed.send(flushing)
            await stream.write(pcm)
            report = loudspeaker.report(trio.current_time())
            if report is not None:
                await heard.send(report)
    finally:
        floor.unregister(cut)
        _tell(tally.rest(), flushed)


def _tell(glitches: Glitches | None, flushed: Sender[Playout]) -> None:
    """Without waiting: a cancelled send would forget them."""
    if glitches is not None:
        flushed.send_nowait(OutputGlitched(glitches))


class _Loudspeaker:
    """What plays next and what has been heard; nothing in here waits."""

    def __init__(self, floor: int, fade_ms: float) -> None:
        self._buffer = JitterBuffer(prefill_ms=PREFILL_MS, hold_ms=HOLD_MS)
        self._playhead = Playhead()
        self._floor = floor
        self._fade_ms = fade_ms
        self._gain: float | None = None  # nothing sounds before the session has set it: after a restart it first
        self._target_gain = 1.0  # raises the floor above what the loudspeaker was playing before
        self._open: dict[int, SpeechFrame] = {}  # turns that have begun to arrive and not been handed over whole
        self._whole: SpeechFrame | None = None  # of the turn that was handed over whole last
        self._reported_turn: int | None = None  # the turn whose hearing is not over
        self._is_audible = False  # and the listener knows it
        self._silent_from_s: float | None = None  # the device has faded what it had of a turn that was cut

    @property
    def is_silent(self) -> bool:
        """Nothing sounds, and nothing that has come is still to sound."""
        return self._gain is not None and not self._open and self._reported_turn is None

    def cut(self, floor: int, stream: OutputStream) -> None:
        """The floor has risen: let the device take back what lies ready there, if it is stale; the rest `answer` does.

        A floor callback: it must neither wait nor raise.
        """
        if self._reported_turn is not None and self._reported_turn < floor and self._silent_from_s is None:
            self._silent_from_s = stream.cut(self._fade_ms)

    def obey(self, commands: Receiver[OutputCommand]) -> None:
        """Take in the commands that have come; the volume moves over one block, without a click."""
        try:
            while True:
                match commands.receive_nowait():
                    case SetVolume(gain):
                        self._target_gain = gain
                        self._gain = gain if self._gain is None else self._gain
        except trio.WouldBlock:
            pass

    def answer(
        self, request: OutputRequest, floor: int, frames: Receiver[SpeechFrame]
    ) -> tuple[bytes | None, list[Flushed]]:
        """The next block, None for silence, and what the floor has cut off since the last one."""
        silent_from_s, self._silent_from_s = self._silent_from_s, None
        has_faded = silent_from_s is not None
        tail, cut_turns = self._cut(floor, request.samples, has_faded=has_faded) if floor > self._floor else (None, [])
        if self._gain is not None:
            self._fill(frames)
        block = tail
        if block is None:
            at_once = min(request.blocks, self._buffer.ready // request.samples) if self._is_audible else 1
            block = self._buffer.take(request.samples * max(1, at_once))
        pcm = None
        if block is not None:
            pcm = self._hand_over(block, request.leaves_s)
        end_s = request.leaves_s + request.samples / RATE_HZ if silent_from_s is None else silent_from_s
        return pcm, [self._flushed(frame, end_s) for frame in cut_turns]

    def abandon(self, floor: int, now: float) -> list[Flushed]:
        """The device has failed; what the floor has cut off and no request has told of."""
        if floor <= self._floor:
            return []
        end_s = now if self._silent_from_s is None else self._silent_from_s
        _, cut_turns = self._cut(floor, 0, has_faded=True)
        return [self._flushed(frame, end_s) for frame in cut_turns]

    def report(self, now: float) -> Heard | None:
        """Where the listener is; None while nothing sounds."""
        turn = self._reported_turn
        if turn is not None and turn < self._floor:  # how much of it was heard, its flush has told
            turn = self._reported_turn = None
        if turn is None:
            self._is_audible = False
            return None
        finished = self._playhead.finished(turn, now)
        audible_s = self._playhead.audible_s(turn)
        if audible_s is not None and audible_s > now:
            audible_s = None
        self._is_audible = audible_s is not None
        if finished:
            self._reported_turn = None
        position = self._playhead.heard(now)
        if position is None or position.turn != turn:
            return Heard(turn, "", 0, 0.0, finished, audible_s)
        return Heard(turn, position.item_id, position.content_index, position.heard_ms, finished, audible_s)

    def _fill(self, frames: Receiver[SpeechFrame]) -> None:
        try:
            while self._buffer.has_room:
                frame = frames.receive_nowait()
                if self._buffer.push(frame):
                    self._open.setdefault(frame.turn, frame)
        except trio.WouldBlock:
            pass

    def _cut(self, floor: int, samples: int, *, has_faded: bool) -> tuple[Block | None, list[SpeechFrame]]:
        """Throw away what is stale; what sounded fades out over the start of the next block instead of stopping."""
        self._floor = floor
        fade = 0 if has_faded else min(samples, round(self._fade_ms * RATE_HZ / 1000))
        tail = self._buffer.flush(floor, fade).tail
        stale = [self._open.pop(turn) for turn in sorted(self._open) if turn < floor]
        if self._whole is not None and self._whole.turn == self._reported_turn and self._whole.turn < floor:
            stale.insert(0, self._whole)  # its end has not been heard
        if tail is None:
            return None, stale
        pcm = fade_out(tail.pcm, self._fade_ms).ljust(samples * SAMPLE_BYTES, b"\0")
        return tail._replace(pcm=pcm), stale

    def _hand_over(self, block: Block, leaves_s: float) -> bytes:
        assert self._gain is not None, "what is not filled is not handed over"
        pcm = ramp(block.pcm, self._gain, self._target_gain)
        self._gain = self._target_gain
        is_audible = self._playhead.audible_s(block.turn) is not None
        self._playhead.played(block, leaves_s, None if is_audible else first_audible_sample(pcm))
        self._reported_turn = block.turn
        if block.ends_turn:
            self._whole = self._open.pop(block.turn, None)
        return pcm

    def _flushed(self, first: SpeechFrame, end_s: float) -> Flushed:
        """How much of a cut turn will have been heard at `end_s`, when all that was handed over has left."""
        position = self._playhead.heard(end_s)
        if position is None or position.turn != first.turn:
            return Flushed(first.turn, first.item_id, first.content_index, 0.0)
        return Flushed(position.turn, position.item_id, position.content_index, position.heard_ms)
