"""What reaches the terminal of a process whose native code has been silenced."""

import subprocess
import sys

import pytest

NATIVE = "ctypes.CDLL(None).perror(b'native'); os.write(2, b'native')\n"
BEGIN = (
    "import ctypes, faulthandler, os, sys, threading\n"
    "from pipeline.edges.native_stderr import divert_native_stderr\n"
    "divert_native_stderr()\n"
    f"{NATIVE}"
)


def stderr_of(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", BEGIN + code], stderr=subprocess.PIPE, text=True, check=False, timeout=30
    ).stderr


def test_native_lines_vanish_and_pythons_own_arrive() -> None:
    said = "print('before the end', file=sys.stderr)\n"
    assert stderr_of(said) == "before the end\n"
    assert stderr_of(f"divert_native_stderr()\n{NATIVE}{said}") == "before the end\n", "however often it is asked"


def test_a_process_that_ends_at_once_has_said_its_last_line() -> None:
    assert stderr_of("print('last', file=sys.stderr)\nos._exit(69)") == "last\n"


@pytest.mark.parametrize(
    "code",
    [
        "raise ValueError('a defect')",
        "def fail(): raise ValueError('a defect')\none = threading.Thread(target=fail)\none.start()\none.join()",
        "@ctypes.CFUNCTYPE(None)\ndef callback(): raise ValueError('a defect')\ncallback()",
    ],
    ids=["main thread", "thread", "callback"],
)
def test_a_defect_is_told_wherever_it_is_met(code: str) -> None:
    told = stderr_of(code)
    assert "Traceback" in told
    assert told.endswith("ValueError: a defect\n")


@pytest.mark.parametrize("end", ["ctypes.string_at(0)", "os.abort()"])
def test_a_crash_in_native_code_shows_where_python_was(end: str) -> None:
    told = stderr_of(end)
    assert told.startswith("Fatal Python error: ")
    assert 'File "<string>", line' in told


def test_a_stderr_that_was_closed_stays_what_it_has_become() -> None:
    code = "import os\nfrom pipeline.edges.native_stderr import divert_native_stderr as divert\n"
    code += "number = os.open('/dev/zero', os.O_RDONLY)\ndivert()\nprint(number, os.readlink('/proc/self/fd/2'))"
    shell = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, code],
        stdout=subprocess.PIPE, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert shell.stdout == "2 /dev/zero\n"
