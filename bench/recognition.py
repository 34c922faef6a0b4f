"""How many words the offline recogniser gets wrong, and how long it takes for an utterance.

Thirteen recordings of people, whose error rate was measured before and has to come out again; and twenty sentences as
said at a desk, by every synthetic voice that is on this machine. Those are our own, so their rates are this bench's.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from bench.corpus import COMMANDS, SENTENCES, NotInstalledError, Utterance, real_recordings, spoken_by
from bench.report import BenchError, Report, Row, row
from bench.word_errors import plain_words, word_errors
from pipeline.server.engines.interfaces import Recogniser, Voice
from pipeline.server.engines.loader import load_engines
from pipeline.vocabulary.configuration import load

REAL_TARGET: Final = 5.4
"""% of words: one point above the 4.4 % that were measured when the recogniser was chosen."""


Corpus = Callable[[], Iterable[Utterance]]


def measure(runs: int) -> Report:
    """Recognise the whole corpus once; the recogniser always hears the same, so `runs` says nothing here.

    Raises:
        BenchError: the recordings of people are not on this machine.
    """
    del runs
    engines = load_engines(load().server)
    corpora: dict[str, Corpus] = {"real": real_recordings, "hibari": partial(_spoken, engines.voice())}
    corpora |= {voice: partial(spoken_by, voice) for voice in COMMANDS}
    return judge(engines.recogniser(), corpora)


def judge(recogniser: Recogniser, corpora: Mapping[str, Corpus]) -> Report:
    """Recognise these corpora; those that are not on this machine are named with what to install.

    Raises:
        BenchError: none is.
    """
    rows: list[Row] = []
    counts: dict[str, int] = {}
    missing: list[str] = []
    for name, corpus in corpora.items():
        try:
            wrong, words, took_ms = _recognise(recogniser, corpus())
        except NotInstalledError as absent:
            missing.append(str(absent))
            continue
        target = REAL_TARGET if name == "real" else None
        rows += [
            row(f"{name}: words wrong", "%", [100 * wrong / words], target=target),
            row(f"{name}: an utterance", "ms", took_ms, beside=rows[1] if rows else None),
        ]
        counts |= {f"{name}: words": words, f"{name}: words wrong": wrong}
    if not rows:
        raise BenchError("; ".join(missing))
    return Report(
        part="recognition", title="words that the recogniser gets wrong", rows=rows, counts=counts, skipped=missing
    )


def _recognise(recogniser: Recogniser, utterances: Iterable[Utterance]) -> tuple[int, int, list[float]]:
    """Words wrong, words said, ms for each utterance."""
    wrong = words = 0
    took_ms = []
    for utterance in utterances:
        began_s = time.perf_counter()
        heard = recogniser.transcribe(utterance.pcm)
        took_ms.append((time.perf_counter() - began_s) * 1000)
        wrong += word_errors(utterance.words, heard)
        words += len(plain_words(utterance.words))
    return wrong, words, took_ms


def _spoken(voice: Voice) -> Iterator[Utterance]:
    for sentence in SENTENCES:
        yield Utterance(b"".join(voice.speak(sentence)), sentence)
