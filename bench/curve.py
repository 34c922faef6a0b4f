"""A curve as a picture: how a figure grows with a load, and where it is too much."""

from collections.abc import Iterator
from html import escape

import msgspec

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 52, 48
_COLOURS = ("#3b6ea8", "#b0701a", "#7a5aa6")  # they can be told apart on light and on dark paper
_STYLE = (
    "svg{font:12px system-ui,sans-serif}.title{font-size:15px;font-weight:600}.paper{fill:#fff}.ink{fill:#1c2430}"
    ".faint{fill:#5b6675}.grid{stroke:#b9c3cf}.bound{stroke:#b03030;stroke-dasharray:6 4}.boundary{fill:#b03030}"
    "@media(prefers-color-scheme:dark){.paper{fill:#14181e}.ink{fill:#e8edf3}.faint{fill:#9aa7b6}.grid{stroke:#4a5563}}"
)


class Point(msgspec.Struct, frozen=True):
    """The figures at one load, one per line of the curve."""

    load: float
    values: list[float]


class Curve(msgspec.Struct, frozen=True):
    """Lines over the same loads.

    Attributes:
        title: what the picture shows.
        load: what grows to the right.
        unit: of the values.
        lines: their names, in the order of each point's values.
        points: by growing load.
        bound: the value that is too much.
    """

    title: str
    load: str
    unit: str
    lines: list[str]
    points: list[Point]
    bound: float


def draw(curve: Curve) -> str:
    """The curve as an SVG document that follows the viewer's light or dark scheme; it needs at least one point."""
    highest = 1.1 * max(curve.bound, *(value for point in curve.points for value in point.values))
    furthest = max(point.load for point in curve.points)

    def x(load: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * load / furthest

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / highest

    def axes() -> Iterator[str]:
        for step in range(5):
            value = highest * step / 4
            yield f'<line class="grid" x1="{LEFT}" y1="{y(value):.1f}" x2="{WIDTH - RIGHT}" y2="{y(value):.1f}"/>'
            yield _text("faint", LEFT - 8, y(value) + 4, f"{value:,.0f}", "end")
        for point in curve.points:
            yield _text("faint", x(point.load), HEIGHT - BOTTOM + 18, f"{point.load:g}", "middle")
        yield _text("faint", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, curve.load, "middle")
        bound = y(curve.bound)
        yield f'<line class="bound" x1="{LEFT}" y1="{bound:.1f}" x2="{WIDTH - RIGHT}" y2="{bound:.1f}"/>'
        yield _text("boundary", LEFT + 6, bound - 6, f"too much: {curve.bound:,g} {curve.unit}", "start")

    def line(number: int, name: str) -> Iterator[str]:
        colour = _COLOURS[number % len(_COLOURS)]
        places = [(x(point.load), y(point.values[number])) for point in curve.points]
        path = " ".join(f"{at:.1f},{height:.1f}" for at, height in places)
        yield f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>'
        yield from (f'<circle fill="{colour}" cx="{at:.1f}" cy="{height:.1f}" r="3"/>' for at, height in places)
        at = WIDTH - RIGHT - 60 * (len(curve.lines) - number)
        yield f'<text fill="{colour}" x="{at}" y="44">{escape(name)}</text>'

    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            f"<title>{escape(curve.title)}</title><style>{_STYLE}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
            _text("title ink", 24, 26, curve.title, "start"),
            _text("faint", 24, 44, curve.unit, "start"),
            *axes(),
            *(part for number, name in enumerate(curve.lines) for part in line(number, name)),
            "</svg>\n",
        ]
    )


def _text(kind: str, x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
