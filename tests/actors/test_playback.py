from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import ANY

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from pipeline.actors.playback import playback
from pipeline.core.glitches import TELL_S
from pipeline.edges.interfaces import OutputRequest, OutputStream
from pipeline.edges.simulated import SimulatedLoudspeaker
from pipeline.edges.synthetic import counter_signal, tone
from pipeline.runtime.floor import Floor
from pipeline.runtime.local_link import LocalLink
from pipeline.vocabulary.errors import DeviceError
from pipeline.vocabulary.frames import SpeechFrame
from pipeline.vocabulary.signals import (
    NO_GLITCHES,
    Flushed,
    Glitches,
    Heard,
    OutputFailed,
    OutputGlitched,
    OutputOpened,
    SetVolume,
)

Link = Callable[[], LocalLink[Any]]


class Rig:
    """A loudspeaker with everything around it."""

    def __init__(
        self, nursery: trio.Nursery, link: Link, floor: Floor, loudspeaker: SimulatedLoudspeaker | None = None
    ) -> None:
        self.frames, self.commands, self.heard, self.flushed = link(), link(), link(), link()
        self.loudspeaker = loudspeaker or SimulatedLoudspeaker()
        self.floor = floor
        play = partial(playback, device=self.loudspeaker, floor=floor, frame_ms=20, fade_ms=8)
        nursery.start_soon(play, self.frames.receiver, self.commands.receiver, self.heard.sender, self.flushed.sender)
        self.commands.sender.send_nowait(SetVolume(1.0))

    def says(self, pcm: bytes, turn: int = 1, item: str = "a1", *, ends_turn: bool = False) -> None:
        for start in range(0, len(pcm), 960):
            self.frames.sender.send_nowait(SpeechFrame(turn, item, 0, pcm[start : start + 960]))
        if ends_turn:
            self.frames.sender.send_nowait(SpeechFrame(turn, item, 0, b"", ends_turn=True))

    def played(self) -> bytes:
        return b"".join(block.pcm for block in self.loudspeaker.heard)

    def reports(self, link: LocalLink[Any]) -> list[Any]:
        values = []
        while link.receiver.statistics().items:
            values.append(link.receiver.receive_nowait())
        return [value for value in values if not isinstance(value, OutputOpened)]


@pytest.fixture
def rig(actors: trio.Nursery, link: Link, floor: Floor) -> Rig:
    return Rig(actors, link, floor)


async def test_a_reply_is_played_bit_exactly_and_reported_to_its_end(autojump_clock: MockClock, rig: Rig) -> None:
    pcm = counter_signal(0.5).pcm
    rig.says(pcm, ends_turn=True)
    await trio.sleep(1)
    assert pcm in rig.played()
    heard: list[Heard] = rig.reports(rig.heard)
    assert [report.finished for report in heard] == [False] * (len(heard) - 1) + [True]
    assert heard[-1] == Heard(1, "a1", 0, 500.0, True, heard[-1].audible_s)
    assert [report.heard_ms for report in heard] == sorted(report.heard_ms for report in heard)


async def test_the_first_audible_sample_is_reported_when_it_has_left(autojump_clock: MockClock, rig: Rig) -> None:
    rig.says(bytes(960 * 5) + tone(0.3).pcm, ends_turn=True)
    begun_s = trio.current_time()
    await trio.sleep(1)
    audible = [report for report in rig.reports(rig.heard) if report.audible_s is not None]
    assert {report.audible_s for report in audible} == {audible[0].audible_s}
    assert 0.1 < audible[0].audible_s - begun_s < 0.16, "100 ms of digital silence precede it"


async def test_the_floor_silences_within_one_block_fades_and_reports_what_was_heard(
    autojump_clock: MockClock, rig: Rig
) -> None:
    pcm = tone(5).pcm
    rig.says(pcm)
    await trio.sleep(1.005)
    raised_s = trio.current_time()
    rig.floor.raise_to(2)
    rig.frames.receiver.receive_nowait()  # a purging link does this; here one stale frame more must not sound either
    await trio.sleep(0.5)
    sounding = [block for block in rig.loudspeaker.heard if any(block.pcm)]
    assert sounding[-1].leaves_s - raised_s < 0.02
    last = np.frombuffer(sounding[-1].pcm, dtype="<i2")
    assert last[:150].any()
    assert not last[8 * 24 :].any(), "faded out within fade_ms"
    [flushed] = rig.reports(rig.flushed)
    total_ms = sum(len(block.pcm) for block in sounding) / 48 - 12
    assert flushed == Flushed(1, "a1", 0, flushed.heard_ms)
    assert flushed.heard_ms == pytest.approx(total_ms, abs=0.1)


