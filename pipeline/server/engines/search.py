"""Finds the entry of the knowledge file that a question is most like. Pure.

Texts are compared by their runs of three and four characters, so a misheard syllable costs a few runs and not the word.
A run counts the more, the fewer entries use it (tf-idf); likeness is the cosine of the two weighted sets. An inverted
index, run → phrasings, keeps memory and time proportional to the file.
"""

import math
from collections import Counter, defaultdict
from typing import Final, NamedTuple

from pipeline.server.engines.knowledge import Entry, Knowledge, plain_words

RUN_LENGTHS: Final = (3, 4)
KNOWN_LIKENESS: Final = 0.46
"""Of 121 questions that the shipped file answered when this was chosen, put in other words than its own, 108 got their
answer, 13 were refused and none got a wrong one; of 92 about other things 3 were answered. Most served to choose it.
"""
MAX_QUESTION_CHARACTERS: Final = 400  # 30 s of speech; the question stands in there


class Match(NamedTuple):
    """The entry that a question is most like.

    Attributes:
        nearest: None if it is like none at all.
        likeness: 0 to 1.
    """

    nearest: Entry | None
    likeness: float

    @property
    def entry(self) -> Entry | None:
        """The entry, if the question is like enough for its answer to be given."""
        return self.nearest if self.likeness >= KNOWN_LIKENESS else None


class Search:
    """The index of one knowledge file: about a millisecond a question. Read-only, so threads may share it."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self._entries = [entry for entry in knowledge.entries for _ in entry.phrasings]
        runs_of_entries = [[_runs(phrasing) for phrasing in entry.phrasings] for entry in knowledge.entries]
        users = Counter(run for phrasings in runs_of_entries for run in set().union(*phrasings))
        self._rarity = {run: math.log((1 + len(knowledge.entries)) / count) for run, count in users.items()}
        self._rarity_of_unseen = math.log(1 + len(knowledge.entries))
        self._index: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, runs in enumerate(runs for phrasings in runs_of_entries for runs in phrasings):
            for run, weight in self._weights(runs).items():
                self._index[run].append((number, weight))

    def find(self, question: str) -> Match:
        """The likeliest entry."""
        likeness = [0.0] * len(self._entries)
        for run, weight in self._weights(_runs(question[:MAX_QUESTION_CHARACTERS])).items():
            for number, other in self._index.get(run, ()):
                likeness[number] += weight * other
        best = max(likeness)
        return Match(self._entries[likeness.index(best)] if best else None, best)

    def _weights(self, runs: Counter[str]) -> dict[str, float]:
        """The weight of each run, scaled to a length of 1.

        A run that the file never uses is the rarest of all: a question about something else is then like nothing.
        """
        weights = {
            run: (1 + math.log(count)) * self._rarity.get(run, self._rarity_of_unseen) for run, count in runs.items()
        }
        length = math.hypot(*weights.values())
        return {run: weight / length for run, weight in weights.items()}


def _runs(text: str) -> Counter[str]:
    """How often each run of characters occurs; a space at either end marks where words begin and stop."""
    words = plain_words(text)
    padded = f" {words} " if words else ""
    return Counter(padded[at : at + length] for length in RUN_LENGTHS for at in range(len(padded) - length + 1))
