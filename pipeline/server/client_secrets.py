"""Client secrets this server has issued: `ek_...` values that open sessions until they expire. Pure.

Only digests are kept, so neither a memory dump nor the timing of a look-up gives a secret away.
"""

import hashlib
from typing import Final, NamedTuple

from pipeline.realtime.events import Session
from pipeline.vocabulary.signals import Secret

CLIENT_SECRET_PREFIX: Final = "ek_"  # noqa: S105 - the public part of every one
"""Tells a client secret from an API key."""
MAX_SECRETS: Final = 10_000
"""Unexpired secrets at a time, about 10 MB; 60 a minute for two hours is 7,200."""


class Issued(NamedTuple):
    """What a secret stands for: the moment (unix seconds) it stops opening sessions, and how these begin."""

    expires_at: float
    session: Session


class ClientSecrets:
    """The secrets of one server, in memory: they end with it."""

    def __init__(self) -> None:
        self._issued: dict[bytes, Issued] = {}

    def issue(self, secret: Secret, issued: Issued, now: float) -> bool:
        """Remember a new secret; False if MAX_SECRETS unexpired ones are out."""
        if len(self._issued) >= MAX_SECRETS:
            self._issued = {digest: kept for digest, kept in self._issued.items() if now < kept.expires_at}
        if len(self._issued) >= MAX_SECRETS:
            return False
        self._issued[_digest(secret)] = issued
        return True

    def has_expired(self, secret: Secret, now: float) -> bool:
        """Whether this secret was issued here and opens no sessions any more."""
        issued = self._issued.get(_digest(secret))
        return issued is not None and now >= issued.expires_at

    def find(self, secret: Secret, now: float) -> Issued | None:
        """What this secret stands for; None if it was never issued here or has expired."""
        issued = self._issued.get(_digest(secret))
        return issued if issued is not None and now < issued.expires_at else None


def _digest(secret: Secret) -> bytes:
    return hashlib.sha256(secret.value.encode()).digest()
