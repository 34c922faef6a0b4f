"""Word errors: the fewest insertions, deletions and substitutions between what was said and what was heard."""

import re
from typing import Final

_ONES: Final = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS: Final = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def plain_words(text: str) -> list[str]:
    """Words as error rates compare them: lower case, no punctuation, numbers below 100 and "Mr." spelt out."""
    text = re.sub(r"\bmr\b", "mister", text.lower())
    text = re.sub(r"\b\d{1,2}\b", lambda digits: _spelt(int(digits[0])), text)
    return re.findall(r"[a-z0-9]+", text.replace("'", ""))


def word_errors(reference: str, heard: str) -> int:
    """Errors in `heard`, by Levenshtein's distance over words."""
    wanted, got = plain_words(reference), plain_words(heard)
    row = list(range(len(got) + 1))
    for done, word in enumerate(wanted, start=1):
        diagonal, row[0] = row[0], done
        for column, other in enumerate(got, start=1):
            cheapest = min(diagonal + (word != other), row[column] + 1, row[column - 1] + 1)
            diagonal, row[column] = row[column], cheapest
    return row[-1]


def _spelt(number: int) -> str:
    if number < len(_ONES):
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return f"{_TENS[tens - 2]} {_ONES[ones]}" if ones else _TENS[tens - 2]
