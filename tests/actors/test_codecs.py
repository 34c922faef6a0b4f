"""Encoder and decoder: what goes onto the wire and what comes off it."""

import base64
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import trio
import trio.testing
from trio.testing import MockClock

from pipeline.actors.decoder import decoder
from pipeline.actors.encoder import encoder
from pipeline.edges.synthetic import counter_signal
from pipeline.runtime.local_link import LocalLink
from pipeline.vocabulary.frames import AudioFrame, EncodedFrame, ReplyPacket, SpeechFrame

Link = Callable[[], LocalLink[Any]]


def packet(pcm: bytes, item: str = "a1", *, ends_turn: bool = False) -> ReplyPacket:
    return ReplyPacket(1, item, 0, base64.b64encode(pcm).decode(), len(pcm) / 48, 0.0, ends_turn)


async def decoded(actors: trio.Nursery, link: Link, packets: list[ReplyPacket]) -> list[SpeechFrame]:
    inbox, outbox = link(), link()
    actors.start_soon(decoder, inbox.receiver, outbox.sender)
    for each in [*packets, packet(b"", ends_turn=True)]:
        inbox.sender.send_nowait(each)
    frames: list[SpeechFrame] = []
    while not frames or not frames[-1].ends_turn:
        frames.append(await outbox.receiver.receive())
    return frames


async def test_a_frame_becomes_an_append_event(autojump_clock: MockClock, actors: trio.Nursery, link: Link) -> None:
    inbox, outbox = link(), link()
    actors.start_soon(encoder, inbox.receiver, outbox.sender)
    inbox.sender.send_nowait(AudioFrame(7, 1.5, b"\1\2" * 480, ends_turn=True, epoch=3, speech=True))
    encoded: EncodedFrame = await outbox.receiver.receive()
    event = json.loads(encoded.message)
    assert event == {"type": "input_audio_buffer.append", "audio": base64.b64encode(b"\1\2" * 480).decode()}
    assert encoded == EncodedFrame(7, 1.5, encoded.message, 20.0, ends_turn=True, epoch=3, speech=True)


async def test_frames_that_came_together_share_an_event_and_nobody_is_waited_for(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    def frame(seq: int, *, ends_turn: bool = False, epoch: int = 0, speech: bool = False) -> AudioFrame:
        return AudioFrame(seq, seq * 0.02, bytes([seq]) * 960, ends_turn, epoch, speech)

    inbox, outbox = link(), link()
    actors.start_soon(encoder, inbox.receiver, outbox.sender)
    came_together = [
        *[frame(seq) for seq in range(10)], frame(12), frame(13, speech=True), frame(14, speech=True, ends_turn=True),
        frame(15, speech=True), frame(16, speech=True, epoch=1),
    ]  # fmt: skip
    for each in came_together:
        inbox.sender.send_nowait(each)
    await trio.testing.wait_all_tasks_blocked()
    inbox.sender.send_nowait(frame(17, speech=True, epoch=1))
    await trio.testing.wait_all_tasks_blocked()
    sent: list[EncodedFrame] = [outbox.receiver.receive_nowait() for _ in range(outbox.receiver.statistics().items)]
    assert [(each.seq, each.frames) for each in sent] == [(0, 8), (8, 2), (12, 1), (13, 2), (15, 1), (16, 1), (17, 1)]
    assert [each.duration_ms for each in sent] == [20.0 * each.frames for each in sent]
    assert [each.captured_s for each in sent] == [each.seq * 0.02 for each in sent]
    assert [each.ends_turn for each in sent] == [each.seq == 13 for each in sent]
    assert [each.speech for each in sent] == [each.seq >= 13 for each in sent]
    assert [each.epoch for each in sent] == [int(each.seq >= 16) for each in sent]
    sound = [base64.b64decode(json.loads(each.message)["audio"]) for each in sent]
    assert b"".join(sound) == b"".join(each.pcm for each in [*came_together, frame(17)])


async def test_packets_of_any_size_become_blocks_without_losing_a_sample(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    pcm = counter_signal(0.5).pcm
    cuts = [0, 3, 961, 10_000, 10_001, len(pcm)]
    frames = await decoded(actors, link, [packet(pcm[a:b]) for a, b in pairwise(cuts)])
    assert b"".join(frame.pcm for frame in frames) == pcm
    assert max(len(frame.pcm) for frame in frames) == 9600
    assert {len(frame.pcm) % 2 for frame in frames} == {0}


async def test_an_odd_byte_does_not_leak_into_the_next_part(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    pcm = counter_signal(0.02).pcm
    frames = await decoded(actors, link, [packet(b"\7"), packet(pcm, "a2")])
    assert b"".join(frame.pcm for frame in frames if frame.item_id == "a2") == pcm


async def test_what_is_no_base64_is_left_out(autojump_clock: MockClock, actors: trio.Nursery, link: Link) -> None:
    pcm = counter_signal(0.02).pcm
    broken = ReplyPacket(1, "a1", 0, "@@@@", 1.0, 0.0)
    frames = await decoded(actors, link, [packet(pcm), broken, packet(pcm)])
    assert b"".join(frame.pcm for frame in frames) == pcm + pcm
