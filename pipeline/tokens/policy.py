"""What the token backend decides: who may mint how often, and what a device is told. Pure: `now_s` is an argument."""

import math
from collections import OrderedDict
from http import HTTPStatus

import msgspec

from pipeline.core.retry import parse_http_date, parse_retry_after
from pipeline.realtime.client_secrets import (
    MAX_ANSWER_BYTES,
    PROVIDER_KEY,
    REFUSAL_HEADER,
    decode_client_secret,
    encode_backend_answer,
)
from pipeline.vocabulary.errors import ProtocolError

MAX_DEVICES = 4_096  # devices remembered: bounds memory to about 1 MiB whoever invents device names
LONGEST_LIFE_S = 7_500.0  # s: providers give at most 7200; the rest is for clocks
PROVIDER_PAUSE_S = 5.0  # s: Retry-After when a busy provider names none
_JSON = "application/json"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a device gets: never the provider's words, never to be cached."""

    status: int
    body: bytes
    headers: dict[str, str]


class _Bucket(msgspec.Struct):
    tokens: float
    filled_s: float


class MintLimit:
    """Token bucket per device: `mints_per_minute` in the long run, half of them at once.

    At most MAX_DEVICES are remembered. When all places are taken, the one idle for longest is given away only if its
    bucket is full again, for then nothing is forgotten; otherwise newcomers wait. So inventing names buys no mints.
    """

    def __init__(self, mints_per_minute: int) -> None:
        assert mints_per_minute > 0, "a limit of none would be no backend"
        self._per_s = mints_per_minute / 60
        self._burst = max(1, mints_per_minute // 2)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, device: str, now_s: float) -> float | None:
        """Count one mint of `device`; None if it may, else the pause in s until it may."""
        bucket = self._buckets.get(device)
        if bucket is None:
            pause_s = self._pause_until_place(now_s)
            if pause_s is not None:
                return pause_s
            bucket = self._buckets[device] = _Bucket(self._burst, now_s)
        self._fill(bucket, now_s)
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self._per_s
        bucket.tokens -= 1
        self._buckets.move_to_end(device)
        return None

    def __len__(self) -> int:
        return len(self._buckets)

    def _pause_until_place(self, now_s: float) -> float | None:
        if len(self._buckets) < MAX_DEVICES:
            return None
        oldest, bucket = next(iter(self._buckets.items()))
        self._fill(bucket, now_s)
        if bucket.tokens < self._burst:
            return (self._burst - bucket.tokens) / self._per_s
        del self._buckets[oldest]
        return None

    def _fill(self, bucket: _Bucket, now_s: float) -> None:
        gained = max(0.0, now_s - bucket.filled_s) * self._per_s
        bucket.tokens = min(self._burst, bucket.tokens + gained)
        bucket.filled_s = now_s


def refuse(status: HTTPStatus, detail: str, *, retry_after_s: float | None = None) -> Answer:
    """An answer that is no secret; `retry_after_s` is rounded up to whole seconds: earlier would be refused again."""
    headers = {"Content-Type": _JSON, "Cache-Control": "no-store"}
    if retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(retry_after_s))
    body = msgspec.json.encode({"status_code": status.value, "detail": detail})
    return Answer(status=status.value, body=body, headers=headers)


def judge_provider(status: int, body: bytes, *, date: str | None, retry_after: str | None, wall_s: float) -> Answer:
    """Turn the provider's answer (its status, body, Date and Retry-After headers) into ours.

    `wall_s` is this machine's Unix time, used only where the provider sends no Date. A body cut off at one byte more
    than MAX_ANSWER_BYTES counts as garbage.
    """
    server_s = parse_http_date(date)
    server_s = wall_s if server_s is None else server_s
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        pause_s = parse_retry_after(retry_after, server_s)
        busy = "the provider is busy; try again later"
        pause_s = PROVIDER_PAUSE_S if pause_s is None else pause_s
        return refuse(HTTPStatus.SERVICE_UNAVAILABLE, busy, retry_after_s=pause_s)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        refused = refuse(
            HTTPStatus.BAD_GATEWAY, "the provider refused the key of this token backend; its owner must check it"
        )
        return msgspec.structs.replace(refused, headers={**refused.headers, REFUSAL_HEADER: PROVIDER_KEY})
    if status != HTTPStatus.OK or len(body) > MAX_ANSWER_BYTES:
        return refuse(HTTPStatus.BAD_GATEWAY, f"the provider gave no client secret (status {status})")
    try:
        minted = decode_client_secret(body)
    except ProtocolError as error:
        return refuse(HTTPStatus.BAD_GATEWAY, f"the provider gave no usable client secret: {error.message}")
    if not 0 < minted.expires_at_s - server_s <= LONGEST_LIFE_S:
        return refuse(HTTPStatus.BAD_GATEWAY, "the provider gave a client secret whose expiry has passed or is absurd")
    headers = {"Content-Type": _JSON, "Cache-Control": "no-store"}
    return Answer(status=HTTPStatus.OK.value, body=encode_backend_answer(minted), headers=headers)
