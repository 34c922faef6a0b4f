"""Scripts and flags: what is wrong is said with step and field."""

from pathlib import Path

import pytest

from pipeline.proving.script import Step, parse_toxic, read_script
from pipeline.proving.toxics import Down, HalfOpen, Latency, Slicer
from pipeline.vocabulary.errors import ConfigurationError


def script(folder: Path, text: str) -> Path:
    path = folder / "script.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_script_is_read_in_order(tmp_path: Path) -> None:
    text = """
    [[step]]
    toxics = [{ type = "latency", latency_ms = 200, direction = "down" }, { type = "down" }]
    [[step]]
    at_s = 2.5
    """
    assert read_script(script(tmp_path, text)) == [
        Step(at_s=0.0, toxics=(Latency(latency_ms=200, direction="down"), Down())),
        Step(at_s=2.5, toxics=()),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('steps = ""', "script.toml must hold [[step]] tables and nothing else"),
        ("step = [1]", "step 1: must be a table"),
        ("[[step]]\nat_s = -1", "step 1, at_s: expected float >= 0"),
        ("[[step]]\nat_s = nan", "step 1, at_s: "),
        ("[[step]]\nwhen = 1", "step 1, when: unknown field; known: at_s, toxics"),
        ("[[step]]\ntoxics = 1", "step 1, toxics: must be a list"),
        (
            "[[step]]\n[[step]]\ntoxics = [{type='latncy'}]",
            "step 2, toxic 1, type: is not a toxic; did you mean latency?",
        ),
        ("[[step]]\ntoxics = [{}]", "step 1, toxic 1, type: is not a toxic"),
        ("[[step]]\ntoxics = [{type='latency'}]", "step 1, toxic 1, latency, latency_ms: is missing"),
        ("[[step]]\ntoxics = [{type='latency', latency_ms='x'}]", "latency_ms: expected float, got str"),
        ("[[step]]\ntoxics = [{type='latency', latency_ms=nan}]", "latency_ms: expected float >= 0"),
        ("[[step]]\ntoxics = [{type='down', direction='up'}]", "direction: unknown field; known: none"),
        (
            "[[step]]\ntoxics = [{type='stall', direction='left'}]",
            "step 1, toxic 1, stall, direction: invalid enum value",
        ),
        ("[[step]]\ntoxics = [{type='slicer', average_bytes=5, variation_bytes=5}]", "must be below average_bytes"),
        ("[[step]]\nat_s = 5\n[[step]]\nat_s = 4", "step 2, at_s: must not be before the step above it"),
    ],
)
def test_a_mistake_names_step_and_field(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_script(script(tmp_path, text))
    assert says in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_script(script(tmp_path, "[[step]]\nat_s = -1\ntoxics = [{type='x'}, {type='bandwidth'}]"))
    assert len(caught.value.problems) == 3


def test_faults_of_the_beginning_are_toxics_like_any_other(tmp_path: Path) -> None:
    text = "[[step]]\ntoxics = [{ type = 'http_status', status = 503, times = 2 }, { type = 'refuse', every = 3 }]"
    (step,) = read_script(script(tmp_path, text))
    assert step.toxics == (parse_toxic("http_status status=503 times=2"), parse_toxic("refuse every=3"))


def test_a_toxic_on_the_command_line() -> None:
    assert parse_toxic("latency latency_ms=200 jitter_ms=50.5") == Latency(latency_ms=200, jitter_ms=50.5)
    assert parse_toxic("half_open direction=up") == HalfOpen(direction="up")
    assert parse_toxic(" slicer  average_bytes=7 ") == Slicer(average_bytes=7)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a toxic"),
        ("latency 200", "toxic latency, 200: must be name=value"),
        ("latency latency_ms=1 latency_ms=2", "toxic latency, latency_ms: is given twice"),
        ("latency latency_ms=soon", "toxic latency, latency_ms: expected float, got str"),
        ("latency", "toxic latency, latency_ms: is missing"),
        ("bandwith rate_kbit_s=1", "did you mean bandwidth?"),
        ("bandwidth rate_kbit_s=0", "toxic bandwidth, rate_kbit_s: expected float >= 0.1"),
    ],
)
def test_a_wrong_toxic_names_its_field(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_toxic(text)
    assert says in str(caught.value)
