"""What every test may rely on."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def fresh_logs() -> Iterator[None]:
    """A command that ran inside this process has pointed the logs at a stream that is gone after its test."""
    yield
    structlog.reset_defaults()
