"""config/deploy: what its files name is there, and their hardening is rated where systemd's own tool is installed."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from cyclopts import App

from pipeline.cli import COMMANDS
from pipeline.cli.interruption import GRACE_S
from pipeline.edges.control_client import ANSWER_S
from pipeline.edges.runtime_directory import runtime_directory
from pipeline.vocabulary.configuration import load, shipped
from pipeline.vocabulary.errors import AlreadyRunningError, ConfigurationError

DEPLOY = shipped("deploy")
ROOT = DEPLOY.parent.parent
UNITS = sorted(DEPLOY.glob("*.service"))
ANALYZE = shutil.which("systemd-analyze")
EXPOSURE_MAX = 2.0


class Line(NamedTuple):
    key: str
    value: str


def lines(unit: Path) -> Iterator[Line]:
    for line in unit.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            yield Line(*line.split("=", 1))


def value(unit: Path, key: str) -> str:
    (found,) = [line.value for line in lines(unit) if line.key == key]
    return found


def demand_command(name: str, arguments: Sequence[str]) -> None:
    """The command takes these arguments, its settings files are beside the units, and its settings are settings."""
    assert name in COMMANDS
    app = App()
    app.default(getattr(import_module(f"pipeline.cli.{name}"), name))
    _, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    given = bound.arguments
    load([DEPLOY / path.name for path in given.get("config", ())], given.get("set_", ()))


def dockerfile() -> list[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word.isupper()]


def compose() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return services


def programs() -> dict[str, Any]:
    """What runs a command of ours; the container that holds the network does not."""
    return {name: service for name, service in compose().items() if name != "network"}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_a_command_that_takes_its_arguments(unit: Path) -> None:
    program, command, *arguments = value(unit, "ExecStart").split()
    assert program == "/opt/talkwire/bin/talkwire"  # where README and Dockerfile install it
    assert unit.stem == f"talkwire-{command}"
    demand_command(command, arguments)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_restarts_what_a_restart_can_mend_and_waits_for_the_end(unit: Path) -> None:
    prevented = {int(code) for code in value(unit, "RestartPreventExitStatus").split()}
    assert prevented == {AlreadyRunningError.exit_code, ConfigurationError.exit_code}
    assert int(value(unit, "TimeoutStopSec")) > GRACE_S + 1


def test_the_endpoint_ends_its_processes_itself() -> None:
    assert value(DEPLOY / "talkwire-run.service", "KillMode") == "mixed", "else each stop tells of a crash of `audio`"


def test_units_come_after_units_that_exist() -> None:
    named = {
        name for unit in UNITS for line in lines(unit) for name in re.findall(r"talkwire-\w+\.service", line.value)
    }
    assert named
    assert named <= {unit.name for unit in UNITS}


def test_the_endpoint_may_make_machine_code_for_the_sound_cards_callback() -> None:
    everywhere = [line.key for line in lines(DEPLOY / "talkwire-.service.d" / "hardening.conf")]
    assert "MemoryDenyWriteExecute" not in [*everywhere, *(line.key for line in lines(DEPLOY / "talkwire-run.service"))]


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_hardened_and_has_no_key_that_systemd_does_not_know(unit: Path) -> None:
    assert ANALYZE is not None
    environ = {"SYSTEMD_UNIT_PATH": f"{DEPLOY}:"}
    threshold = f"--threshold={round(EXPOSURE_MAX * 10)}"
    rated = subprocess.run(
        [ANALYZE, "security", "--offline=true", "--no-pager", threshold, unit.name],
        env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert rated.returncode == 0, rated.stderr or rated.stdout.splitlines()[-1]
    print(rated.stdout.splitlines()[-1])
    verified = subprocess.run(
        [ANALYZE, "verify", unit.name], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in verified.stderr.splitlines() if "/opt/talkwire/bin/talkwire" not in line]
    assert not [line for line in complaints if "talkwire" in line or str(DEPLOY) in line]


def test_the_image_is_made_of_what_is_there_and_runs_as_nobody_special() -> None:
    steps = dockerfile()
    for word, rest in steps:
        if word == "COPY":
            *sources, _ = rest.split()
            assert all((ROOT / source).exists() for source in sources), rest
    assert [rest for word, rest in steps if word == "USER"] == ["10001"]
    assert any("tini" in rest for word, rest in steps if word == "RUN")
    assert yaml.safe_load(next(rest for word, rest in steps if word == "ENTRYPOINT")) == ["tini", "--", "talkwire"]
    demand_command(*split(yaml.safe_load(next(rest for word, rest in steps if word == "CMD"))))


def test_the_images_health_is_what_the_endpoint_says_of_itself() -> None:
    (check,) = [rest for word, rest in dockerfile() if word == "HEALTHCHECK"]
    options, _, command = check.partition(" CMD ")
    seconds = {name: int(value) for name, value in re.findall(r"--([a-z-]+)=(\d+)s\b", options)}
    assert seconds["interval"] >= 30, "each look starts an interpreter, 0.3 s of a core"
    assert seconds["timeout"] >= 2 * ANSWER_S + 5, "connecting, the answer, and a slow start"
    service = load((), ()).service
    assert seconds["start-period"] >= 2 * (service.connect_deadline_s + service.configure_deadline_s)
    program, *arguments = yaml.safe_load(command)
    assert program == "talkwire"
    demand_command(*split(arguments))
    services = compose()
    assert [name for name, service in services.items() if "healthcheck" not in service] == ["run"]
    assert {service["healthcheck"]["disable"] for name, service in services.items() if name != "run"} == {True}
    assert split(arguments) == ("status", []), "it finds the directory by the environment, as run does"
    assert not [argument for argument in services["run"]["command"] if "runtime.directory" in argument]


def split(command: list[str]) -> tuple[str, list[str]]:
    return command[0], command[1:]


def test_containers_start_commands_that_exist_without_rights_and_with_one_network() -> None:
    services = programs()
    built = compose()["network"]["build"]
    assert (DEPLOY / built["context"]).resolve() == ROOT
    assert (ROOT / built["dockerfile"]).exists()
    for name, service in services.items():
        demand_command(*split(service["command"]))
        assert service["command"][0] == name
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "user", "ports"} & service.keys()
        assert all((DEPLOY / mount.split(":")[0]).exists() for mount in service["volumes"])
        assert service["network_mode"] == "service:network", "a program's own would die with it, for the others too"
    directory = runtime_directory("", services["run"]["environment"])
    assert any(mount.startswith(f"{directory}:uid=10001,mode=0700") for mount in services["run"]["tmpfs"])


def test_the_readme_names_only_what_is_there_and_stays_short() -> None:
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    paths = re.findall(r"(?:config|\.ci)/[\w./*-]+", text)
    assert paths
    assert all(list(ROOT.glob(path.rstrip("/."))) for path in paths), paths
    units = set(re.findall(r"(?<![/\w])talkwire-(\w+)\b", text))
    assert units == {unit.stem.removeprefix("talkwire-") for unit in UNITS}
    assert units == programs().keys()
