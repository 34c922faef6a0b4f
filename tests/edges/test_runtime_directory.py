import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.edges.runtime_directory import LOCK, only_instance, runtime_directory
from pipeline.vocabulary.errors import AlreadyRunningError, ConfigurationError


@pytest.mark.parametrize(
    ("given", "environ", "uid", "expected"),
    [
        ("/srv/kiosk", {"RUNTIME_DIRECTORY": "/run/x"}, 1000, "/srv/kiosk"),
        (
            "",
            {"RUNTIME_DIRECTORY": "/run/talkwire:/run/more", "XDG_RUNTIME_DIR": "/run/user/1000"},
            1000,
            "/run/talkwire",
        ),
        ("", {"XDG_RUNTIME_DIR": "/run/user/1000"}, 1000, "/run/user/1000/talkwire"),
        ("", {}, 0, "/run/talkwire"),
        ("", {}, 1000, f"{tempfile.gettempdir()}/talkwire-1000"),
    ],
)
def test_its_place(
    monkeypatch: pytest.MonkeyPatch, given: str, environ: dict[str, str], uid: int, expected: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    assert runtime_directory(given, environ) == Path(expected)


def test_one_daemon_at_a_time_and_the_next_one_after_it(tmp_path: Path) -> None:
    place = tmp_path / "runtime"
    with only_instance(place):
        assert place.stat().st_mode & 0o777 == 0o700
        assert int((place / LOCK).read_text()) == os.getpid()
        with pytest.raises(AlreadyRunningError, match=f"process {os.getpid()} holds "), only_instance(place):
            pytest.fail("two at once")
    with only_instance(place):
        pass


def test_another_directory_is_another_instance(tmp_path: Path) -> None:
    with only_instance(tmp_path / "one"), only_instance(tmp_path / "two"):
        pass


def test_a_daemon_that_was_killed_leaves_no_lock(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from pipeline.edges.runtime_directory import only_instance\n"
        "with only_instance(pathlib.Path(sys.argv[1])): print('held', flush=True); input()"
    )
    place = tmp_path / "runtime"
    command = [sys.executable, "-c", program, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunningError, match=f"process {other.pid} holds"), only_instance(place):
            pytest.fail("two at once")
        other.kill()
    with only_instance(place):
        pass


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    planted = tmp_path / "planted"
    planted.mkdir(mode=0o700)
    (planted / LOCK).symlink_to(tmp_path / "file")
    for place, reason in [
        (tmp_path / "missing" / "runtime", "No such file"),
        (tmp_path / "file", "File exists"),
        (open_to_all, "open to other users"),
        (planted, "symbolic links"),
    ]:
        with pytest.raises(ConfigurationError, match=f"runtime.directory: .*{reason}"), only_instance(place):
            pytest.fail(f"{place} was taken")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o700)
    os.chown(foreign, 4711, 4711)
    with pytest.raises(ConfigurationError, match="belongs to another user"), only_instance(foreign):
        pytest.fail("it was taken")


def test_a_disk_that_is_full_is_named(tmp_path: Path) -> None:
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, unlimited[1]))  # the next byte is one too many, as on a full disk
    try:
        with pytest.raises(ConfigurationError, match="File too large"), only_instance(tmp_path / "runtime"):
            pytest.fail("it was taken")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
