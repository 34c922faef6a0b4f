"""The `talkwire` command: which commands there are, and how each way of ending becomes one line and an exit code.

A command is imported when it is called, and nothing heavy is imported here: help costs neither trio nor numpy.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING

from pipeline import __version__

if TYPE_CHECKING:
    from pipeline.vocabulary.errors import TalkwireError

COMMANDS = {
    "demo": "Ask one spoken question and hear the answer: no key, no network and no sound card needed.",
    "run": "Run the endpoint: hold spoken conversations until told to stop.",
    "serve": "Run the local Realtime server: real recognition and a real voice, offline.",
    "tokens": "Run the token backend: it keeps the API key and hands out client secrets.",
    "status": "Show how the running daemon is: processes, actors, links, devices and the call.",
    "simulate": "Run days of faults in seconds: the whole daemon in a simulated world, watched by an oracle.",
    "knowledge": "Check a knowledge file, or ask it a question.",
    "devices": "List the sound devices by the names that audio.input and audio.output take.",
    "relay": "Relay TCP on this machine with faults: between your own client and server.",
}
HELP = "\n".join(
    [
        "Usage: talkwire COMMAND [OPTIONS]",
        "",
        "A realtime speech endpoint: microphone in, Realtime service, spoken answer out.",
        "",
        *(f"  {name:10}{summary}" for name, summary in COMMANDS.items()),
        "",
        "  talkwire COMMAND --help   its options",
        "  talkwire --version        the version",
    ]
)
INTERRUPTED = 130  # 128 + SIGINT, as the shell counts
PIPE_CLOSED = 1  # what rich says too when the reader of its help has left
USAGE = 2


def main() -> None:
    """Entry point of `talkwire` and `python -m pipeline`; ends the process with the exit codes of design §9."""
    _fill_standard_descriptors()
    sys.exit(perform_command(sys.argv[1:]))


def perform_command(arguments: Sequence[str]) -> int:
    """Run one command line; errors of `vocabulary.errors` become one line each on stderr. Returns the exit code."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):  # None if the shell closed it
                stream.reconfigure(errors="replace")  # a terminal that cannot show a letter is no reason to fail
        status = _dispatch(arguments)
    except KeyboardInterrupt:
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # what is left takes milliseconds; a second Ctrl-C would only print
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return PIPE_CLOSED
    except _talkwire_error() as error:
        _complain(_lines(error))
        if _is_hung(error):
            os._exit(error.exit_code)  # an ordinary exit would close the sound system first, and hang with it
        return error.exit_code
    return status


def say(text: str) -> None:
    """Print one text on stdout, at once. Raises as `writing` does."""
    if sys.stdout is None:
        return  # the shell closed it: nobody wants to know
    with writing():
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


@contextmanager
def writing() -> Iterator[None]:
    """Write to stdout in this block.

    Raises:
        BrokenPipeError: nobody reads any more.
        UsageError: it cannot be written, for a full disk.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        from pipeline.vocabulary.errors import UsageError

        _forget_stdout()
        raise UsageError(f"cannot write to stdout: {error.strerror}") from error


def _forget_stdout() -> None:
    """Else the interpreter complains when it flushes stdout at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _fill_standard_descriptors() -> None:
    """A shell may close 0, 1 or 2; the next pipe would get that number and be taken for input or output."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _dispatch(arguments: Sequence[str]) -> int:
    """Help over all commands is written here, not by cyclopts: loading that for four lines takes 200 ms."""
    name = arguments[0] if arguments else "--help"
    if name in {"--help", "-h"}:
        say(HELP)
        return 0
    if name == "--version":
        say(__version__)
        return 0
    if name not in COMMANDS:
        _complain([f"there is no such command; there are: {', '.join(COMMANDS)}. See: talkwire --help"])
        return USAGE
    return _call(name, arguments[1:])


def _call(name: str, arguments: Sequence[str]) -> int:
    from cyclopts import App, CycloptsError

    try:
        gc.disable()  # imports leave nothing to collect, and looking for it takes a tenth of their time
        command = getattr(import_module(f"pipeline.cli.{name}"), name)
        gc.enable()
        app = App(name=f"talkwire {name}", version_flags=(), help_format="plaintext", suppress_keyboard_interrupt=False)
        app.default(command)
        status = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        _complain([f"{' '.join(str(error).split())} See: talkwire {name} --help"])
        return USAGE
    return status if isinstance(status, int) else 0


def _talkwire_error() -> "type[TalkwireError]":
    """Evaluated only when something was raised, so that help need not load the vocabulary."""
    from pipeline.vocabulary.errors import TalkwireError

    return TalkwireError


def _is_hung(error: "TalkwireError") -> bool:
    from pipeline.vocabulary.errors import SoundSystemHungError

    return isinstance(error, SoundSystemHungError)


def _lines(error: "TalkwireError") -> Iterable[str]:
    from pipeline.vocabulary.errors import ConfigurationError

    return map(str, error.problems) if isinstance(error, ConfigurationError) else error.message.splitlines()


def _complain(lines: Iterable[str]) -> None:
    with suppress(OSError):  # nobody reads stderr any more; the exit code still tells
        for line in lines:
            print(f"talkwire: {line}", file=sys.stderr, flush=True)  # noqa: T201 - this is the command line
