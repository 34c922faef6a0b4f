from typing import Any

import pytest

from pipeline.realtime.events import RateLimitsUpdated, ResponseCreate, ResponseDone
from pipeline.server.rate_limit import RateLimit
from pipeline.server.work import Generate, GeneratedText, GenerationEnded


def test_a_bucket_is_full_at_first_and_refills_evenly() -> None:
    limit = RateLimit(600, now=100.0)
    assert limit.remaining(100.0) == 600
    limit.spend(500, 100.0)
    assert (limit.remaining(100.0), limit.reset_s(100.0)) == (100, 50.0)
    assert limit.remaining(120.0) == 300
    assert limit.remaining(1_000.0) == 600


def test_who_overdraws_waits() -> None:
    limit = RateLimit(600, now=0.0)
    limit.spend(1_199, 0.0)
    assert limit.remaining(0.0) == 0
    assert limit.wait_s(0.0) == pytest.approx(60.0)
    assert limit.wait_s(60.0) == 0.0


def test_a_session_that_said_too_much_is_told_when_it_may_again(make_bench: Any) -> None:
    bench = make_bench(tokens_per_minute=60)
    bench.client(ResponseCreate())
    response_id = bench.last(Generate).response_id
    bench.work(GeneratedText(response_id, "word " * 90))
    bench.work(GenerationEnded(response_id))
    (left,) = bench.last(RateLimitsUpdated).rate_limits
    assert (left.name, left.limit, left.remaining, left.reset_seconds) == ("tokens", 60, 0, 90.0)
    assert bench.client(ResponseCreate()) == ["response.created", "response.done", "rate_limits.updated"]
    error = bench.last(ResponseDone).response.status_details.error
    assert (error.code, error.message[-22:]) == ("rate_limit_exceeded", " 60. Try again in 31.0s."[-22:])
    bench.now = 31.0
    assert bench.client(ResponseCreate())[-1] == "Generate"
