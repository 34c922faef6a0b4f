"""`talkwire simulate`: days of faults in seconds, with the real daemon in a simulated world."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pipeline.cli import say
from pipeline.cli.options import Json, whole
from pipeline.vocabulary.errors import UsageError

if TYPE_CHECKING:
    from pipeline.proving.simulation import Outcome

Days = Annotated[float, Parameter(name="--days", negative=(), help="How long, in simulated days: 0.01 to 366.")]
Seed = Annotated[
    int,
    Parameter(name="--seed", converter=whole, negative=(), help="Decides everything: the same one, the same trace."),
]
FaultNames = Annotated[
    str, Parameter(name="--faults", negative=(), help="`none`, `all`, or names with commas: see --list-faults.")
]
FaultsPerHour = Annotated[
    float, Parameter(name="--faults-per-hour", negative=(), help="How often one strikes, on average.")
]
VisitsPerHour = Annotated[
    float, Parameter(name="--visits-per-hour", negative=(), help="How often somebody comes to talk, on average.")
]
Continuous = Annotated[
    bool,
    Parameter(
        name="--continuous",
        negative=(),
        show_default=False,
        help="The microphone hears all the time, not only while somebody speaks.",
    ),
]
Draw = Annotated[
    Path | None,
    Parameter(
        name="--draw",
        negative=(),
        show_default=False,
        help="Draw what happened at the end into this SVG file; a failure is drawn in any case (simulation-SEED.svg).",
    ),
]
ListFaults = Annotated[
    bool, Parameter(name="--list-faults", negative=(), show_default=False, help="List the faults there are, and end.")
]

FAILED = 1
"""Exit code if a promise was broken."""
PATIENCE_S = 2.0
"""What takes longer says how far it is."""
SHOWN_MAX = 10


def simulate(
    *,
    days: Days = 1.0,
    seed: Seed = 0,
    faults: FaultNames = "none",
    faults_per_hour: FaultsPerHour = 1.0,
    visits_per_hour: VisitsPerHour = 1.0,
    continuous: Continuous = False,
    draw: Draw = None,
    list_faults: ListFaults = False,
    json: Json = False,
) -> int:
    """Run days of faults in seconds: the whole daemon in a simulated world, watched by an oracle.

    Ends with 1 if a promise was broken; then prints the line that does it again and draws what happened around it.
    """
    if list_faults:
        return _list()
    _demand("--days", days, 0.01, 366.0)
    _demand("--faults-per-hour", faults_per_hour, 0.001, 1_000.0)
    _demand("--visits-per-hour", visits_per_hour, 0.0, 60.0)

    from pipeline.proving import simulation
    from pipeline.proving.world import Plan

    plan = Plan(
        seed=seed,
        duration_s=days * 86_400,
        faults=_names(faults),
        faults_per_h=faults_per_hour,
        visits_per_h=visits_per_hour,
        continuous=continuous,
    )
    with _deadly_ctrl_c():
        outcome = simulation.simulate(plan, _progress(plan.duration_s))
    if outcome.failures and draw is None:
        draw = Path(f"simulation-{seed}.svg")
    _tell(outcome, json=json)
    if draw is not None:
        shown = _draw(outcome, draw)
        if not json:
            say(f"picture     {shown}")
    return FAILED if outcome.failures else 0


@contextmanager
def _deadly_ctrl_c() -> Iterator[None]:
    """Nothing is lost by it. An exception would come up inside the simulated world, which handles failures."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # whoever started this has other ideas
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _demand(option: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UsageError(f"{option} wants a number from {least:g} to {most:g}")


def _names(text: str) -> tuple[str, ...]:
    from pipeline.proving.nemeses import NEMESES

    if text in {"none", "all"}:
        return tuple(NEMESES) if text == "all" else ()
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in NEMESES]:
        raise UsageError(f"--faults: there is no {unknown[0]!r}; there are none, all, {', '.join(NEMESES)}")
    return names


def _list() -> int:
    from pipeline.proving.nemeses import NEMESES

    for name, nemesis in NEMESES.items():
        say(f"{name:24}{nemesis.says}")
    return 0


def _progress(duration_s: float) -> Callable[[float], None]:
    """Prints how far a run is, on stderr, no oftener than people want to read it."""
    stderr, began_s = sys.stderr, time.monotonic()
    told_s = began_s

    def tell(now_s: float) -> None:
        nonlocal told_s
        if stderr is not None and time.monotonic() - told_s > PATIENCE_S:
            told_s = time.monotonic()
            stderr.write(f"simulated {now_s / 86_400:.2f} of {duration_s / 86_400:.2f} days\n")
            stderr.flush()

    return tell


def _draw(outcome: "Outcome", path: Path) -> str:
    """Where the picture is; of a failure, also why there is none.

    Raises:
        UsageError: somebody asked for a picture only, and it cannot be written.
    """
    from pipeline.proving.drawing import draw
    from pipeline.vocabulary.configuration import printable

    try:
        path.write_text(draw(outcome.recent, outcome.failures), encoding="utf-8")
    except OSError as error:
        trouble = f"cannot write {printable(str(path))}: {error.strerror}; choose another with --draw"
        if not outcome.failures:
            raise UsageError(trouble) from error
        return trouble
    return str(path)


def _tell(outcome: "Outcome", *, json: bool) -> None:
    import msgspec

    from pipeline.proving.invariants import INVARIANTS

    if json:
        fields = msgspec.structs.asdict(outcome)
        fields["failures"] = [each._asdict() for each in outcome.failures]
        for left_out in ("recent", "violations"):
            del fields[left_out]
        say(msgspec.json.encode(fields | {"again": outcome.plan.command}).decode())
        return
    say(f"{outcome.plan.duration_s / 86_400:g} days, seed {outcome.plan.seed}: trace {outcome.hash}")
    say(f"turns       {outcome.turns} heard of {outcome.utterances} spoken")
    say(f"reconnects  {outcome.reconnects}")
    struck = ", ".join(f"{name} {times}" for name, times in sorted(outcome.faults.items()))
    say(f"faults      {sum(outcome.faults.values())}" + (f": {struck}" if struck else ""))
    say("frames      " + ", ".join(f"{fate} {frames}" for fate, frames in outcome.frames.items()))
    say(f"cpu         {outcome.cpu_s:.1f} s")
    for invariant, times in outcome.broken.items():
        if missing := INVARIANTS[invariant].missing:
            say(f"missing     {invariant}: {INVARIANTS[invariant].says} (broken {times} times; needs {missing})")
    for violation in outcome.failures[:SHOWN_MAX]:
        says = INVARIANTS[violation.invariant].says
        say(f"BROKEN      {violation.invariant}: {says}; at {violation.at_s:.3f} s: {violation.text}")
    if outcome.failures:
        say(f"again       {outcome.plan.command}")
