"""`python -m bench [--part NAME] [--runs N] [--json DIR]`."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number
from rich.console import Console

from bench.processes import ROOT
from bench.report import BenchError, show, write

PartName = Literal[
    "response_latency",
    "endpoint_overhead",
    "footprint",
    "server_latency",
    "server_capacity",
    "server_sessions",
    "recognition",
    "sound",
]
PARTS: tuple[PartName, ...] = get_args(PartName)
FAILED, USAGE, INTERRUPTED = 1, 2, 130

Part = Annotated[
    tuple[PartName, ...],
    Parameter(name="--part", negative=(), show_default=False, help="Only this part; may be repeated."),
]
Runs = Annotated[
    int,
    Parameter(name="--runs", validator=Number(gte=1, lte=1_000), help="How often each thing is measured, in turns."),
]
Json = Annotated[
    Path, Parameter(name="--json", show_default=False, help="Folder for one JSON file per part; bench/results if none.")
]


def bench(*, part: Part = PARTS, runs: Runs = 10, json: Json = ROOT / "bench" / "results") -> int:
    """Measure how fast and how small talkwire is; each part prints one table and writes one JSON file.

    Every ratio is p50 over p50 of something measured in the same run, so it can be compared between machines.
    """
    console = Console()
    for name in part:
        report = import_module(f"bench.{name}").measure(runs)
        show(report, console)
        console.print(write(report, json), soft_wrap=True, highlight=False, markup=False)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code: 1 if a figure could not be taken, 2 for a wrong option."""
    app = App(name="python -m bench", default_command=bench, help_format="plaintext", version_flags=())
    try:
        status = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        print(f"bench: {' '.join(str(error).split())} See: python -m bench --help", file=sys.stderr)
        return USAGE
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return FAILED
    except ExceptionGroup as group:  # from a crowd
        failed = group.subgroup(BenchError)
        if failed is None:
            raise
        print(f"bench: {_first(failed)}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return status if isinstance(status, int) else 0


def _first(group: ExceptionGroup[BenchError]) -> BenchError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
