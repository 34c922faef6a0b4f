"""The timeline of one answer as a picture: from the last word of the question to the first sound of the reply."""

from collections.abc import Iterator
from html import escape
from typing import NamedTuple

MARKS = {  # design §9: what has happened at each mark
    "speech_stopped": "the silence was long enough: the question is over",
    "committed": "the question is an item of the conversation",
    "response_created": "the answer has begun",
    "first_delta": "its first sound has been received",
    "first_audible_sample": "first sound leaves the loudspeaker",
}
LANES = {  # the lane segment that ends with each mark
    "speech_stopped": "waiting for silence",
    "committed": "",
    "response_created": "recognition",
    "first_delta": "answer, voice",
    "first_audible_sample": "playing",
}

WIDTH, LEFT, RIGHT = 880, 24, 24
LANE_TOP, LANE_HEIGHT, ROW = 64, 44, 26
BEFORE_SHARE, AFTER_SHARE = 0.18, 0.18  # of the picture: the question's end and the reply's beginning
CHAR_PX = 6.6  # average advance of the 12 px font; a label that does not fit its segment is left out

_LIGHT = {
    "paper": "#fff", "ink": "#1c2430", "faint": "#5b6675", "on": "#fff", "on-wait": "#1c2430",
    "question": "#3b6ea8", "wait": "#b9c3cf", "work": "#b0701a", "play": "#7a5aa6", "reply": "#2d7d4f",
}  # fmt: skip
_DARK = {
    "paper": "#14181e", "ink": "#e8edf3", "faint": "#9aa7b6", "on": "#fff", "on-wait": "#e8edf3",
    "question": "#5a8fcb", "wait": "#4a5563", "work": "#c98a35", "play": "#9a7cc4", "reply": "#4aa06f",
}  # fmt: skip


def _style() -> str:
    """Plain classes, no CSS variables: not every viewer of SVG knows those, and then all would be black."""
    light, dark = ("".join(f".{name}{{fill:{fill}}}" for name, fill in scheme.items()) for scheme in (_LIGHT, _DARK))
    lines = f".tick{{stroke:{_LIGHT['faint']}}}rect{{stroke:{_LIGHT['paper']}}}"
    dark_lines = f".tick{{stroke:{_DARK['faint']}}}rect{{stroke:{_DARK['paper']}}}"
    fonts = "svg{font:12px system-ui,sans-serif}.title{font-size:15px;font-weight:600}"
    return f"{fonts}{light}{lines}@media(prefers-color-scheme:dark){{{dark}{dark_lines}}}"


class Segment(NamedTuple):
    """One coloured stretch of the lane, in ms from the last speech sample."""

    kind: str
    label: str
    start_ms: float
    end_ms: float


def segments(timeline_ms: dict[str, float]) -> list[Segment]:
    """What the time between question and reply went into; marks that did not happen are passed over."""
    kinds = {"speech_stopped": "wait", "first_audible_sample": "play"}
    found = []
    start_ms = 0.0
    for mark, label in LANES.items():
        end_ms = timeline_ms.get(mark, start_ms)
        if end_ms > start_ms:
            found.append(Segment(kinds.get(mark, "work"), label, start_ms, end_ms))
            start_ms = end_ms
    return found


def draw(timeline_ms: dict[str, float], *, question: str, reply: str) -> str:
    """The timeline as an SVG document that follows the viewer's light or dark scheme.

    Args:
        timeline_ms: ms from the last speech sample, by mark (design §9); at least one.
        question: what was asked.
        reply: what was answered.
    """
    assert timeline_ms, "a picture needs at least one mark"
    marks = [mark for mark in MARKS if mark in timeline_ms]
    height = LANE_TOP + LANE_HEIGHT + ROW * len(marks) + 34
    total_ms = max(*timeline_ms.values(), 1.0)
    summary = f"first sound of the reply {total_ms:.0f} ms after the last sound of the question"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{summary}</title><style>{_style()}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
            f'<text class="title ink" x="{LEFT}" y="30">{summary}</text>',
            *_lane(timeline_ms, total_ms, question, reply),
            *_rows(timeline_ms, total_ms, marks),
            "</svg>\n",
        ]
    )


def _x(at_ms: float, total_ms: float) -> float:
    room = WIDTH - LEFT - RIGHT
    return LEFT + room * (BEFORE_SHARE + (1 - BEFORE_SHARE - AFTER_SHARE) * max(0.0, at_ms) / total_ms)


def _lane(timeline_ms: dict[str, float], total_ms: float, question: str, reply: str) -> Iterator[str]:
    stretches = segments(timeline_ms)
    yield _box("question", LEFT, _x(0, total_ms), "question", question)
    for segment in stretches:
        took = f"{segment.end_ms - segment.start_ms:.0f} ms"
        yield _box(segment.kind, _x(segment.start_ms, total_ms), _x(segment.end_ms, total_ms), segment.label, took)
    yield _box("reply", _x(stretches[-1].end_ms if stretches else 0, total_ms), WIDTH - RIGHT, "reply", reply)


def _box(kind: str, left: float, right: float, label: str, detail: str) -> str:
    """A rectangle with up to two lines in it, as far as they fit."""
    letters = int((right - left - 12) / CHAR_PX)
    colour = "on-wait" if kind == "wait" else "on"
    texts = [
        f'<text class="{colour}" x="{left + 6:.1f}" y="{LANE_TOP + y}">{escape(_cut(text, letters))}</text>'
        for text, y in ((label, 19), (detail, 35))
        if text and letters >= 4
    ]
    rect = (
        f'<rect class="{kind}" x="{left:.1f}" y="{LANE_TOP}" width="{right - left:.1f}" height="{LANE_HEIGHT}">'
        f"<title>{escape(f'{label} {detail}'.strip())}</title></rect>"
    )
    return rect + "".join(texts)


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"


def _rows(timeline_ms: dict[str, float], total_ms: float, marks: list[str]) -> Iterator[str]:
    """One row for each mark below the lane, so that marks a millisecond apart stay readable."""
    bottom = LANE_TOP + LANE_HEIGHT
    for row, mark in enumerate(marks, start=1):
        x, y = _x(timeline_ms[mark], total_ms), bottom + row * ROW
        yield f'<line class="tick" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{y - 4}"/>'
        yield f'<circle class="ink" cx="{x:.1f}" cy="{y - 4}" r="3"/>'
        side, anchor = (9, "start") if x < WIDTH / 2 else (-9, "end")  # where there is room
        yield (
            f'<text class="ink" x="{x + side:.1f}" y="{y}" text-anchor="{anchor}">{timeline_ms[mark]:.0f} ms '
            f'<tspan class="faint">{MARKS[mark]}</tspan></text>'
        )
    foot = bottom + len(marks) * ROW + 24
    yield f'<text class="faint" x="{LEFT}" y="{foot}">0 ms is the last sound of the question</text>'
