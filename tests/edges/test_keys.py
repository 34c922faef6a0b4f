import os
from pathlib import Path

import pytest

from pipeline.edges.keys import CHAT, read_api_key
from pipeline.vocabulary.errors import ConfigurationError
from pipeline.vocabulary.signals import Secret

CANARY = "sk-canary-51c0"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "openai_api_key"
    path.write_text(f"{CANARY}\n")
    path.chmod(0o600)
    return path


def test_the_order_is_credential_file_environment(key_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("sk-file")
    environ = {
        "CREDENTIALS_DIRECTORY": str(key_file.parent),
        "OPENAI_API_KEY_FILE": str(other),
        "OPENAI_API_KEY": "sk-environment",
    }
    assert read_api_key(environ) == Secret(CANARY)
    key_file.unlink()
    assert read_api_key(environ) == Secret("sk-file")
    del environ["OPENAI_API_KEY_FILE"]
    assert read_api_key(environ) == Secret("sk-environment")
    del environ["OPENAI_API_KEY"]
    assert read_api_key(environ) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        (f"{CANARY} {CANARY}", "visible ASCII"),
        (f"{CANARY}\n{CANARY}", "visible ASCII"),
        (f"{CANARY}é", "visible ASCII"),
        (CANARY + "k" * 5_000, "visible ASCII"),
    ],
)
def test_an_unusable_key_is_refused_by_its_place_and_never_shown(key_file: Path, text: str, reason: str) -> None:
    key_file.write_text(text)
    for environ in ({"OPENAI_API_KEY": text}, {"OPENAI_API_KEY_FILE": str(key_file)}):
        (place,) = environ
        with pytest.raises(ConfigurationError, match=reason) as caught:
            read_api_key(environ | {"CREDENTIALS_DIRECTORY": ""})
        assert caught.value.problems[0].path == place
        assert CANARY not in caught.value.message


def test_a_key_file_anybody_may_write_is_refused(key_file: Path) -> None:
    key_file.chmod(0o602)
    with pytest.raises(ConfigurationError, match=r"^OPENAI_API_KEY_FILE: anybody may write .*chmod o-w"):
        read_api_key({"OPENAI_API_KEY_FILE": str(key_file)})


@pytest.mark.parametrize("name", ["missing", "", "folder", "pipe", "nul\0"])
def test_an_unreadable_key_file_is_refused_and_no_later_place_is_tried(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    path = str(tmp_path / name) if name else ""
    with pytest.raises(ConfigurationError, match="key file"):
        read_api_key({"OPENAI_API_KEY_FILE": path, "OPENAI_API_KEY": CANARY})


def test_a_dangling_credential_is_refused(tmp_path: Path) -> None:
    (tmp_path / "openai_api_key").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigurationError, match=r"^CREDENTIALS_DIRECTORY: cannot read"):
        read_api_key({"CREDENTIALS_DIRECTORY": str(tmp_path), "OPENAI_API_KEY": CANARY})


def test_the_key_of_the_chat_service_is_another(key_file: Path) -> None:
    key_file.with_name("chat_api_key").write_text("sk-chat")
    environ = {"OPENAI_API_KEY": CANARY, "CHAT_API_KEY": "sk-environment"}
    assert read_api_key(environ, CHAT) == Secret("sk-environment")
    assert read_api_key(environ | {"CREDENTIALS_DIRECTORY": str(key_file.parent)}, CHAT) == Secret("sk-chat")
    with pytest.raises(ConfigurationError, match=r"^CHAT_API_KEY_FILE: cannot read"):
        read_api_key({"CHAT_API_KEY_FILE": str(key_file.with_name("absent"))}, CHAT)
    assert read_api_key({"OPENAI_API_KEY": CANARY}, CHAT) is None
