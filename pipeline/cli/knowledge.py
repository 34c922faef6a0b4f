"""`talkwire knowledge`: the checker of the knowledge file, for whoever writes it."""

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from pipeline.cli import say
from pipeline.server.engines.knowledge import Entry, Knowledge, plain_words, read_knowledge
from pipeline.server.engines.search import KNOWN_LIKENESS, Search
from pipeline.vocabulary.configuration import printable
from pipeline.vocabulary.errors import UsageError

Action = Annotated[Literal["check", "ask"], Parameter(help="check: find the mistakes. ask: try a question.")]
File = Annotated[Path, Parameter(help="A knowledge file, such as config/knowledge.toml.")]
Question = Annotated[str | None, Parameter(help="What a visitor might say, in quotes.")]


def knowledge(action: Action, file: File, question: Question = None, /) -> int:
    """Check a knowledge file, or ask it a question.

    Every mistake is one line that names the line of the file; the exit code is then 78.
    """
    if (question is None) == (action == "ask"):
        usage = 'ask FILE "a question"' if action == "ask" else "check FILE"
        raise UsageError(f"use it as: talkwire knowledge {usage}")
    known = read_knowledge(file)
    if question is None:
        entries, phrasings = len(known.entries), sum(len(entry.phrasings) for entry in known.entries)
        say(f"{printable(os.fspath(file))}: no mistakes; {entries} entries, {phrasings} phrasings")
    else:
        say(_trial(known, question))
    return 0


def _trial(known: Knowledge, question: str) -> str:
    """What the brain would say to this question, and why."""
    if not plain_words(question):
        return f"answer:    {known.unheard}\nentry:     none, for the question has no words"
    match = Search(known).find(question)
    lines = _answers(match.entry) if match.entry else [f"answer:    {known.unknown}"]
    if match.entry:
        lines.append(f"entry:     {match.entry.name}")
    else:
        lines.append(f"entry:     none; nearest is {match.nearest.name if match.nearest else 'none'}")
    return "\n".join([*lines, f"likeness:  {match.likeness:.2f}; from {KNOWN_LIKENESS} on an entry answers"])


def _answers(entry: Entry) -> list[str]:
    if entry.tool_use is None:
        return [f"answer:    {entry.answer}"]
    return [f"calls:     {entry.tool_use.tool}", f"reply:     {entry.tool_use.reply}", f"otherwise: {entry.answer}"]
