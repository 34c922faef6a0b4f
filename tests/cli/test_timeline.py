"""The picture of a timeline: well-formed, true to scale, readable."""

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cli.screen import timeline_table
from pipeline.cli.timeline import CHAR_PX, LANES, LEFT, MARKS, RIGHT, WIDTH, draw, segments
from pipeline.core.latency import Mark

TIMELINE = {
    "speech_stopped": 430.0,
    "committed": 431.0,
    "response_created": 431.5,
    "first_delta": 610.0,
    "first_audible_sample": 690.0,
}
SVG = "{http://www.w3.org/2000/svg}"
timelines = st.lists(st.floats(-500, 60_000), min_size=5, max_size=5).flatmap(
    lambda values: st.sets(st.sampled_from(list(MARKS)), min_size=1).map(
        lambda marks: {mark: value for mark, value in zip(MARKS, sorted(values), strict=True) if mark in marks}
    )
)


def test_the_marks_are_those_of_the_design() -> None:
    assert list(MARKS) == list(LANES) == [mark.value for mark in Mark]


def test_segments_cover_the_wait_without_a_gap() -> None:
    found = segments(TIMELINE)
    assert [(segment.kind, segment.start_ms, segment.end_ms) for segment in found] == [
        ("wait", 0, 430.0),
        ("work", 430.0, 431.0),
        ("work", 431.0, 431.5),
        ("work", 431.5, 610.0),
        ("play", 610.0, 690.0),
    ]


def test_the_picture_says_what_it_shows() -> None:
    picture = draw(TIMELINE, question="Is <this> safe & sound?", reply="Yes.")
    root = ET.fromstring(picture)  # noqa: S314 - our own document
    said = " ".join(text for element in root.iter() for text in [element.text or ""])
    assert "first sound of the reply 690 ms after the last sound of the question" in said
    for ms in ("430 ms", "431 ms", "610 ms", "690 ms"):
        assert ms in said
    assert "Is <this> safe & sound?" in said
    assert "prefers-color-scheme:dark" in picture


@given(timelines, st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")))
@settings(max_examples=40)
def test_any_timeline_gives_a_well_formed_picture_inside_its_frame(timeline_ms: dict[str, float], words: str) -> None:
    root = ET.fromstring(draw(timeline_ms, question=words, reply=words))  # noqa: S314 - our own document
    boxes = [element for element in root.iter(f"{SVG}rect") if "x" in element.attrib]
    edges = [(float(box.attrib["x"]), float(box.attrib["x"]) + float(box.attrib["width"])) for box in boxes]
    assert edges[0][0] == LEFT
    assert abs(edges[-1][1] - (WIDTH - RIGHT)) < 0.2
    for (_, end), (start, _) in pairwise(edges):
        assert abs(start - end) < 0.2
    assert len(list(root.iter(f"{SVG}circle"))) == len(timeline_ms)
    for text in root.iter(f"{SVG}text"):
        width = CHAR_PX * len("".join(text.itertext()))
        left = float(text.attrib["x"]) - (width if text.attrib.get("text-anchor") == "end" else 0)
        assert left >= 0
        assert left + width <= WIDTH
    assert not re.search(r"nan|inf", "".join(str(element.attrib) for element in root.iter()))


def test_the_table_has_a_row_for_each_mark_that_happened() -> None:
    table = timeline_table({"speech_stopped": 430.0, "first_audible_sample": 690.0})
    assert table.row_count == 2
    assert [list(column.cells) for column in table.columns[:2]] == [["430", "690"], ["+430", "+260"]]
