"""How long a client secret lives and until when it may open a session, whatever this machine's wall clock says."""

import math

from pipeline.core.retry import parse_http_date
from pipeline.vocabulary.errors import ProtocolError
from pipeline.vocabulary.signals import TokenGrant

LONGEST_LIFE_S = (
    86_400.0  # s: services give at most two hours; more is milliseconds taken for seconds, or a wrong clock
)
USE_WITHIN_S = 30.0  # s: a secret is minted for one attempt; an older one is worth less than a fresh one


def remaining_life_s(expires_at_s: float, *, date: str | None, wall_s: float) -> float:
    """Life of a client secret in s: its expiry (Unix time) minus the moment of the answer on the server's own clock.

    `date` is the answer's Date header; without a usable one `wall_s`, this machine's Unix time, has to do.

    Raises:
        ProtocolError: the secret is expired already, or would live longer than any service grants.
    """
    server_s = parse_http_date(date)
    life_s = expires_at_s - (wall_s if server_s is None else server_s)
    if 0 < life_s <= LONGEST_LIFE_S:
        return life_s
    clock = "this machine's clock, which may be wrong" if server_s is None else "the clock of the server that sent it"
    if not math.isfinite(life_s):
        trouble = "is no point in time"
    elif life_s <= 0:
        trouble = f"has passed, by {clock}"
    else:
        trouble = f"is more than a day away, by {clock}"
    raise ProtocolError(f"the expiry of the client secret {trouble}", cause="expiry")


def usable_until_s(life_s: float, asked_s: float) -> float:
    """Host clock until which a fresh secret may open a session.

    `asked_s` is the host clock when the mint was asked for, not answered: how long the answer took is not life.
    """
    assert life_s > 0, "a refused life is never asked about"
    return asked_s + min(life_s, USE_WITHIN_S)


def is_usable(grant: TokenGrant, now_s: float) -> bool:
    """Tell whether this grant may still open a session at `now_s` (host clock)."""
    return now_s < grant.expires_s
