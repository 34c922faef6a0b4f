import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from bench import endpoint_overhead, footprint, response_latency
from bench.__main__ import main
from bench.endpoint_overhead import EagerLoudspeaker, Figures, NumberedMicrophone
from bench.peer import Account, Peer, number_of, numbered, open_peer
from bench.processes import kept_bytecode
from bench.report import BenchError, Report, row, show, write
from pipeline.core.latency import Mark
from pipeline.edges.websocket import WebSocketConnector
from pipeline.vocabulary.configuration import load
from pipeline.vocabulary.signals import Secret

DEMO = {
    "timeline_ms": {
        "speech_stopped": 510.0,
        "committed": 511.0,
        "response_created": 512.0,
        "first_delta": 700.0,
        "first_audible_sample": 740.0,
    },
    "since_start_ms": {"speaking": 6_300},
    "question_ms": 2_500.0,
    "files": {"reply": "reply.wav"},
}


@pytest.fixture(scope="module")
def overhead() -> Report:
    return endpoint_overhead.measure(1, frames=8)


def test_endpoint_and_bare_loop_are_measured_in_one_run_and_lose_nothing(overhead: Report) -> None:
    contestants = [(each.measure, each.beside, each.n) for each in overhead.rows]
    assert contestants == [
        ("block to append read", "bare: block to append read", 4),
        ("bare: block to append read", "", 4),
        ("delta to loudspeaker", "bare: delta to loudspeaker", 1),
        ("bare: delta to loudspeaker", "", 1),
        ("CPU a frame", "bare: CPU a frame", 1),
        ("bare: CPU a frame", "", 1),
    ]
    for ours, bare in zip(overhead.rows[::2], overhead.rows[1::2], strict=True):
        assert 0 < ours.p50 <= ours.p95 <= ours.p99 < 5e6
        assert ours.ratio == ours.p50 / bare.p50
        assert bare.ratio is None
    assert overhead.counts["frames"] == 8 + endpoint_overhead.TAIL_FRAMES
    assert overhead.counts["answers"] == 2
    assert not any(count for name, count in overhead.counts.items() if "lost" in name)


