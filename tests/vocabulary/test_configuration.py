"""The settings loader: precedence, strictness, every problem at once, and no value that may be a secret."""

import math
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.vocabulary.configuration import Layer, combine, load, parse, parse_override, shipped
from pipeline.vocabulary.errors import ConfigurationError, Problem, UsageError
from pipeline.vocabulary.settings import Settings

CANARY = "sk-canary-0123456789abcdef"
DEFAULT = Layer("default.toml", parse(shipped("default.toml").read_bytes(), "default.toml"))
PATHS = [
    f"{section.name}.{field.name}"
    for section in msgspec.structs.fields(Settings)
    for field in msgspec.structs.fields(section.type)
]


def problems_of(*layers: Layer) -> list[Problem]:
    with pytest.raises(ConfigurationError) as caught:
        combine([DEFAULT, *layers])
    return caught.value.problems


def only_problem(path: str, value: object) -> str:
    section, key = path.split(".")
    (problem,) = problems_of(Layer("kiosk.toml", {section: {key: value}}))
    assert problem.path == path
    assert problem.message.endswith("(kiosk.toml)")
    return problem.message


def test_the_shipped_file_is_complete_and_valid() -> None:
    assert load().audio.frame_ms == 20


def test_later_sources_replace_single_values(tmp_path: Path) -> None:
    file = tmp_path / "kiosk.toml"
    file.write_text('[audio]\nframe_ms = 30\nvolume = 0.5\n[conversation]\nvoice = "alto"\n')
    loaded = load([file], ["audio.frame_ms=40", "audio.input=wav:a b.wav", 'audio.output=["none:", "wav:x"]'])
    assert (loaded.audio.frame_ms, loaded.audio.volume, loaded.conversation.voice) == (40, 0.5, "alto")
    assert loaded.audio.input == "wav:a b.wav"
    assert loaded.audio.output == ["none:", "wav:x"]
    assert loaded.turn == load().turn


def test_every_problem_of_every_source_is_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "kiosk.toml"
    file.write_text("[audio]\nframe_ms = 41\nvolum = 1\n[adio]\n[turn]\nmode = 3\n")
    with pytest.raises(ConfigurationError) as caught:
        load([file], ["service.url=ftp://x", "retry.first_s=5", "token.device_id=[", "audio.fade_ms=nan"])
    assert [problem.path for problem in caught.value.problems] == [
        "token.device_id", "audio.frame_ms", "audio.volum", "adio", "turn.mode", "service.url", "audio.fade_ms",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("audio.frame_ms", 50, "expected a whole number from 20 to 40 in steps of 10, got 50"),
        ("audio.frame_ms", 25, "expected a whole number from 20 to 40 in steps of 10, got 25"),
        ("audio.frame_ms", True, "expected a whole number from 20 to 40 in steps of 10, got true or false"),
        ("audio.frame_ms", 20.5, "expected a whole number from 20 to 40 in steps of 10, got 20.5"),
        ("audio.volume", math.nan, "expected a number from 0 to 1, got nan"),
        ("audio.volume", -math.inf, "expected a number from 0 to 1, got -inf"),
        ("audio.volume", 10**400, "expected a number from 0 to 1, got a huge number"),
        ("retry.cap_s", 0, "expected a number above 0 and at most 86400, got 0"),
        ("turn.mode", "push_to_tlak", 'one of "push_to_talk", "server_vad", got text; did you mean "push_to_talk"?'),
        ("audio.input", 3, "expected text or a list of texts, got 3"),
        ("audio.input", [1], "expected text or a list of texts, got a list"),
        ("audio.input", [], "must not be an empty list"),
        ("audio.input", ["none:", "wav:\0"], "must not hold a null character"),
        ("conversation.instructions", "x" * 20_001, "expected text of at most 20000 characters, got text"),
        ("server.chat_fallback", "", "expected text of 1 to 600 characters, got text"),
        ("server.port", 65_536, "expected a whole number from 0 to 65535, got 65536"),
    ],
)
def test_a_wrong_value_names_what_was_expected(path: str, value: object, expected: str) -> None:
    assert expected in only_problem(path, value)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("https://api.openai.com/v1", "must begin with wss://"),
        ("ws://api.openai.com/v1", "ws:// is only for this machine"),
        ("ws://127.0.0.1.evil.example/v1", "ws:// is only for this machine"),
        (f"wss://user:{CANARY}@host/v1", "must not hold a user name or password"),
        ("wss://host:0/v1", "port from 1 to 65535"),
        ("wss://host:65536/v1", "port from 1 to 65535"),
        ("wss://host:http/v1", "port from 1 to 65535"),
        ("wss://[::1/v1", "not a URL"),
        ("wss:///v1", "valid host"),
        ("wss://ho st/v1", "spaces or control characters"),
        ("wss://host/v1\r\nX-Evil: 1", "spaces or control characters"),
        ("wss://host/v1#part", "fragment"),
        ("", "must begin with wss://"),
    ],
)
def test_a_bad_url_is_refused_without_repeating_it(url: str, complaint: str) -> None:
    message = only_problem("service.url", url)
    assert complaint in message
    assert CANARY not in message


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("service.url", "ws://localhost:1/v1"),
        ("service.url", "ws://127.9.9.9/v1"),
        ("service.url", "ws://[::1]:65535/v1"),
        ("service.url", "wss://api.openai.com/v1/realtime"),
        ("token.url", "http://[::1]/realtime/token"),
        ("tokens.provider_url", "https://api.openai.com/v1/realtime/client_secrets"),
    ],
)
def test_good_urls_pass(path: str, url: str) -> None:
    section, key = path.split(".")
    loaded = combine([DEFAULT, Layer("x", {section: {key: url}})])
    assert getattr(getattr(loaded, section), key) == url


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("audio.frame", "did you mean audio.frame_ms?"),
        ("audio.mode", "did you mean turn.mode?"),
        ("audio.zzzz", "known: input, output, frame_ms, volume, fade_ms"),
    ],
)
def test_an_unknown_key_names_the_nearest(path: str, hint: str) -> None:
    assert hint in only_problem(path, CANARY)


