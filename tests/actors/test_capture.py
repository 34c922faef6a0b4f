from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from pipeline.actors.capture import QUIET_AFTER_S, capture
from pipeline.dsp.voice_activity import Detector, level
from pipeline.edges.interfaces import InputBlock
from pipeline.edges.pacing import Sound, silence
from pipeline.edges.synthetic import SyntheticMicrophone, counter_signal, tone
from pipeline.runtime.local_link import LocalLink
from pipeline.runtime.progress import Progress
from pipeline.vocabulary.errors import AudioFileError, DeviceError, Verdict
from pipeline.vocabulary.frames import PRE_ROLL_MS, AudioFrame
from pipeline.vocabulary.signals import (
    NO_GLITCHES,
    Glitches,
    InputClosed,
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

Link = Callable[[], LocalLink[Any]]


class BrokenMicrophone:
    """Fails to open `failures` times, then yields one block and ends."""

    name = "broken:"

    def __init__(self, failures: int, error: type[DeviceError | AudioFileError] = DeviceError) -> None:
        self.failures = failures
        self.error = error
        self.openings = 0

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[AsyncIterator[InputBlock], None]:
        self.openings += 1
        if self.openings <= self.failures:
            raise self.error("unplugged; plug it in")

        async def blocks() -> AsyncGenerator[InputBlock, None]:
            yield InputBlock(bytes(frame_ms * 48), trio.current_time())

        yield blocks()


def begin(
    actors: trio.Nursery, link: Link, microphone: Any, *, push_to_talk: bool, progress: Progress | None = None
) -> tuple[LocalLink[Any], LocalLink[Any], LocalLink[Any]]:
    """Start a capture; its frames, its activity and the commands it obeys."""
    frames, activity, commands = link(), link(), link()
    run = partial(
        capture, device=microphone, detector=Detector("level", level), frame_ms=20,
        push_to_talk=push_to_talk, progress=progress or Progress(),
    )  # fmt: skip
    actors.start_soon(run, frames.sender, activity.sender, commands.receiver)
    return frames, activity, commands


async def received(link: LocalLink[Any], count: int) -> list[Any]:
    """So many values, not counting the announcement every capture begins with."""
    values: list[Any] = []
    while len(values) < count:
        value = await link.receiver.receive()
        if not isinstance(value, InputReady):
            values.append(value)
    return values


async def test_numbers_its_frames_and_tells_of_speech_and_end(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    sound = Sound(counter_signal(0.06).pcm, speech_end=480 * 2)
    microphone = SyntheticMicrophone([sound])
    frames, activity, commands = begin(actors, link, microphone, push_to_talk=False)
    start_s = trio.current_time()
    commands.sender.send_nowait(Listen(on=True))
    heard: list[AudioFrame] = await received(frames, 3)
    assert [frame.seq for frame in heard] == [0, 1, 2]
    assert b"".join(frame.pcm for frame in heard) == sound.pcm
    assert [round(frame.captured_s - start_s, 6) for frame in heard] == [0, 0.02, 0.04]
    assert [frame.ends_turn for frame in heard] == [False, False, False]
    opened, speech_end, ended = await received(activity, 3)
    assert opened == InputOpened("synthetic:")
    assert isinstance(speech_end, SpeechEnd)
    assert round(speech_end.at_s - start_s, 6) == 0.04
    assert ended == InputEnded(3)


async def test_the_device_is_open_only_while_listening(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    microphone = SyntheticMicrophone([counter_signal(60)])
    frames, _activity, commands = begin(actors, link, microphone, push_to_talk=False)
    await trio.sleep(1)
    assert frames.receiver.statistics().sent == 0
    commands.sender.send_nowait(Listen(on=True))
    await trio.sleep(1)
    commands.sender.send_nowait(Listen(on=False))
    await trio.sleep(0.1)
    sent = frames.receiver.statistics().sent
    assert 48 <= sent <= 51
    await trio.sleep(1)
    assert frames.receiver.statistics().sent == sent


async def test_a_muted_microphone_owes_no_block(autojump_clock: MockClock, actors: trio.Nursery, link: Link) -> None:
    """Else the service manager's watchdog would end a daemon because it is muted."""
    progress = Progress()
    microphone = SyntheticMicrophone([counter_signal(60)])
    _frames, _activity, commands = begin(actors, link, microphone, push_to_talk=False, progress=progress)
    commands.sender.send_nowait(Listen(on=True))
    await trio.sleep(1)
    assert progress.idle_s(trio.current_time() + 5) >= 5, "an open one does"
    commands.sender.send_nowait(Listen(on=False))
    await trio.sleep(1)
    assert progress.idle_s(trio.current_time() + 5) == 0


async def test_push_to_talk_lets_through_what_is_said_while_the_key_is_down_and_marks_its_end(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    microphone = SyntheticMicrophone([counter_signal(60)])
    frames, _activity, commands = begin(actors, link, microphone, push_to_talk=True)
    commands.sender.send_nowait(Listen(on=True))
    await trio.sleep(0.5)
    assert frames.receiver.statistics().sent == 0
    commands.sender.send_nowait(Talk(on=True))
    await trio.sleep(0.2)
    commands.sender.send_nowait(Talk(on=False))
    await trio.sleep(0.5)
    count = frames.receiver.statistics().sent
    heard: list[AudioFrame] = await received(frames, count)
    assert 10 <= count <= 12
    assert [frame.ends_turn for frame in heard] == [False] * (count - 1) + [True]


async def test_an_input_that_ends_with_the_key_down_ends_the_turn(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    microphone = SyntheticMicrophone([counter_signal(0.2)])
    frames, _activity, commands = begin(actors, link, microphone, push_to_talk=True)
    commands.sender.send_nowait(Talk(on=True))
    commands.sender.send_nowait(Listen(on=True))
    heard: list[AudioFrame] = await received(frames, 11)
    assert [frame.ends_turn for frame in heard] == [False] * 10 + [True]


async def test_a_device_outage_is_told_once_and_mends_itself(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    microphone = BrokenMicrophone(failures=5)
    _frames, activity, commands = begin(actors, link, microphone, push_to_talk=False)
    start_s = trio.current_time()
    commands.sender.send_nowait(Listen(on=True))
    failed, opened, ended = await received(activity, 3)
    assert isinstance(failed, InputFailed)
    assert failed.fault.message == "unplugged; plug it in"
    assert opened == InputOpened("broken:")
    assert ended == InputEnded(1)
    assert round(trio.current_time() - start_s, 6) == 5 * 0.25


async def test_a_file_that_cannot_be_read_is_not_tried_again(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    microphone = BrokenMicrophone(failures=5, error=AudioFileError)
    _frames, activity, commands = begin(actors, link, microphone, push_to_talk=False)
    commands.sender.send_nowait(Listen(on=True))
    [failed] = await received(activity, 1)
    assert failed.fault.verdict is Verdict.STOP
    await trio.sleep(5)
    assert microphone.openings == 1


async def test_a_press_shorter_than_a_block_still_carries_its_end(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    microphone = SyntheticMicrophone([counter_signal(60)])
    frames, _activity, commands = begin(actors, link, microphone, push_to_talk=True)
    commands.sender.send_nowait(Listen(on=True))
    await trio.sleep(0.105)
    commands.sender.send_nowait(Talk(on=True))
    await trio.sleep(0.005)
    commands.sender.send_nowait(Talk(on=False))
    await trio.sleep(0.5)
    [only] = await received(frames, 1)
    assert only.ends_turn


async def changes(activity: LocalLink[Any], count: int) -> list[Any]:
    """So many signals of voice activity and closing, leaving out the others."""
    found: list[Any] = []
    while len(found) < count:
        value = await activity.receiver.receive()
        if isinstance(value, VoiceBegan | VoiceEnded | InputClosed | InputEnded):
            found.append(value)
    return found


async def test_speech_is_told_from_its_pre_roll_to_its_last_sound_and_marked_on_frames(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    microphone = SyntheticMicrophone([silence(1.0), tone(1.0), silence(1.5)])
    frames, activity, commands = begin(actors, link, microphone, push_to_talk=False)
    start_s = trio.current_time()
    commands.sender.send_nowait(Listen(on=True))
    began, ended, end = await changes(activity, 3)
    assert isinstance(began, VoiceBegan)
    assert isinstance(ended, VoiceEnded)
    assert isinstance(end, InputEnded)
    assert 1.0 - PRE_ROLL_MS / 1000 <= began.at_s - start_s <= 1.1 - PRE_ROLL_MS / 1000
    assert 2.0 <= ended.at_s - start_s <= 2.2
    heard: list[AudioFrame] = await received(frames, end.captured_frames)
    marked = [frame.captured_s - start_s for frame in heard if frame.speech]
    assert "".join("x" if frame.speech else " " for frame in heard).strip() == "x" * len(marked), "without a gap"
    assert marked[0] * 1000 == pytest.approx((began.at_s - start_s) * 1000 + PRE_ROLL_MS, abs=20)
    assert marked[-1] - (ended.at_s - start_s) == pytest.approx(0.5, abs=0.041)


async def test_speech_that_the_closing_of_the_device_cuts_off_ends_there(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    microphone = SyntheticMicrophone([silence(0.5), tone(60)])
    _frames, activity, commands = begin(actors, link, microphone, push_to_talk=False)
    commands.sender.send_nowait(Listen(on=True))
    await trio.sleep(1)
    closed_s = trio.current_time()
    commands.sender.send_nowait(Listen(on=False))
    began, ended, closed = await changes(activity, 3)
    assert isinstance(began, VoiceBegan)
    assert ended.at_s == pytest.approx(closed_s, abs=0.021)
    assert closed == InputClosed()


class SlowMicrophone:
    """Takes its time to open and to close, and notices when it is asked twice at once."""

    name = "slow:"

    def __init__(self) -> None:
        self.open_now = 0
        self.openings = 0

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[AsyncIterator[InputBlock], None]:
        self.open_now += 1
        self.openings += 1
        assert self.open_now == 1, "it is open already"

        async def blocks() -> AsyncGenerator[InputBlock, None]:
            while True:
                await trio.sleep(frame_ms / 1000)
                yield InputBlock(bytes(frame_ms * 48), trio.current_time())

        try:
            await trio.sleep(0.05)
            yield blocks()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.05)
            self.open_now -= 1


async def test_however_often_it_is_muted_and_unmuted_two_openings_never_overlap_and_the_last_word_counts(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    microphone = SlowMicrophone()
    _frames, _activity, commands = begin(actors, link, microphone, push_to_talk=False)
    for step in range(50):
        commands.sender.send_nowait(Listen(on=step % 2 == 0))
        await trio.sleep(0.02)
    await trio.sleep(1)
    assert microphone.open_now == 0
    commands.sender.send_nowait(Listen(on=True))
    commands.sender.send_nowait(Listen(on=False))
    commands.sender.send_nowait(Listen(on=True))
    await trio.sleep(1)
    assert microphone.open_now == 1
    assert microphone.openings > 5


async def test_a_key_released_as_the_device_closes_ends_no_later_talk(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    microphone = SyntheticMicrophone([counter_signal(60)])
    frames, _activity, commands = begin(actors, link, microphone, push_to_talk=True)
    for command in (Listen(on=True), Talk(on=True)):
        commands.sender.send_nowait(command)
    await trio.sleep(0.5)
    for command in (Talk(on=False), Listen(on=False)):
        commands.sender.send_nowait(command)
    await trio.sleep(0.5)
    sent = frames.receiver.statistics().sent
    commands.sender.send_nowait(Listen(on=True))
    await trio.sleep(0.5)
    assert frames.receiver.statistics().sent == sent


async def test_a_recording_that_has_played_out_is_not_played_again(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    microphone = SyntheticMicrophone([counter_signal(0.1)])
    frames, activity, commands = begin(actors, link, microphone, push_to_talk=False)
    commands.sender.send_nowait(Listen(on=True))
    assert await changes(activity, 1) == [InputEnded(5)]
    commands.sender.send_nowait(Listen(on=False))
    commands.sender.send_nowait(Listen(on=True))
    await trio.sleep(1)
    assert frames.receiver.statistics().sent == 5


class UnhurriedMicrophone(SyntheticMicrophone):
    """Can wait, as a sound card can, and notes on which of its blocks it was told that it may."""

    def __init__(self, sounds: Iterable[Sound], together: int = 3) -> None:
        super().__init__(sounds)
        self._together = together
        self.given = 0
        self.unhurried: list[int] = []

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[AsyncIterator[InputBlock], None]:
        async def hurried(blocks: AsyncIterator[InputBlock]) -> AsyncGenerator[InputBlock, None]:
            async for block in blocks:
                self.given += 1
                yield block._replace(no_hurry=self._take_time)

        async with super().open(frame_ms) as blocks:
            yield hurried(blocks)

    def _take_time(self) -> int:
        self.unhurried.append(self.given)
        return self._together


async def test_frames_of_a_quiet_room_travel_together_and_speech_goes_at_once(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    microphone = UnhurriedMicrophone([silence(0.21), tone(0.5), silence(3.0)])
    frames, _activity, commands = begin(actors, link, microphone, push_to_talk=False)
    commands.sender.send_nowait(Listen(on=True))
    delays_ms: dict[int, int] = {}
    with_speech: list[int] = []
    for seq in range(180):
        frame: AudioFrame = await frames.receiver.receive()
        assert frame.seq == seq
        delays_ms[seq] = round((trio.current_time() - frame.captured_s) * 1000)
        with_speech += [seq] if frame.speech else []
    assert [delays_ms[seq] for seq in range(10)] == [20, *[60, 40, 20] * 3], "nobody has spoken yet"
    quiet_again = next(seq for seq in range(with_speech[0], 180) if delays_ms[seq] != 20)
    assert with_speech[0] * 0.02 < 0.21 + 0.1
    assert (quiet_again - with_speech[-1]) * 0.02 == pytest.approx(QUIET_AFTER_S, abs=0.041)
    assert [delays_ms[seq] for seq in range(quiet_again, quiet_again + 9)] == [60, 40, 20] * 3


async def test_closing_the_device_hands_on_the_frames_that_were_kept_back(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    frames, activity, commands = begin(actors, link, UnhurriedMicrophone([silence(60)]), push_to_talk=False)
    for pause_s in (0.07, 0.11):
        commands.sender.send_nowait(Listen(on=True))
        await trio.sleep(pause_s)
        commands.sender.send_nowait(Listen(on=False))
        await changes(activity, 1)
    taken: list[AudioFrame] = await received(frames, 8)
    assert [frame.seq for frame in taken] == list(range(8))


async def test_the_first_frame_of_a_device_that_is_back_waits_for_no_other(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    frames, _activity, commands = begin(actors, link, UnhurriedMicrophone([silence(60)]), push_to_talk=False)
    commands.sender.send_nowait(Listen(on=True))
    await trio.sleep(0.05)  # the second block has been kept for two more to come
    commands.sender.send_nowait(Listen(on=False))
    await received(frames, 2)
    commands.sender.send_nowait(Listen(on=True))
    [first] = await received(frames, 1)
    assert trio.current_time() - first.captured_s == pytest.approx(0.02)


@pytest.mark.parametrize(("push_to_talk", "told"), [(False, [1, 4, 7]), (True, [])])
async def test_a_microphone_is_told_that_there_is_no_hurry_whenever_nothing_is_kept_back(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link, *, push_to_talk: bool, told: list[int]
) -> None:
    microphone = UnhurriedMicrophone([silence(60)])
    _frames, _activity, commands = begin(actors, link, microphone, push_to_talk=push_to_talk)
    commands.sender.send_nowait(Listen(on=True))
    commands.sender.send_nowait(Talk(on=True))
    await trio.sleep(8 * 0.02 + 0.01)
    assert microphone.given == 8
    assert microphone.unhurried == told


class CracklingMicrophone(SyntheticMicrophone):
    """Loses something before the blocks with these numbers."""

    def __init__(self, losses: Mapping[int, Glitches]) -> None:
        super().__init__([silence(60)])
        self._losses = losses

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[AsyncIterator[InputBlock], None]:
        async def crackling(blocks: AsyncIterator[InputBlock]) -> AsyncGenerator[InputBlock, None]:
            number = 0
            async for block in blocks:
                yield block._replace(glitches=self._losses.get(number, NO_GLITCHES))
                number += 1

        async with super().open(frame_ms) as blocks:
            yield crackling(blocks)


async def test_what_the_microphone_lost_is_told_and_the_rest_when_it_closes(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    xrun, late = Glitches(xruns=1, lost_ms=40.0), Glitches(discarded_ms=360.0)
    microphone = CracklingMicrophone({1: xrun, 5: late, 6: xrun})
    _frames, activity, commands = begin(actors, link, microphone, push_to_talk=False)
    commands.sender.send_nowait(Listen(on=True))
    started_s = trio.current_time()
    assert (await received(activity, 2))[1] == InputGlitched(xrun)
    assert trio.current_time() - started_s == pytest.approx(0.04, abs=0.001)
    await trio.sleep(0.2)
    commands.sender.send_nowait(Listen(on=False))
    assert await received(activity, 2) == [InputGlitched(late + xrun), InputClosed()]


class DefectiveMicrophone:
    """Opens whenever it is asked to, gives one block and fails."""

    name = "defective:"

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[AsyncIterator[InputBlock], None]:
        async def blocks() -> AsyncGenerator[InputBlock, None]:
            yield InputBlock(bytes(frame_ms * 48), trio.current_time())
            raise DeviceError("it hangs by a thread; replace it")

        yield blocks()


async def test_a_microphone_that_opens_only_to_fail_is_tried_ever_less_often(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    frames, _activity, commands = begin(actors, link, DefectiveMicrophone(), push_to_talk=False)
    commands.sender.send_nowait(Listen(on=True))
    await trio.sleep(60)
    assert 12 < frames.receiver.statistics().sent < 20, "a block of each opening"
