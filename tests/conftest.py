"""What every test may rely on."""

from collections.abc import Iterator

import pytest
import structlog

from tests.official import recorded_events, refuse_flaws


@pytest.fixture(autouse=True)
def fresh_logs() -> Iterator[None]:
    """A command that ran inside this process has pointed the logs at a stream that is gone after its test."""
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def official_events() -> Iterator[list[str]]:
    """Whatever our server says in a test, the official client's types know it. The messages so far, in order."""
    with recorded_events() as messages:
        yield messages
    refuse_flaws(messages)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-golden",
        action="store_true",
        help="write tests/server/golden anew from what the server says now (look at the difference)",
    )