def test_an_unknown_section_names_the_nearest() -> None:
    (problem,) = problems_of(Layer("kiosk.toml", {"sevrice": {}}))
    assert problem == Problem("sevrice", "unknown section; did you mean service? (kiosk.toml)")


def test_a_section_must_be_a_table() -> None:
    assert problems_of(Layer("k", {"audio": 1})) == [Problem("audio", "expected a table, got 1 (k)")]


def test_terminal_codes_in_a_key_do_not_reach_the_terminal() -> None:
    (problem,) = problems_of(Layer("k", {"audio": {"\x1b[2Jx\n": 1}}))
    assert str(problem).isprintable()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"[audio\n", "not TOML (line 1"),
        (b"[audio]\nframe_ms = \n", "not TOML (line 2"),
        (b"a = 1\na = 2\n", "not TOML (line 2"),
        (b"a = " + b"9" * 5_000, "not TOML"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"# fine\n[audio] # \xff\n", "not UTF-8 text (line 2)"),
        (b"#" * ((1 << 20) + 1), "larger than 1 MiB"),
        (f'key = "{CANARY}'.encode(), "not TOML"),
    ],
)
def test_a_file_that_is_no_settings_file_is_refused(tmp_path: Path, raw: bytes, expected: str) -> None:
    file = tmp_path / "kiosk.toml"
    file.write_bytes(raw)
    with pytest.raises(ConfigurationError, match=r"kiosk\.toml") as caught:
        load([file])
    assert expected in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"), [("none.toml", "No such file"), (".", "Is a directory"), ("\0", "not a file name")]
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        load([tmp_path / name])
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["audio", "audio=1", "audio.=1", ".key=1", "=", ""])
def test_an_override_needs_section_and_key(text: str) -> None:
    with pytest.raises(UsageError, match=r"section\.key=value"):
        parse_override(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("0.5", 0.5),
        ('"1"', "1"),
        ("wav:/tmp/x=y.wav", "wav:/tmp/x=y.wav"),
        ("two words", "two words"),
        ("", ""),
        ("1\nother = 2", "1\nother = 2"),
        ("['a', 'b']", ["a", "b"]),
    ],
)
def test_an_override_is_toml_or_plain_text(text: str, value: object) -> None:
    assert parse_override(f"audio.input={text}") == {"audio": {"input": value}}


@given(
    st.sampled_from(PATHS), st.none() | st.text() | st.integers() | st.floats() | st.booleans() | st.lists(st.text())
)
@settings(max_examples=200)
def test_any_value_is_accepted_or_named_and_never_repeated(path: str, value: object) -> None:
    section, key = path.split(".")
    try:
        loaded = combine([DEFAULT, Layer("x", {section: {key: value}})])
    except ConfigurationError as error:
        (problem,) = error.problems
        assert problem.path == path
        assert problem.message.isprintable()
    else:
        assert getattr(getattr(loaded, section), key) == value


@given(st.sampled_from(PATHS), st.text(), st.text())
@settings(max_examples=200)
def test_a_text_that_is_refused_is_never_repeated(path: str, before: str, after: str) -> None:
    section, key = path.split(".")
    told: list[Problem] = []
    try:
        combine([DEFAULT, Layer("x", {section: {key: before + CANARY + after}})])
    except ConfigurationError as error:
        told = error.problems
    assert CANARY not in str(told)


@given(st.dictionaries(st.text(max_size=12), st.integers(), min_size=1, max_size=5))
@settings(max_examples=100)
def test_every_unknown_key_is_reported(keys: dict[str, int]) -> None:
    unknown = {key: value for key, value in keys.items() if f"audio.{key}" not in PATHS}
    if unknown:
        found = problems_of(Layer("x", {"audio": unknown}))
        assert len(found) == len(unknown)
        assert all(str(problem).isprintable() for problem in found)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_are_tables_or_a_clear_error(raw: bytes) -> None:
    with suppress(ConfigurationError):
        assert isinstance(parse(raw, "kiosk.toml"), dict)


@pytest.mark.parametrize("name", ["secret_ttl_s", "secret_cap_s"])
def test_a_client_secret_lives_one_second_to_two_hours(name: str) -> None:
    assert load([], [f"server.{name}=1"])
    for seconds in (0, 7_201):
        assert str(7_200 if seconds else 1) in only_problem(f"server.{name}", seconds)
