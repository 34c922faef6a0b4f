"""Tagged records that people write, in a list or on a command line; relay and server test theirs in more depth."""

import pytest
from msgspec import Struct

from pipeline.vocabulary.errors import ConfigurationError
from pipeline.vocabulary.records import convert_records, kinds_of, parse_record


class Apple(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="apple"):
    weight_g: float
    sort: str = "boskoop"


class Pear(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="pear"):
    pass


KINDS: dict[str, type[Apple] | type[Pear]] = kinds_of([Apple, Pear])


def test_a_record_on_a_command_line() -> None:
    assert parse_record("apple weight_g=120 sort=elstar", KINDS, "fruit") == Apple(120, "elstar")
    assert parse_record(" pear ", KINDS, "fruit") == Pear()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", 'fruit "", type: is not a fruit; there are: apple, pear'),
        ("appel", "did you mean apple?"),
        ("apple", "fruit apple, weight_g: is missing"),
        ("apple weight_g=heavy", "fruit apple, weight_g: expected float, got str"),
        ("pear sort=nashi", "fruit pear, sort: unknown field; known: none"),
        ("pear ripe", "fruit pear, ripe: must be name=value"),
        ("apple weight_g=1 weight_g=2", "weight_g: is given twice"),
        ("pear \x1b[1m", "must be name=value"),
    ],
)
def test_a_mistake_on_a_command_line_is_one_line_that_names_the_field(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_record(text, KINDS, "fruit")
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_list_keeps_its_order_and_tells_every_mistake() -> None:
    assert convert_records([{"type": "pear"}, {"type": "apple", "weight_g": 1}], KINDS, "fruit", at_most=2) == (
        Pear(),
        Apple(1),
    )
    with pytest.raises(ConfigurationError) as caught:
        convert_records([{"type": "apple"}, 5, {"type": "pear"}, {"type": "fig"}], KINDS, "fruit", at_most=9)
    assert [problem.path for problem in caught.value.problems] == [
        "fruit 1, apple, weight_g",
        "fruit 2, type",
        "fruit 4, type",
    ]


@pytest.mark.parametrize("tree", [None, {}, "pear", [{"type": "pear"}] * 3])
def test_what_is_no_short_list_is_refused(tree: object) -> None:
    with pytest.raises(ConfigurationError, match="fruits: must be a list of at most 2 tables"):
        convert_records(tree, KINDS, "fruit", at_most=2)
