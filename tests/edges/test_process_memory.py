import os

from pipeline.edges.process_memory import resident_bytes


def test_a_python_process_holds_megabytes() -> None:
    held = resident_bytes(os.getpid())
    assert held is not None
    assert 5e6 < held < 5e9


def test_a_process_that_is_not_there_holds_nothing() -> None:
    assert resident_bytes(0x7FFFFFFF) is None
