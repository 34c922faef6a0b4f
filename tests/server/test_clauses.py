import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.server.clauses import MAX_CHARACTERS, Clauses


def cut(*texts: str) -> list[str]:
    clauses = Clauses()
    pieces = list(itertools.chain.from_iterable(clauses.feed(text) for text in texts))
    return [*pieces, *filter(None, [clauses.rest()])]


@given(st.lists(st.text(alphabet=st.sampled_from("ab ,.!?\n"), max_size=80)))
def test_nothing_is_lost_or_said_twice_however_the_words_arrive(texts: list[str]) -> None:
    pieces = cut(*texts)
    assert "".join(pieces) == "".join(texts)
    assert all(pieces)
    assert all(len(piece.rstrip()) <= MAX_CHARACTERS for piece in pieces)


def test_the_first_piece_is_a_clause_and_the_others_are_sentences() -> None:
    answer = "The lift is behind you, to the right. The stairs, which are old, are next to it. Bye."
    assert cut(answer) == [
        "The lift is behind you, ",
        "to the right. ",
        "The stairs, which are old, are next to it. ",
        "Bye.",
    ]


def test_a_short_first_clause_waits_for_more() -> None:
    assert cut("Well, that is two floors up. ") == ["Well, that is two floors up. "]


@pytest.mark.parametrize("text", ["It is 9.30 now", "Ask for Mr. Smith", "e.g. a ticket"])
def test_a_full_stop_inside_a_sentence_does_not_end_it(text: str) -> None:
    assert cut(text) == [text]


def test_words_are_spoken_as_soon_as_their_sentence_is_complete() -> None:
    clauses = Clauses()
    assert clauses.feed("We are open") == []
    assert clauses.feed(" until six.") == []
    assert clauses.feed(" On") == ["We are open until six. "]
    assert clauses.rest() == "On"
