"""Whether the service hears what the local detector hears: a service whose detector is stuck says nothing at all."""

from collections import deque
from typing import Final

UNHEARD_MAX: Final = 2
"""So many utterances that the service did not hear ..."""
UNHEARD_WINDOW_S: Final = 60.0
"""... within this long mean that it hears nothing. One may have been a noise, which the two may take differently."""
SHORTEST_S: Final = 0.4
"""What is shorter is a knock or a cough rather than a word: nobody waits for its answer."""


class Hearing:
    """Counts what one session did not hear. Times are the host clock's, in s.

    A session is given up for deafness once; then not before a session has heard something. So noise that the local
    detector takes for speech, and the service rightly does not, costs one session and not one after the other.
    """

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._unheard_s: deque[float] = deque(maxlen=UNHEARD_MAX)
        self._was_given_up = False

    def voice_began(self, at_s: float) -> None:
        """Somebody begins to speak to a session that listens."""
        self._began_s = at_s

    def voice_ended(self, at_s: float) -> bool:
        """They have ended; tell whether the service has still to say that it heard them."""
        began_s, self._began_s = self._began_s, None
        if began_s is None or at_s - began_s < SHORTEST_S:
            return False
        self._unheard_s.append(at_s)
        return True

    def heard(self) -> None:
        """The service says that it hears somebody."""
        self.forget()
        self._was_given_up = False

    def forget(self) -> None:
        """What was said is no longer expected to be heard: it was said to another session, or into a mute."""
        self._began_s = None
        self._unheard_s.clear()

    def give_up(self) -> bool:
        """Time is up: tell whether the session is to be given up for deafness, which it is then."""
        unheard_s = self._unheard_s
        often = len(unheard_s) == UNHEARD_MAX and unheard_s[-1] - unheard_s[0] <= UNHEARD_WINDOW_S
        if self._was_given_up or not often:
            return False
        self._was_given_up = True
        return True
