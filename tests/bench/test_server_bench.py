"""The parts that measure the local server: with engines without models, small crowds and little time."""

import contextlib
import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio

from bench import corpus, recognition, server_capacity, server_latency, server_sessions
from bench.caller import appends, frame
from bench.corpus import SENTENCES, NotInstalledError, Utterance, spoken_by
from bench.curve import Curve, Point, draw
from bench.report import BenchError, Report, write
from bench.server import SYNTHETIC
from bench.server_capacity import Talked
from bench.server_latency import Cancel
from bench.server_sessions import Held
from bench.talker import Notes
from bench.word_errors import plain_words, word_errors


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crowds come at once, and what is compiled already is not compiled again for each part."""
    for part in (server_capacity, server_sessions):
        monkeypatch.setattr(part, "STAGGER_S", 0.5)
    for each in (server_capacity, server_latency, server_sessions):
        monkeypatch.setattr(each, "kept_bytecode", lambda: contextlib.nullcontext(dict(os.environ)))


def test_sessions_are_held_and_watched() -> None:
    report = server_sessions.measure(1, idle=[3], streaming=[2], hold_s=3.0)
    assert [(each.measure, each.beside) for each in report.rows] == [
        ("nobody else", ""),
        ("3 idle", "nobody else"),
        ("2 streaming", "nobody else"),
    ]
    assert report.counts["2 streaming: answers"] >= 1
    assert report.counts["2 streaming: without answer"] == 0
    assert all(each.n > 20 for each in report.rows)


def test_people_talk_at_once_and_a_curve_shows_it(tmp_path: Path) -> None:
    report = server_capacity.measure(1, sizes=[1, 2], hold_s=6.0, settings=SYNTHETIC)
    assert [each.measure for each in report.rows] == ["1 at once", "2 at once"]
    assert report.counts["talking at once with p95 below 1 s"] == 2
    path = write(report, tmp_path)
    assert msgspec.json.decode(path.read_bytes(), type=Report) == report
    assert path.with_suffix(".svg").read_text().startswith("<svg")


def test_answers_are_timed_and_cancelled() -> None:
    report = server_latency.measure(1, settings=SYNTHETIC)
    assert report.counts == {"turns": server_latency.TURNS_A_RUN, "unanswered": 0}
    rows = {each.measure: each for each in report.rows}
    assert 0 <= rows["to response.created"].p50 <= rows["to first delta"].p50 < 5_000
    assert rows["CPU in as long later"].n == 1


def test_the_tail_of_the_latency_has_a_bound_of_its_own() -> None:
    notes = Notes(created_ms=[1.0] * 20, first_delta_ms=[*range(100, 119), 1_000.0])
    rows = {each.measure: each for each in server_latency.rows(notes, [Cancel(1.0, 20.0, 2.0)])}
    assert rows["to first delta"].p50 == pytest.approx(109.5)
    assert rows["to first delta"].target == 150
    assert rows["first delta, p95"].p50 == rows["to first delta"].p95
    assert rows["first delta, p95"].target == 300


def test_crowds_grow_until_the_loop_is_too_late() -> None:
    watched: list[int] = []

    async def watch(name: str, size: int, _: object) -> Held:
        await trio.lowlevel.checkpoint()
        watched.append(size)
        return Held(name, [size * 10.0], cpu_percent=1.0, session_kb=1.0, notes=Notes())

    held = list(server_sessions._grow(watch, "idle", [5, 10, 15, 20], server_sessions._stand_idle))
    assert watched == [5, 10, 15]
    assert [each.name for each in held] == ["5 idle", "10 idle", "15 idle"]


@pytest.mark.parametrize(("late_ms", "unanswered", "too_many"), [(999.0, 0, False), (1_001.0, 0, True), (1.0, 1, True)])
def test_a_crowd_is_too_large_when_answers_are_late_or_missing(late_ms: float, unanswered: int, too_many: bool) -> None:  # noqa: FBT001 - a column of the table
    talked = Talked(3, Notes(first_delta_ms=[late_ms], unanswered=unanswered), cpu_percent=1.0)
    assert talked.is_too_many is too_many
    talked.notes.sent_away = 1
    assert talked.is_too_many


def test_a_curve_is_a_picture_with_its_bound() -> None:
    points = [Point(1, [40.0, 50.0, 60.0]), Point(8, [90.0, 400.0, 1_200.0])]
    curve = Curve(title="A <b>", load="people", unit="ms", lines=["p50", "p95", "p99"], points=points, bound=1_000.0)
    picture = ET.fromstring(draw(curve))  # noqa: S314 - our own
    names = {tag: [each for each in picture.iter() if each.tag.endswith(tag)] for tag in ("polyline", "circle")}
    assert (len(names["polyline"]), len(names["circle"])) == (3, 6)
    texts = ["".join(each.itertext()) for each in picture.iter() if each.tag.endswith("text")]
    assert {"A <b>", "people", "1", "8", "too much: 1,000 ms"} <= set(texts)


def test_frames_of_a_caller_are_a_clients() -> None:
    assert frame(b"ab") == b"\x81\x82\0\0\0\0ab"
    assert frame(b"a" * 300)[:8] == b"\x81\xfe\x01\x2c\0\0\0\0"
    sound = appends(b"\1\2" * 500)
    assert len(sound) == 2
    assert all(b'{"type":"input_audio_buffer.append","audio":"' in each for each in sound)
    assert len({len(each) for each in sound}) == 1, "the rest is filled up"


# recognition


class Deaf:
    """Hears the same in everything."""

    def transcribe(self, pcm: bytes) -> str:
        assert pcm
        return "Where is the lift?"


def test_words_wrong_are_counted_and_what_is_not_installed_is_named() -> None:
    def absent() -> Iterator[Utterance]:
        raise NotInstalledError("robot: apt-get install robot")

    said = [Utterance(b"\0\0", "Where is the lift"), Utterance(b"\0\0", "There was a lift")]
    report = recognition.judge(Deaf(), {"real": lambda: said, "robot": absent})
    rows = {each.measure: each for each in report.rows}
    assert rows["real: words wrong"].p50 == 100 * 3 / 8
    assert rows["real: words wrong"].target == recognition.REAL_TARGET
    assert rows["real: an utterance"].n == 2
    assert report.counts == {"real: words": 8, "real: words wrong": 3}
    assert report.skipped == ["robot: apt-get install robot"]
    with pytest.raises(BenchError, match="apt-get install robot"):
        recognition.judge(Deaf(), {"robot": absent})


def test_a_voice_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(NotInstalledError, match="flite: apt-get install flite"):
        next(spoken_by("flite"))
    monkeypatch.setattr(corpus, "TESTDATA", Path("/nowhere"))
    with pytest.raises(NotInstalledError, match="pocketsphinx-testdata"):
        corpus.real_recordings()


def test_a_voice_that_is_a_program_speaks_every_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    wav = Path(corpus.__file__).parents[1] / "config/questions/hello.wav"
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/robot")
    spoken: list[str] = []

    def run(arguments: list[str], **_: object) -> None:
        spoken.append(arguments[3])
        Path(arguments[2]).write_bytes(wav.read_bytes())

    monkeypatch.setattr(subprocess, "run", run)
    assert [each.words for each in spoken_by("espeak")] == list(SENTENCES)
    assert spoken == list(SENTENCES)
    assert len(SENTENCES) == 20


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's Mr. Smith, at 10!", "its mister smith at ten"),
        ("21 of 40, 19 of 105", "twenty one of forty nineteen of 105"),
    ],
)
def test_words_are_compared_plain(text: str, words: str) -> None:
    assert plain_words(text) == words.split()


@pytest.mark.parametrize(
    ("heard", "errors"), [("a b c", 0), ("a c", 1), ("a x c", 1), ("a b b c", 1), ("", 3), ("d e f g", 4)]
)
def test_word_errors_are_the_fewest_edits(heard: str, errors: int) -> None:
    assert word_errors("A, b c.", heard) == errors
