"""What every part hands back: rows of percentiles, shown as one table and kept as one JSON file, some with a curve."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bench.curve import Curve, draw
from pipeline.core.latency import percentile

if TYPE_CHECKING:
    from rich.console import Console


class BenchError(Exception):
    """A figure that could not be taken or must not be believed; the message says why."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure.

    Attributes:
        measure: what was measured.
        unit: of the percentiles and the target.
        n: how many values there were.
        p50, p95, p99: percentiles.
        beside: the measure this one is held against; empty if it is the yardstick itself.
        ratio: p50 over the p50 of `beside`.
        target: what it should stay below; shown and not asserted, for machines differ.
    """

    measure: str
    unit: str
    n: int
    p50: float
    p95: float
    p99: float
    beside: str = ""
    ratio: float | None = None
    target: float | None = None


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured; figures of a machine with a load above its cores say little."""

    python: str
    machine: str
    cores: int
    load_1min: float


def this_host() -> Host:
    """The machine and how busy it is just now."""
    return Host(
        python=platform.python_version(),
        machine=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        load_1min=os.getloadavg()[0],
    )


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one part found out.

    Attributes:
        part: its name.
        title: what its table is about.
        rows: the figures.
        counts: whole numbers that are no distribution, such as frames lost.
        skipped: what could not be measured here, and what to install for it.
        curve: the figures as a picture, if they have a shape.
        host: where it was measured.
    """

    part: str
    title: str
    rows: list[Row]
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    skipped: list[str] = msgspec.field(default_factory=list)
    curve: Curve | None = None
    host: Host = msgspec.field(default_factory=this_host)


def row(
    measure: str, unit: str, values: Sequence[float], *, beside: Row | None = None, target: float | None = None
) -> Row:
    """Percentiles of `values`, held against `beside`.

    Raises:
        BenchError: there are no values, or the yardstick is not above zero.
    """
    if not values:
        raise BenchError(f"{measure}: nothing was measured")
    if beside is not None and beside.p50 <= 0:
        raise BenchError(f"{measure}: {beside.measure} is {beside.p50}, which is no yardstick")
    p50, p95, p99 = (percentile(values, percent) for percent in (50, 95, 99))
    return Row(
        measure=measure,
        unit=unit,
        n=len(values),
        p50=p50,
        p95=p95,
        p99=p99,
        beside="" if beside is None else beside.measure,
        ratio=None if beside is None else p50 / beside.p50,
        target=target,
    )


def show(report: Report, console: "Console") -> None:
    """Print the report as one table."""
    from rich.box import SIMPLE_HEAD  # rich costs 50 ms, and the peer needs none
    from rich.table import Table

    host = report.host
    table = Table(
        title=f"{report.part}: {report.title}",
        caption="\n".join(
            [
                *(f"{name}: {count}" for name, count in report.counts.items()),
                *(f"skipped {what}" for what in report.skipped),
                f"Python {host.python}, {host.machine}, {host.cores} cores, load {host.load_1min:.1f}",
            ]
        ),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # it has to fit into 80 columns
    )
    has_targets = any(each.target is not None for each in report.rows)
    table.add_column("measure", no_wrap=True)
    for name in ("p50", "p95", "p99", "unit", "n", "ratio", *(["at most"] if has_targets else [])):
        table.add_column(name, justify="left" if name == "unit" else "right", no_wrap=True)
    for each in report.rows:
        ratio = "1" if each.ratio is None else f"{round(each.ratio, 2) + 0.0:.2f}"
        target = "" if each.target is None else f"{each.target:,g}"
        percentiles = [_number(value) for value in (each.p50, each.p95, each.p99)]
        table.add_row(each.measure, *percentiles, each.unit, str(each.n), ratio, *([target] if has_targets else []))
    console.print(table)


def write(report: Report, folder: Path) -> Path:
    """Write the report as `folder/PART.json`, and its curve as `folder/PART.svg`, replacing older ones.

    Raises:
        BenchError: that is not possible.
    """
    path = folder / f"{report.part}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
        if report.curve is not None:
            path.with_suffix(".svg").write_text(draw(report.curve), encoding="utf-8")
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror}") from error
    return path


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
