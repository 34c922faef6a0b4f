import pytest

from tests.wire_records import Strategies, records


@pytest.fixture(scope="session")
def events_of() -> Strategies:
    """Strategy for the events of one class."""
    return records
