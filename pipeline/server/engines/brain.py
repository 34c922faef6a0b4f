"""The brain: finds the entry of the knowledge file that a question is most like, or admits that there is none.

Texts are compared by their runs of three and four characters, so a misheard syllable costs a few runs and not the word.
A run counts the more, the fewer entries use it (tf-idf); likeness is the cosine of the two weighted sets.
"""

import math
from collections import Counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.server.engines.knowledge import Knowledge, plain_words

RUN_LENGTHS: Final = (3, 4)
KNOWN_LIKENESS: Final = 0.46
"""Of 121 questions that the shipped file answers, put in other words than its own, 108 get their answer at this bound,
13 are refused and none gets a wrong one; of 92 about other things 3 are answered. Most of them also served to choose it."""
MAX_QUESTION_CHARACTERS: Final = 400  # 30 s of speech; the question stands in there

Weights = NDArray[np.float32]


class RetrievalBrain:
    """`Brain` over a knowledge file: well under a millisecond a question. Read-only, so threads may share it."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self._answers = [entry.answer for entry in knowledge.entries for _ in entry.phrasings]
        phrasings = [_runs(phrasing) for entry in knowledge.entries for phrasing in entry.phrasings]
        using = Counter(
            run
            for entry in knowledge.entries
            for run in {run for phrasing in entry.phrasings for run in _runs(phrasing)}
        )
        self._column = {run: column for column, run in enumerate(using)}
        self._rarity = np.log((1 + len(knowledge.entries)) / np.fromiter(using.values(), np.float32, len(using)))
        self._rarity_of_unseen = math.log(1 + len(knowledge.entries))
        self._phrasings = np.stack([self._weights(runs) for runs in phrasings])

    def answer(self, question: str) -> str:
        """The answer of the likeliest entry; `unknown` if none is like the question, `unheard` if it has no words."""
        runs = _runs(question[:MAX_QUESTION_CHARACTERS])
        if not runs:
            return self._knowledge.unheard
        likeness = self._phrasings @ self._weights(runs)
        best = int(likeness.argmax())
        return self._answers[best] if likeness[best] >= KNOWN_LIKENESS else self._knowledge.unknown

    def _weights(self, runs: Counter[str]) -> Weights:
        """The runs as a vector, shape (known runs,). Its length would be 1 if no run were unknown.

        Unknown runs have no place in it but count in its length: a question about something else is like nothing.
        """
        weights: Weights = np.zeros(len(self._column), np.float32)
        unseen = 0.0
        for run, count in runs.items():
            often = 1 + math.log(count)
            column = self._column.get(run)
            if column is None:
                unseen += (often * self._rarity_of_unseen) ** 2
            else:
                weights[column] = often * self._rarity[column]
        weights /= max(np.sqrt(np.square(weights).sum() + unseen), np.finfo(np.float32).tiny)
        return weights


def _runs(text: str) -> Counter[str]:
    """How often each run of characters occurs; a space at either end marks where words begin and stop."""
    words = plain_words(text)
    padded = f" {words} " if words else ""
    return Counter(padded[at : at + length] for length in RUN_LENGTHS for at in range(len(padded) - length + 1))
