import os
import tempfile
from pathlib import Path

import pytest

from pipeline.edges.runtime_directory import make_runtime_directory, runtime_directory
from pipeline.vocabulary.errors import ConfigurationError


def test_the_setting_goes_before_the_session_and_the_session_before_the_rest(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert runtime_directory("/srv/desk", environ) == Path("/srv/desk")
    assert runtime_directory("", environ) == tmp_path / "talkwire"


@pytest.mark.parametrize("session", [{}, {"XDG_RUNTIME_DIR": ""}, {"XDG_RUNTIME_DIR": "relative/path"}])
def test_without_a_session_every_user_has_one_of_their_own(session: dict[str, str]) -> None:
    run = Path(f"/run/user/{os.getuid()}")
    expected = run / "talkwire" if run.is_dir() else Path(tempfile.gettempdir()) / f"talkwire-{os.getuid()}"
    assert runtime_directory("", session) == expected


def test_it_is_made_for_this_user_alone_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        made = make_runtime_directory(str(tmp_path / "run"), {})
    finally:
        os.umask(old)
    assert made.stat().st_mode & 0o777 == 0o700
    assert make_runtime_directory(str(made), {}) == made


def complaint(setting: Path) -> str:
    with pytest.raises(ConfigurationError) as refused:
        make_runtime_directory(str(setting), {})
    return refused.value.message


def test_a_directory_others_may_enter_is_refused_with_its_name(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert complaint(tmp_path) == f"runtime.directory: {tmp_path} is open to other users; its mode must be 0700"


def test_a_link_that_somebody_laid_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert complaint(tmp_path / "link") == f"runtime.directory: {tmp_path / 'link'} is no directory"


def test_what_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert complaint(tmp_path / "file" / "run").endswith("cannot be made: Not a directory")
    assert complaint(tmp_path / "no" / "run").endswith("cannot be made: No such file or directory")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 12_345, -1)
    try:
        assert complaint(tmp_path).endswith("belongs to another user")
    finally:
        os.chown(tmp_path, 0, -1)