def test_a_report_is_one_table_and_one_file(
    overhead: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(overhead, tmp_path / "new")
    assert path.name == "endpoint_overhead.json"
    assert msgspec.json.decode(path.read_bytes(), type=Report) == overhead
    show(overhead, Console(width=80))
    shown = capsys.readouterr().out
    assert all(each.measure in shown for each in overhead.rows)
    assert "frames lost: 0" in shown


async def test_garbage_on_the_line_ends_the_bench() -> None:
    async def talk_nonsense(peer: Peer, _: NumberedMicrophone, __: EagerLoudspeaker) -> None:
        await _say(peer, "nonsense")

    async def play_noise(peer: Peer, _: NumberedMicrophone, __: EagerLoudspeaker) -> None:
        await _say(peer, '{"type":"input_audio_buffer.append","audio":"AAEC"}')

    async with open_peer() as peer:
        for contestant in (talk_nonsense, play_noise):
            with pytest.raises(BenchError, match="garbage on the line"):
                await endpoint_overhead.converse(peer, contestant, 8, Figures())


async def _say(peer: Peer, text: str) -> None:
    service = load([], [f"service.url={peer.url}"]).service
    async with WebSocketConnector(service, model="bench").connect(Secret("ek_bench")) as connection:
        await connection.send(text)
        while True:
            await connection.receive()


def _conversation(*, received: range, silent: int, answered: list[int]) -> tuple[Account, EagerLoudspeaker]:
    account = Account(received_s=dict.fromkeys(received, 1.1), silent=silent, sent_s={0: 2.0, 1: 2.0})
    loudspeaker = EagerLoudspeaker()
    loudspeaker.handed_s = dict.fromkeys(answered, 2.2)
    return account, loudspeaker


@pytest.fixture
def microphone() -> NumberedMicrophone:
    microphone = NumberedMicrophone(8)
    microphone.arrived_s = [1.0] * 18
    microphone.cpu_s = [0.001 * index for index in range(18)]
    return microphone


def test_lost_frames_and_answers_are_counted(microphone: NumberedMicrophone) -> None:
    account, loudspeaker = _conversation(received=range(7), silent=9, answered=[1])
    figures = Figures()
    figures.add(microphone, loudspeaker, account)
    assert (figures.frames, figures.frames_lost) == (18, 2)
    assert (figures.answers, figures.answers_lost) == (2, 1)
    assert figures.uplink_us == pytest.approx([1e5] * 3)
    assert figures.downlink_us == pytest.approx([2e5])
    assert figures.cpu_us == pytest.approx([1000.0])


def test_sound_that_nobody_sent_is_no_figure(microphone: NumberedMicrophone) -> None:
    account, loudspeaker = _conversation(received=range(9), silent=10, answered=[0, 1])
    with pytest.raises(BenchError, match="never sent"):
        Figures().add(microphone, loudspeaker, account)
    account, loudspeaker = _conversation(received=range(8), silent=10, answered=[0, 1])
    loudspeaker.take(b"\1" * 960)
    with pytest.raises(BenchError, match="never sent"):
        Figures().add(microphone, loudspeaker, account)


def test_blocks_are_recognised_whole() -> None:
    assert [number_of(numbered(number)) for number in (0, 1, 70_000)] == [0, 1, 70_000]
    assert number_of(bytes(960)) is None
    for garbage in (b"", b"\0", numbered(7)[:-1], numbered(7)[:-4] + numbered(8)[-4:], b"\xff" * 960):
        with pytest.raises(ValueError, match="nobody sent"):
            number_of(garbage)


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(BenchError, match="too few"):
        endpoint_overhead.measure(1, frames=7)


def test_the_demo_is_broken_down_by_mark() -> None:
    demos = [response_latency.parse(msgspec.json.encode(DEMO))] * 2
    rows = {each.measure: each for each in response_latency.rows(demos, 500.0)}
    assert rows["first_audible_sample"].p50 == 740.0
    assert rows["first_audible_sample"].ratio == 1.48
    assert rows["+ first_delta"].p50 == 188.0
    assert rows["Enter to audible"].p50 == 3_800.0
    assert {mark.value for mark in Mark} <= rows.keys()


BROKEN_DEMOS = [
    b"",
    b"\xff",
    b"{}",
    msgspec.json.encode(DEMO | {"timeline_ms": {"speech_stopped": 510.0}}),
    msgspec.json.encode(DEMO | {"timeline_ms": {"lunch": 1.0}}),
    msgspec.json.encode(DEMO | {"since_start_ms": {}}),
]


@pytest.mark.parametrize("output", BROKEN_DEMOS)
def test_a_demo_without_its_figures_is_refused(output: bytes) -> None:
    with pytest.raises(BenchError, match="demo"):
        response_latency.parse(output)


def test_a_program_that_fails_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "STARTS", {"bare start": [sys.executable, "-c", "raise SystemExit(3)"]})
    with pytest.raises(BenchError, match="exit code 3"):
        footprint.measure(1)


def test_started_programs_keep_their_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    with kept_bytecode() as environment:
        assert "PYTHONDONTWRITEBYTECODE" not in environment
        folder = Path(environment["PYTHONPYCACHEPREFIX"])
        assert folder.is_dir()
    assert not folder.exists()


def test_a_figure_needs_values_and_a_yardstick() -> None:
    with pytest.raises(BenchError, match="nothing was measured"):
        row("speed", "us", [])
    with pytest.raises(BenchError, match="no yardstick"):
        row("speed", "us", [1.0], beside=row("bare", "us", [0.0]))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--part", "nonsense"], '"response_latency", "endpoint_overhead", "footprint", "server_latency"'),
        (["--runs", "0"], "--runs"),
        (["--runs", "many"], "--runs"),
        (["--speed"], "--speed"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1


def test_a_failed_figure_is_one_line(
    overhead: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(endpoint_overhead, "measure", lambda _: overhead)
    assert main(["--part", "endpoint_overhead", "--json", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith("bench: cannot write ")


def test_a_figure_that_failed_in_a_crowd_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: int) -> Report:
        raise ExceptionGroup("crowd", [ExceptionGroup("talker", [BenchError("the server hung up")])])

    monkeypatch.setattr(endpoint_overhead, "measure", fail)
    assert main(["--part", "endpoint_overhead"]) == 1
    assert capsys.readouterr().err == "bench: the server hung up\n"