async def test_the_next_turn_sounds_after_a_flush(autojump_clock: MockClock, rig: Rig) -> None:
    rig.says(tone(0.1).pcm)
    await trio.sleep(0.05)
    rig.floor.raise_to(2)
    pcm = counter_signal(0.2).pcm
    rig.says(pcm, turn=2, item="a2", ends_turn=True)
    await trio.sleep(1)
    assert pcm in rig.played()
    assert rig.reports(rig.heard)[-1].turn == 2


async def test_replies_never_overlap(autojump_clock: MockClock, rig: Rig) -> None:
    first, second = counter_signal(0.3).pcm, tone(0.3).pcm
    rig.says(first, ends_turn=True)
    rig.says(second, turn=2, item="a2", ends_turn=True)
    await trio.sleep(1)
    assert rig.played().index(first) + len(first) <= rig.played().index(second)


async def test_a_turn_without_sound_is_heard_at_once(autojump_clock: MockClock, rig: Rig) -> None:
    rig.says(b"", ends_turn=True)
    await trio.sleep(0.1)
    assert rig.reports(rig.heard) == [Heard(1, "", 0, 0.0, True, None)]


async def test_a_cut_turn_of_which_nothing_sounded_is_reported_with_nothing_heard(
    autojump_clock: MockClock, rig: Rig
) -> None:
    rig.says(tone(3).pcm, ends_turn=True)
    rig.says(tone(0.5).pcm, turn=2, item="a2")
    await trio.sleep(2.9)
    rig.floor.raise_to(3)
    await trio.sleep(0.5)
    flushed = rig.reports(rig.flushed)
    assert [(report.turn, report.item_id) for report in flushed] == [(1, "a1"), (2, "a2")]
    assert flushed[1].heard_ms == 0


async def test_volume_moves_without_a_click(autojump_clock: MockClock, rig: Rig) -> None:
    rig.commands.sender.send_nowait(SetVolume(0.25))
    rig.says(tone(1).pcm, ends_turn=True)
    await trio.sleep(2)
    played = np.frombuffer(rig.played(), dtype="<i2").astype(int)
    assert abs(played).max() == pytest.approx(abs(np.frombuffer(tone(1).pcm, dtype="<i2").astype(int)).max() / 4, abs=2)
    sounding = np.trim_zeros(played)  # the tone's own end is abrupt
    assert abs(np.diff(sounding)).max() < 700


async def test_nothing_sounds_before_the_volume_is_set(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link, floor: Floor
) -> None:
    rig = Rig(actors, link, floor)
    rig.reports(rig.commands)
    rig.says(tone(1).pcm, ends_turn=True)
    await trio.sleep(0.2)
    assert not any(rig.played())
    rig.commands.sender.send_nowait(SetVolume(1.0))
    await trio.sleep(1.5)
    assert tone(1).pcm in rig.played()


