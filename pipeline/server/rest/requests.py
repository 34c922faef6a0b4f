"""What is asked of every request before its resource looks at it: a key, and a body that can be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import msgspec
import trio
from litestar import Request

from pipeline.realtime.codec import complaint
from pipeline.server.admission import Admission
from pipeline.server.rest.refusal import RequestRefusedError
from pipeline.vocabulary.signals import Secret

NOT_JSON: Final = "The body of the request is not JSON."
MAX_BODY_BYTES: Final = 256 * 1024
"""Instructions and tools of a session, or a text to speak; the provider's own examples stay under 10 kB."""
BODY_DEADLINE_S: Final = 10.0
"""A client that takes longer to send that little has stalled."""

T = TypeVar("T")


def demand_key(request: Request[Any, Any, Any], admission: Admission) -> None:
    """Let nobody pass without a key; asked before a body is read.

    Raises:
        RequestRefusedError: 401.
    """
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not admission.may_use_rest(Secret(bearer.strip())):
        raise RequestRefusedError(401, "invalid_api_key", "Incorrect API key provided.")


async def read_json(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """The body; no body at all is an empty object.

    Raises:
        RequestRefusedError: it is not JSON, or did not arrive in time.
        ClientEventError: a field is missing, unknown, mistyped or out of range.
    """
    with body_deadline(BODY_DEADLINE_S):
        body = await request.body()
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as flawed:
        raise complaint(str(flawed)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestRefusedError(400, None, NOT_JSON) from None


@contextmanager
def body_deadline(seconds: float) -> Iterator[None]:
    """Read a body inside; raises RequestRefusedError, 408, if it has not arrived by then."""
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise RequestRefusedError(408, None, f"The body did not arrive within {seconds:.0f} s.") from None
