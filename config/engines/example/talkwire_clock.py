"""A brain for talkwire that knows what time it is, and nothing else."""

from collections.abc import AsyncGenerator, Callable
from datetime import datetime

from pipeline.server.engines.interfaces import Ask, Brain, Piece, Setup, Words


def clock(_setup: Setup) -> Callable[[], Brain]:
    """The entry point. It is given the settings of the server; what takes long to load belongs into the maker."""
    return Clock


class Clock:
    """A `Brain`: one for all conversations, so it keeps nothing of any of them."""

    async def answer(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """Tell the time in words that can be spoken. The voice begins with the first clause, so yield early."""
        if "time" not in ask.question.lower():
            yield Words("I only know what time it is.")
            return
        now = datetime.now().astimezone()
        yield Words("It is ")
        yield Words(f"{now.hour} o'clock." if now.minute == 0 else f"{now.minute} minutes past {now.hour}.")
