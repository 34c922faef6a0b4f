import os
from ctypes.util import find_library

import msgspec
import numpy as np
import pytest

from bench import sound
from bench.report import BenchError
from bench.tone_service import Arrival, ToneService, tone
from pipeline.vocabulary.frames import BYTES_PER_MS
from tests.virtual_sound_card import missing

needed = missing() or ("" if find_library("portaudio") else "install libportaudio2")
optional = os.environ.get("TALKWIRE_TEST_SOUND") != "required"  # .ci/run installs what is needed and skips nothing


def with_silences(*silences_ms: int) -> bytes:
    """Two seconds of tone, with silences put in their place at 0.5, 1.0, ... s."""
    pcm = bytearray(tone(2.0))
    for number, silence_ms in enumerate(silences_ms, start=1):
        size = silence_ms * BYTES_PER_MS
        begin = number * 500 * BYTES_PER_MS
        pcm[begin : begin + size] = bytes(size)
    return bytes(4_800) + bytes(pcm) + bytes(4_800)


def test_a_tone_has_the_silences_that_are_put_into_it() -> None:
    assert sound.silences_ms(with_silences(), 2.0) == []
    assert sound.silences_ms(with_silences(20, 3, 100), 2.0) == pytest.approx([20, 100], abs=0.2)


def test_what_is_missing_at_the_end_is_silence_too() -> None:
    assert sound.silences_ms(with_silences(20), 2.5) == pytest.approx([20, 500], abs=0.2)
    with pytest.raises(BenchError, match="not heard at all"):
        sound.silences_ms(bytes(9_600), 2.0)


async def test_the_gap_that_a_mishap_makes_is_found_among_others() -> None:
    service = ToneService(1, 2)
    whole = [*np.arange(0.0, 1.0, 0.02), *np.arange(1.3, 2.0, 0.02), *np.arange(2.5, 3.0, 0.02)]
    service.arrivals = [Arrival(at_s, 0.02) for at_s in whole]
    assert await service.gap_after(0.5, 1) == pytest.approx((0.98, 1.3))
    assert await service.gap_after(1.0, 1) == pytest.approx((0.98, 1.3)), "a frame was still on its way"
    assert await service.gap_after(1.4, 1) == pytest.approx((1.98, 2.5))


async def test_a_microphone_that_never_falls_silent_is_no_figure(autojump_clock: object) -> None:
    service = ToneService(1, 2)
    service.arrivals = [Arrival(0.16 * number, 0.16) for number in range(20)]
    with pytest.raises(BenchError, match="did not fall silent and come back within 1 s"):
        await service.gap_after(0.5, 1)


def test_without_a_sound_card_the_part_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    report = sound.measure(1)
    assert report.rows == []
    assert report.skipped[0].startswith("all of it: install pulseaudio")


@pytest.mark.skipif(bool(needed) and optional, reason=needed or "all is there")
def test_every_mishap_and_every_contestant_is_measured() -> None:
    report = sound.measure(1, tone_s=2.0)
    assert [(each.measure, each.target, bool(each.beside)) for each in report.rows] == [
        ("gaps, idle", None, False),
        ("gaps, main loaded", report.rows[0].p50 + 2, False),
        ("gaps, all loaded, one process", report.rows[0].p50 + 2, False),
        ("death of audio seen", 50.0, True),
        ("microphone back, audio killed", 500.0, True),
        ("microphone back, audio wedged", 2_000.0, True),
        ("back after server is up again", 500.0, True),
        ("back after server hung 3 s", 500.0, True),
        ("bare: start to first block", None, False),
        ("CPU, streaming both ways", 6.0, True),
        ("CPU, listening to a quiet room", None, True),
        ("CPU, muted", 3.0, True),
        ("bare: CPU", None, False),
        ("PSS, all processes", 120.0, True),
        ("bare: PSS", None, False),
    ]
    assert all(each.p50 > 0 for each in report.rows if each.unit in {"%", "MB"})
    assert msgspec.json.decode(msgspec.json.encode(report), type=type(report)) == report
