"""Settings the wire hands through without looking inside, looked into: what a session shows, clients read. Pure."""

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct

from pipeline.realtime.codec import ClientEventError
from pipeline.realtime.events import Json, ResponseParams, Session

_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


class _TokenLimits(Struct, forbid_unknown_fields=True):
    post_instructions: Annotated[int, Meta(ge=0)] | None = None


class _Retention(Struct, tag_field="type", tag="retention_ratio", forbid_unknown_fields=True):
    retention_ratio: Annotated[float, Meta(ge=0, le=1)]
    token_limits: _TokenLimits | None = None


class _Tracing(Struct, forbid_unknown_fields=True):
    workflow_name: str | None = None
    group_id: str | None = None
    metadata: Json | None = None


class _Reasoning(Struct, forbid_unknown_fields=True):
    effort: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


_SHAPES: Final[dict[str, Any]] = {
    "truncation": Literal["auto", "disabled"] | _Retention | None,
    "tracing": Literal["auto"] | _Tracing | None,
    "reasoning": _Reasoning | None,
    "prompt": None,  # stored prompts are the provider's; this server has none
}


def check_shapes(settings: Session | ResponseParams, path: str) -> None:
    """Truncation, tracing, reasoning and prompt of a session or a response.

    Raises:
        ClientEventError: naming the field that cannot be.
    """
    for name, shape in _SHAPES.items():
        value = getattr(settings, name, UNSET)
        if value is UNSET:
            continue
        try:
            msgspec.convert(value, shape)
        except msgspec.ValidationError as flaw:
            place = _PATH.search(str(flaw))
            what = _PATH.sub("", str(flaw))
            here = ".".join(filter(None, [path, name, place and place["path"]]))
            raise ClientEventError("invalid_value", f"Invalid value: '{here}'. {what}.", here) from None
