import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.credential import LONGEST_LIFE_S, USE_WITHIN_S, is_usable, remaining_life_s, usable_until_s
from pipeline.vocabulary.errors import ProtocolError
from pipeline.vocabulary.signals import Secret, TokenGrant

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
DATE_S = 784_111_777.0


@given(wall_s=st.floats(0, 4e9), life_s=st.integers(1, 86_400))
def test_the_servers_own_clock_decides_whatever_this_machine_believes(wall_s: float, life_s: int) -> None:
    assert remaining_life_s(DATE_S + life_s, date=DATE, wall_s=wall_s) == life_s


@pytest.mark.parametrize("date", [None, "yesterday", ""])
def test_without_a_date_the_wall_clock_has_to_do(date: str | None) -> None:
    assert remaining_life_s(1_600, date=date, wall_s=1_000) == 600


@pytest.mark.parametrize(
    ("expires_at_s", "date", "reason"),
    [
        (DATE_S, DATE, "has passed, by the clock of the server"),
        (0, DATE, "has passed"),
        (999, None, "has passed, by this machine's clock, which may be wrong"),
        ((DATE_S + 600) * 1_000, DATE, "more than a day away"),
        (DATE_S + LONGEST_LIFE_S + 1, DATE, "more than a day away"),
        (math.nan, DATE, "no point in time"),
        (math.inf, DATE, "no point in time"),
    ],
)
def test_a_useless_expiry_is_refused_with_its_reason(expires_at_s: float, date: str | None, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason) as caught:
        remaining_life_s(expires_at_s, date=date, wall_s=1_000)
    assert caught.value.fault().cause == "expiry"


@pytest.mark.parametrize(("life_s", "good_s"), [(600, USE_WITHIN_S), (12, 12)])
def test_a_grant_is_used_soon_and_within_its_life(life_s: float, good_s: float) -> None:
    grant = TokenGrant(attempt=1, secret=Secret("ek_x"), expires_s=usable_until_s(life_s, asked_s=50))
    assert is_usable(grant, 50)
    assert is_usable(grant, 50 + good_s - 0.1)
    assert not is_usable(grant, 50 + good_s)
