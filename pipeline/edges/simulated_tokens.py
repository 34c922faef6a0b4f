"""The simulated twin of `token_client`: plays a script on trio's clock."""

from collections.abc import Iterable
from typing import NamedTuple

import trio

from pipeline.edges.interfaces import Minted
from pipeline.vocabulary.errors import WireError


class ScriptedMint(NamedTuple):
    """One answer of the script: a secret or an error, after `delay_s` on trio's clock."""

    outcome: Minted | WireError
    delay_s: float = 0.0


class ScriptedTokenSource:
    """A TokenSource that answers each mint with the next step of a script, which may be endless.

    `asked_s` holds the host clock of every mint that began, for the bounds a test wants to check.
    """

    def __init__(self, script: Iterable[ScriptedMint]) -> None:
        self._script = iter(script)
        self.asked_s: list[float] = []

    async def mint(self) -> Minted:
        """The next step. Raises the scripted error, or AssertionError when the script has no answer left."""
        self.asked_s.append(trio.current_time())
        step = next(self._script, None)
        assert step is not None, "more mints than the script has answers"
        await trio.sleep(step.delay_s)
        if isinstance(step.outcome, WireError):
            raise step.outcome
        return step.outcome
