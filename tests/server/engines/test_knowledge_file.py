"""A knowledge file that is edited while the server runs."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from pipeline.server.engines import knowledge_file
from pipeline.server.engines.interfaces import Ask, Line, Words
from pipeline.server.engines.knowledge_file import LOOK_EVERY_S, KnowledgeFile
from pipeline.server.engines.retrieval import RetrievalBrain
from pipeline.vocabulary.errors import ConfigurationError

TEXT = """
greeting = "Hello."
unknown = "I do not know."
unheard = "Pardon?"
[entries.lift]
phrasings = ["Where is the lift?"]
answer = "Behind you."
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(TEXT)
    return file


def rewrite(path: Path, text: str) -> None:
    """As most editors save: a new file put in the old one's place."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def overwrite(path: Path, text: str) -> None:
    """As the others do."""
    path.write_text(text)
    os.utime(path, ns=(1, 1))  # a coarse clock may give both versions the same time otherwise


def remove(path: Path) -> None:
    path.unlink()


async def ask(brain: RetrievalBrain) -> str:
    pieces = [piece async for piece in brain.answer(Ask((Line("user", "Where is the lift?"),)))]
    return "".join(piece.text for piece in pieces if isinstance(piece, Words))


@pytest.mark.parametrize("save", [rewrite, overwrite])
async def test_a_good_version_is_used_from_the_next_question(
    path: Path, save: Callable[[Path, str], None], mock_clock: MockClock
) -> None:
    brain = RetrievalBrain(KnowledgeFile(path))
    assert await ask(brain) == "Behind you."
    save(path, TEXT.replace("Behind you.", "To the left."))
    mock_clock.jump(LOOK_EVERY_S)
    assert await ask(brain) == "To the left."


async def test_a_bad_version_is_refused_in_one_line_and_the_old_one_stays(path: Path, mock_clock: MockClock) -> None:
    brain = RetrievalBrain(KnowledgeFile(path))
    rewrite(path, TEXT.replace('answer = "Behind you."', "answer = 3\ncolour = 4"))
    with capture_logs() as logs:
        for _ in range(3):
            assert await ask(brain) == "Behind you."
            mock_clock.jump(LOOK_EVERY_S)
    assert logs == [
        {
            "event": "knowledge file refused, the last good one stays",
            "log_level": "warning",
            "problem": "entries.lift.answer: must be a text that is not empty (mine.toml, line 7)",
            "further_problems": 1,
        }
    ]
    rewrite(path, TEXT.replace("Behind you.", "Mended."))
    assert await ask(brain) == "Mended."


async def test_a_file_that_is_gone_for_a_moment_does_no_harm(path: Path, mock_clock: MockClock) -> None:
    brain = RetrievalBrain(KnowledgeFile(path))
    remove(path)
    with capture_logs() as logs:
        assert await ask(brain) == "Behind you."
    assert "cannot read" in logs[0]["problem"]
    rewrite(path, TEXT.replace("Behind you.", "Back again."))
    mock_clock.jump(LOOK_EVERY_S)
    assert await ask(brain) == "Back again."


async def test_it_is_looked_at_once_a_second(
    path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = KnowledgeFile(path)
    looks: list[Path] = []
    monkeypatch.setattr(knowledge_file, "_version", looks.append)
    monkeypatch.setattr(file, "_version", None)
    for _ in range(10):
        await file.search()
    assert len(looks) == 1
    mock_clock.jump(LOOK_EVERY_S)
    await file.search()
    assert len(looks) == 2


async def test_a_share_that_hangs_costs_half_a_second_once(
    path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = KnowledgeFile(path)
    never = trio.Event()
    calls = 0

    async def hang(*_args: object, **_keywords: object) -> None:
        nonlocal calls
        calls += 1
        file._is_looking = True
        await never.wait()

    monkeypatch.setattr(trio.to_thread, "run_sync", hang)
    began = trio.current_time()
    first = await file.search()
    assert trio.current_time() - began == pytest.approx(0.5)
    await trio.sleep(LOOK_EVERY_S)
    assert await file.search() is first
    assert calls == 1


def test_a_first_version_that_is_wrong_is_refused(path: Path) -> None:
    path.write_text("unknown = 1\n")
    with pytest.raises(ConfigurationError, match=r"unknown: .*\(mine\.toml, line 1\)"):
        KnowledgeFile(path)


async def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, TEXT.encode())
    os.close(write_end)
    try:
        file = KnowledgeFile(Path(f"/dev/fd/{read_end}"))
        assert (await file.search()).knowledge.greeting == "Hello."
    finally:
        os.close(read_end)
