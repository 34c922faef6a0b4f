import pytest

from pipeline.vocabulary.addresses import is_loopback


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "::1"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "::"])  # noqa: S104 - the point
def test_not_this_machine(host: str) -> None:
    assert not is_loopback(host)