class DeepLoudspeaker(SimulatedLoudspeaker):
    """Takes five blocks at once, and notes how often it was left to rest, how much it was given and what it took back.

    Attributes:
        ready: sound that lies ready in it and leaves block by block.
        taken_back: in ms.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rests = 0
        self.answers: list[int] = []
        self.ready = bytearray()
        self.taken_back: list[float] = []

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[OutputStream, None]:
        async with super().open(frame_ms) as stream:

            async def rest(until: Callable[[], Awaitable[None]]) -> None:
                self.rests += 1
                await stream.rest(until)

            async def wait_request() -> OutputRequest:
                while True:
                    request = await stream.wait_request()
                    if not self.ready:
                        return request._replace(blocks=5)
                    await stream.write(bytes(self.ready[:960]))
                    del self.ready[:960]

            async def write(pcm: bytes | None) -> None:
                self.answers.append(0 if pcm is None else len(pcm) // 960)
                await stream.write(None if pcm is None else pcm[:960])
                self.ready += b"" if pcm is None else pcm[960:]

            def cut(fade_ms: float) -> float | None:
                assert fade_ms == 8
                if not self.ready:
                    return None
                self.taken_back.append(len(self.ready) / 48)
                self.ready.clear()
                return self.heard[-1].leaves_s + 0.02

            yield cast("OutputStream", SimpleNamespace(rest=rest, wait_request=wait_request, write=write, cut=cut))


async def test_several_blocks_are_given_at_once_as_soon_as_the_reply_is_known_to_be_heard(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link, floor: Floor
) -> None:
    loudspeaker = DeepLoudspeaker()
    rig = Rig(actors, link, floor, loudspeaker)
    pcm = tone(0.5).pcm  # 25 blocks
    rig.says(pcm, ends_turn=True)
    await trio.sleep(1)
    assert pcm in rig.played()
    given = [blocks for blocks in loudspeaker.answers if blocks]
    assert given[0] == 1
    assert sum(given) == 25
    assert max(given) == 5
    assert len(given) <= 9
    assert rig.reports(rig.heard)[-1] == Heard(1, "a1", 0, 500.0, True, ANY)


@pytest.mark.parametrize("is_whole", [False, True])
async def test_what_lies_ready_at_the_device_is_taken_back_at_once(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link, floor: Floor, *, is_whole: bool
) -> None:
    """Also of a reply that was handed over to its end: what of it was heard is told like any other."""
    loudspeaker = DeepLoudspeaker()
    rig = Rig(actors, link, floor, loudspeaker)
    rig.says(tone(0.3 if is_whole else 3).pcm, ends_turn=is_whole)
    for _ in range(1000):
        await trio.sleep(0.001)
        if loudspeaker.ready and (sum(loudspeaker.answers) == 15 or not is_whole):
            break
    ready = len(loudspeaker.ready)
    floor.raise_to(2)
    assert loudspeaker.taken_back == [ready / 48], "before anybody else has run"
    floor.raise_to(3)
    played_ms = sum(len(block.pcm) for block in loudspeaker.heard if any(block.pcm)) / 48
    await trio.sleep(0.1)
    assert len(loudspeaker.taken_back) == 1
    [flushed] = rig.reports(rig.flushed)
    assert flushed == Flushed(1, "a1", 0, flushed.heard_ms)
    assert flushed.heard_ms == pytest.approx(played_ms, abs=1)
    pcm = counter_signal(0.2).pcm
    rig.says(pcm, turn=3, item="a3", ends_turn=True)
    await trio.sleep(1)
    assert pcm in rig.played()
    assert rig.reports(rig.heard)[-1] == Heard(3, "a3", 0, 200.0, True, ANY)


async def test_a_floor_takes_back_nothing_of_a_turn_that_is_still_wanted(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link, floor: Floor
) -> None:
    loudspeaker = DeepLoudspeaker()
    rig = Rig(actors, link, floor, loudspeaker)
    pcm = tone(1).pcm
    rig.says(pcm, turn=2, ends_turn=True)
    await trio.sleep(0.5)
    floor.raise_to(2)
    await trio.sleep(1)
    assert loudspeaker.taken_back == []
    assert pcm in rig.played()


async def test_the_loudspeaker_rests_while_there_is_nothing_to_say_also_after_a_cut(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link, floor: Floor
) -> None:
    loudspeaker = DeepLoudspeaker()
    rig = Rig(actors, link, floor, loudspeaker)
    await trio.sleep(1)
    assert loudspeaker.rests == 1
    rig.says(tone(0.5).pcm)
    await trio.sleep(0.1)
    floor.raise_to(2)
    await trio.sleep(1)
    assert loudspeaker.rests == 2
    taken = len(loudspeaker.answers)
    for gain in (0.5, 0.6, 0.7):
        rig.commands.sender.send_nowait(SetVolume(gain))
        await trio.sleep(0.1)
    assert rig.commands.receiver.statistics().items == 0, "commands are obeyed at rest, too"
    assert len(loudspeaker.answers) - taken <= 3
    reported = len(rig.reports(rig.heard))
    await trio.sleep(1)
    assert not rig.reports(rig.heard), f"after {reported} reports: nothing sounds"


class FailingLoudspeaker(SimulatedLoudspeaker):
    """Fails when told to: while it is waited for, or while it is given a block."""

    def __init__(self) -> None:
        super().__init__()
        self.fails_at = ""

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[OutputStream, None]:
        async with super().open(frame_ms) as stream:

            async def wait_request() -> OutputRequest:
                request = await stream.wait_request()
                fail("request")
                return request

            async def write(pcm: bytes | None) -> None:
                fail("write")
                await stream.write(pcm)

            def fail(where: str) -> None:
                if self.fails_at == where:
                    self.fails_at = ""
                    raise DeviceError("gone")

            yield cast(
                "OutputStream",
                SimpleNamespace(rest=stream.rest, wait_request=wait_request, write=write, cut=stream.cut),
            )


@pytest.mark.parametrize("where", ["request", "write"])
async def test_a_loudspeaker_that_fails_just_after_a_barge_in_does_not_keep_how_much_was_heard(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link, floor: Floor, where: str
) -> None:
    loudspeaker = FailingLoudspeaker()
    rig = Rig(actors, link, floor, loudspeaker)
    rig.says(tone(3).pcm)
    await trio.sleep(1.005)
    floor.raise_to(2)
    rig.reports(rig.frames)  # a purging link does this
    loudspeaker.fails_at = where
    await trio.sleep(0.1)
    played_ms = sum(len(block.pcm) for block in loudspeaker.heard if any(block.pcm)) / 48
    flushed, failed = rig.reports(rig.flushed)
    assert flushed == Flushed(1, "a1", 0, flushed.heard_ms)
    assert flushed.heard_ms == pytest.approx(played_ms, abs=20)
    assert isinstance(failed, OutputFailed)
    await trio.sleep(0.5)
    rig.commands.sender.send_nowait(SetVolume(1.0))  # the session's answer to its opening
    pcm = counter_signal(0.2).pcm
    rig.says(pcm, turn=2, item="a2", ends_turn=True)
    await trio.sleep(1)
    assert pcm in rig.played()


class CracklingLoudspeaker(SimulatedLoudspeaker):
    """Suffers an xrun before its third request, and is starved before its fifth."""

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[OutputStream, None]:
        suffered = iter([NO_GLITCHES, NO_GLITCHES, Glitches(xruns=1), NO_GLITCHES, Glitches(starved=1)])
        async with super().open(frame_ms) as stream:

            async def wait_request() -> OutputRequest:
                return (await stream.wait_request())._replace(glitches=next(suffered, NO_GLITCHES))

            members = {name: getattr(stream, name) for name in ("rest", "write", "cut")}
            yield cast("OutputStream", SimpleNamespace(**members, wait_request=wait_request))


@pytest.mark.parametrize(("reply_s", "told_s"), [(12.0, TELL_S), (0.5, 0.5)])
async def test_what_the_loudspeaker_suffered_is_told_some_at_a_time_and_before_it_rests(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link, floor: Floor, reply_s: float, told_s: float
) -> None:
    rig = Rig(actors, link, floor, CracklingLoudspeaker())
    rig.says(tone(reply_s).pcm, ends_turn=True)
    await trio.sleep(0.3)
    assert rig.reports(rig.flushed) == [OutputGlitched(Glitches(xruns=1))]
    await trio.sleep(told_s)
    assert rig.reports(rig.flushed) == [OutputGlitched(Glitches(starved=1))]


class DefectiveLoudspeaker(SimulatedLoudspeaker):
    """Opens whenever it is asked to, and fails at its first request."""

    def __init__(self) -> None:
        super().__init__()
        self.openings = 0

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[OutputStream, None]:
        assert frame_ms == 20
        self.openings += 1
        yield cast("OutputStream", SimpleNamespace(wait_request=self._fail, rest=self._fail, cut=lambda _: None))

    async def _fail(self, _: object = None) -> OutputRequest:
        await trio.lowlevel.checkpoint()
        raise DeviceError("it hangs by a thread; replace it")


async def test_a_loudspeaker_that_opens_only_to_fail_is_tried_ever_less_often(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link, floor: Floor
) -> None:
    loudspeaker = DefectiveLoudspeaker()
    Rig(actors, link, floor, loudspeaker)
    await trio.sleep(60)
    assert 12 < loudspeaker.openings < 20
