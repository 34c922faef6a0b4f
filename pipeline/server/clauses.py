"""Cuts the words of an answer, as they come, into pieces that can be spoken by themselves. Pure.

The first piece ends at the first clause, because the listener waits for it; later ones at sentences, because a voice
sounds best when it sees a whole one. A piece is bounded, so that a cancelled answer costs at most one piece more.
"""

import re
from typing import Final

MIN_FIRST_CHARACTERS: Final = 12
"""A first clause shorter than this ("Well,") would leave a gap before the next."""
MAX_CHARACTERS: Final = 100
"""About 5 s of speech, 50 ms of work; a sentence longer than this is cut at its last comma, else between words."""

_SENTENCE_END: Final = re.compile(
    r"""(?<!\b[A-Z])(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bSt)(?<!\.\w)[.!?…]+["')\]]*\s+|\n+"""
)
"""Not behind an initial or a short form ("Mr.", "e.g.")."""
_CLAUSE_END: Final = re.compile(r"[,;:]\s+|\s+[\u2013\u2014]\s+")


class Clauses:
    """One answer. Every character fed comes out again, in order, exactly once."""

    def __init__(self) -> None:
        self._text = ""
        self._is_first = True

    def feed(self, text: str) -> list[str]:
        """More words; the pieces that are now complete."""
        self._text += text
        pieces = []
        while end := self._end():
            pieces.append(self._text[:end])
            self._text = self._text[end:]
            self._is_first = False
        return pieces

    def rest(self) -> str:
        """What is left when the answer is complete."""
        left, self._text = self._text, ""
        return left

    def _end(self) -> int:
        """Where the next piece ends; 0 if it is not complete yet."""
        if sentence := _SENTENCE_END.search(self._text[: MAX_CHARACTERS + 2]):
            whole = sentence.end()
        elif len(self._text) > MAX_CHARACTERS:
            clauses = [found.end() for found in _CLAUSE_END.finditer(self._text[:MAX_CHARACTERS])]
            whole = clauses[-1] if clauses else self._text.rfind(" ", 1, MAX_CHARACTERS) + 1 or MAX_CHARACTERS
        else:
            whole = 0
        if self._is_first:
            for clause in _CLAUSE_END.finditer(self._text[: whole or None]):
                if clause.end() >= MIN_FIRST_CHARACTERS:
                    return clause.end()
        return whole
