"""talkwire's other programs as processes: started before anything heavy is imported here, and never left behind."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

Start = Callable[..., "Program"]


class Program:
    """One `talkwire` command in a process of its own, in a process group of its own: Ctrl-C reaches only its parent.

    It reads settings from a pipe, so it can load its libraries while its parent still finds out what they are.

    Attributes:
        name: for people.
        process: with pipes as stdout and stderr.
    """

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.name = name
        settings, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            self._settings = os.fdopen(write_end, "wb")
            self.process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                [*_talkwire(), *arguments, "--json", "--lifeline", str(os.getpid()), "--config", f"/dev/fd/{settings}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[settings],
                process_group=0,
            )
        finally:
            os.close(settings)

    def configure(self, toml: str) -> None:
        """Give the program its settings, which lie over the files named in its arguments. Once; it waits for them."""
        with suppress(BrokenPipeError), self._settings:  # it has ended; whoever waits for it will say so
            self._settings.write(toml.encode())

    def kill(self) -> None:
        """End it at once, unless it has ended; afterwards there is no such process."""
        with self.process:  # closes its pipes and waits for it
            self.process.kill()
        self._settings.close()


@contextmanager
def open_programs() -> Iterator[Start]:
    """A function that starts programs: `start(name, *arguments)`. Those that are left at the end are killed."""
    programs: list[Program] = []

    def start(name: str, *arguments: str) -> Program:
        programs.append(Program(name, arguments))
        return programs[-1]

    try:
        yield start
    finally:
        for program in programs:
            program.kill()


def _talkwire() -> list[str]:
    """The installed command if there is one beside this interpreter, else the package as it lies here."""
    script = Path(sys.executable).with_name("talkwire")
    return [str(script)] if script.exists() else [sys.executable, "-m", "pipeline"]
