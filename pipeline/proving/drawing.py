"""Draws what happened around a failure: link, talk, frames and faults over time, as one SVG."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Final, NamedTuple

from pipeline.proving import happenings as hp
from pipeline.proving.invariants import Violation

BEFORE_S: Final = 30.0
"""So much before a failure is drawn ..."""
AFTER_S: Final = 15.0
"""... and so much after it."""
WIDTH: Final = 1_200
LEFT: Final = 110
LANE: Final = 46
LANES: Final = ("faults", "link", "speech", "answers", "captured", "received")
BIN_S: Final = 0.1
"""Frames are counted in bins of this length."""

SESSION: Final = "#27ae60"

Scale = Callable[[float], float]
"""From s to a place in the picture."""


class Bar(NamedTuple):
    """Something that lasted."""

    lane: str
    begin_s: float
    end_s: float
    label: str
    colour: str


def draw(recent: Sequence[tuple[float, hp.Happening]], failures: Sequence[Violation]) -> str:
    """The picture; around the first failure, else of the last happenings."""
    last_s = recent[-1][0] if recent else 0.0
    centre_s = failures[0].at_s if failures else last_s - AFTER_S
    begin_s, end_s = centre_s - BEFORE_S, centre_s + AFTER_S
    scale = (WIDTH - LEFT - 10) / (end_s - begin_s)

    def x(at_s: float) -> float:
        return round(LEFT + (min(max(at_s, begin_s), end_s) - begin_s) * scale, 1)

    height = LANE * len(LANES) + 60
    rows = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
            'font-size="11">'
        ),
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    rows += [f'<text x="8" y="{_y(lane) + 24}">{lane}</text>' for lane in LANES]
    rows += _ruler(begin_s, end_s, x)
    bars = [bar for bar in _bars(recent, last_s) if bar.end_s >= begin_s and bar.begin_s <= end_s]
    for number, bar in enumerate(bars):
        rows += _drawn(bar, number, x)
    rows += _counts(recent, "captured", hp.Captured, begin_s, end_s, x)
    rows += _counts(recent, "received", hp.Heard, begin_s, end_s, x)
    for failure in failures:
        if begin_s <= failure.at_s <= end_s:
            title = escape(f"{failure.invariant}: {failure.text}")
            bottom = height - 20 if failure is failures[0] else 30  # many would hide what led to them
            rows.append(
                f'<line x1="{x(failure.at_s)}" x2="{x(failure.at_s)}" y1="22" y2="{bottom}" stroke="red">'
                f"<title>{title}</title></line>"
            )
    if failures:
        first = failures[0]
        rows.append(f'<text x="{LEFT}" y="16" fill="red">{escape(f"{first.invariant}: {first.text}")}</text>')
    return "\n".join([*rows, "</svg>\n"])


def _drawn(bar: Bar, number: int, x: Scale) -> Iterator[str]:
    """A bar and what it is; the names of faults are always shown, on one of three lines, as many strike at once."""
    left, right, top = x(bar.begin_s), x(bar.end_s), _y(bar.lane) + 8
    title = escape(f"{bar.label}: {bar.begin_s:.3f} to {bar.end_s:.3f} s")
    yield (
        f'<rect x="{left}" y="{top}" width="{max(1.5, right - left):.1f}" height="{LANE - 16}" '
        f'fill="{bar.colour}" fill-opacity="0.6"><title>{title}</title></rect>'
    )
    if bar.lane == "faults":
        yield f'<text x="{left + 3}" y="{top + 6 + number % 3 * 11}">{escape(bar.label)}</text>'
        return
    for label in (bar.label, bar.label.rpartition(" ")[2]):
        if right - left > 6 * len(label):
            yield f'<text x="{left + 3}" y="{top + 18}">{escape(label)}</text>'
            return


def _y(lane: str) -> int:
    return 30 + LANES.index(lane) * LANE


def _ruler(begin_s: float, end_s: float, x: Scale) -> Iterator[str]:
    bottom = 30 + LANE * len(LANES)
    for tick in range(int(begin_s // 5) * 5 + 5, int(end_s) + 1, 5):
        yield f'<line x1="{x(tick)}" x2="{x(tick)}" y1="30" y2="{bottom}" stroke="#ddd"/>'
        yield f'<text x="{x(tick)}" y="{bottom + 14}" text-anchor="middle">{tick} s</text>'


def _bars(recent: Iterable[tuple[float, hp.Happening]], last_s: float) -> list[Bar]:
    """What lasted, found by its beginning and its end; what has not ended lasts to the end.

    A wire over which something comes was there before the record begins.
    """
    bars: list[Bar] = []
    begun: dict[object, Bar] = {}
    played: dict[int, Bar] = {}
    wires: set[int] = set()
    for now, happening in recent:
        if isinstance(happening, hp.Played):
            since_s = played[happening.reply].begin_s if happening.reply in played else now
            played[happening.reply] = Bar("answers", since_s, now, f"reply {happening.reply}", "#8e44ad")
        if isinstance(happening, hp.Heard | hp.Told | hp.Left) and happening.wire not in wires:
            begun["link", happening.wire] = Bar("link", 0.0, now, f"session on wire {happening.wire}", SESSION)
        if isinstance(happening, hp.Connected | hp.Heard | hp.Told | hp.Left):
            wires.add(happening.wire)
        key = _lasting(happening)
        if key is not None and key in begun:
            bars.append(begun.pop(key)._replace(end_s=now))
        if key is not None and (beginning := _beginning(happening, now)) is not None:
            begun[key] = beginning
    return [*bars, *(bar._replace(end_s=last_s) for bar in begun.values()), *played.values()]


def _lasting(happening: hp.Happening) -> object:
    """What this begins or ends; None if neither."""
    match happening:
        case hp.Troubled(nemesis) | hp.Calmed(nemesis):
            return "faults", nemesis
        case hp.Connected(wire) | hp.Told(wire, "session.updated") | hp.Left(wire) | hp.Broken(wire):
            return "link", wire
        case hp.UtteranceBegan(utterance) | hp.UtteranceEnded(utterance):
            return "speech", utterance
    return None


def _beginning(happening: hp.Happening, now: float) -> Bar | None:
    """What begins with this."""
    match happening:
        case hp.Troubled(nemesis):
            return Bar("faults", now, now, nemesis, "#e67e22")
        case hp.Connected(wire):
            return Bar("link", now, now, f"wire {wire}", "#bdc3c7")
        case hp.Told(wire, "session.updated"):
            return Bar("link", now, now, f"session on wire {wire}", SESSION)
        case hp.UtteranceBegan(utterance):
            return Bar("speech", now, now, f"utterance {utterance}", "#2980b9")
    return None


def _counts(
    recent: Iterable[tuple[float, hp.Happening]],
    lane: str,
    kind: type[hp.Happening],
    begin_s: float,
    end_s: float,
    x: Scale,
) -> Iterator[str]:
    """Frames as small columns, the full height of the lane for the fullest bin."""
    bins = [0] * (round((end_s - begin_s) / BIN_S) + 1)
    for now, happening in recent:
        if isinstance(happening, kind) and begin_s <= now <= end_s:
            bins[int((now - begin_s) / BIN_S)] += happening.frames if isinstance(happening, hp.Heard) else 1
    edges = [begin_s + index * BIN_S for index in range(len(bins) + 1)]
    for frames, (left_s, right_s) in zip(bins, pairwise(edges), strict=True):
        if frames:
            height = round((LANE - 12) * frames / max(bins), 1)
            yield (
                f'<rect x="{x(left_s)}" y="{_y(lane) + LANE - 4 - height}" width="{x(right_s) - x(left_s):.1f}" '
                f'height="{height}" fill="#34495e"><title>{frames} frames</title></rect>'
            )
