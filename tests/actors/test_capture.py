from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from trio.testing import MockClock

from pipeline.actors.capture import capture
from pipeline.edges.interfaces import InputBlock
from pipeline.edges.pacing import Sound
from pipeline.edges.synthetic import SyntheticMicrophone, counter_signal
from pipeline.runtime.local_link import LocalLink
from pipeline.runtime.progress import Progress
from pipeline.vocabulary.errors import AudioFileError, DeviceError, Verdict
from pipeline.vocabulary.frames import AudioFrame
from pipeline.vocabulary.signals import InputEnded, InputFailed, InputOpened, InputReady, Listen, SpeechEnd, Talk

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
    actors: trio.Nursery, link: Link, microphone: Any, *, push_to_talk: bool
) -> tuple[LocalLink[Any], LocalLink[Any], LocalLink[Any]]:
    """Start a capture; its frames, its activity and the commands it obeys."""
    frames, activity, commands = link(), link(), link()
    run = partial(capture, device=microphone, frame_ms=20, push_to_talk=push_to_talk, progress=Progress())
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
