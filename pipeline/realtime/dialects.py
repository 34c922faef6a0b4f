"""Whose server it is: where it is found, how its door refuses, and in which shape it speaks. Sans-IO.

`openai` is the shape of GA, which everything else here is written in. The others are translated at the socket, one
JSON object at a time, so that no conversation knows which dialect it is held in.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from pipeline.realtime.beta_shape import BetaShape
from pipeline.realtime.objects import Json


class Shape(Protocol):
    """How one connection's events are written; keeps what it must remember of them."""

    def to_ga(self, event: Json) -> Json:
        """A client event in GA's shape.

        Raises:
            ClientEventError: the dialect has no such thing.
        """

    def from_ga(self, event: Json) -> list[Json]:
        """What is said instead of a server event of GA: any number of events, in order."""


class Route(NamedTuple):
    """A path where sessions are opened.

    Attributes:
        shape: makes a connection's shape; None is GA.
        model: the URL parameter that names the model.
        required: URL parameters without which nothing is found there.
    """

    shape: Callable[[], Shape] | None = None
    model: str = "model"
    required: tuple[str, ...] = ()


class Dialect(NamedTuple):
    """One provider's way.

    Attributes:
        routes: by path.
        http_prefix: stands before the paths of its REST API.
        default_model: for a URL that names none; empty if it must.
        refuses_by_status: a bad key is HTTP 401 instead of an event after the upgrade.
        refuses_beta_header: `OpenAI-Beta` is an error.
        opens_for_expired: an expired secret opens a socket, and every request on it fails.
        full_close_code: of the close frame when there are too many sessions.
    """

    routes: dict[str, Route]
    http_prefix: str = ""
    default_model: str = ""
    refuses_by_status: bool = False
    refuses_beta_header: bool = False
    opens_for_expired: bool = False
    full_close_code: int = 1013


class AzureShape:
    """GA, but a rate limit has Azure's name."""

    def to_ga(self, event: Json) -> Json:
        """The same."""
        return event

    def from_ga(self, event: Json) -> list[Json]:
        """The same, but for the code of a failure."""
        return [_with_azure_code(event)]


class AzurePreviewShape(BetaShape):
    """The beta's shape with Azure's name for a rate limit."""

    def from_ga(self, event: Json) -> list[Json]:
        """As the beta says it."""
        return super().from_ga(_with_azure_code(event))


class HuggingFaceShape:
    """Hugging Face's speech-to-speech server: a subset of GA, with an order of its own at a barge-in.

    Source: its `api/openai_realtime`. Items the client makes are acknowledged with `conversation.item.created`, others
    not at all; a truncation is accepted and not answered; the kind of an error is told in `type`, not in `code`.
    """

    _NEVER_SAID: Final = frozenset(
        {
            "conversation.item.done",
            "conversation.item.truncated",
            "input_audio_buffer.committed",
            "rate_limits.updated",
            "response.content_part.added",
            "response.content_part.done",
            "response.output_item.added",
        }
    )

    def __init__(self) -> None:
        self._active: set[str] = set()
        self._committed_id = ""
        self._started: list[Json] = []

    def to_ga(self, event: Json) -> Json:
        """The same."""
        return event

    def from_ga(self, event: Json) -> list[Json]:
        """A subset, in its order."""
        match event["type"]:
            case "input_audio_buffer.committed":
                self._committed_id = event["item_id"]
            case "conversation.item.added":
                own = event["item"]["id"] == self._committed_id or event["item"].get("status") == "in_progress"
                return [] if own else [{**event, "type": "conversation.item.created"}]
            case "error":
                error = event["error"]
                return [{**event, "error": {**error, "type": error["code"] or error["type"], "code": None}}]
            case "response.created":
                self._active.add(event["response"]["id"])
            case "response.done":
                self._active.discard(event["response"]["id"])
                started, self._started = self._started, []
                return [event, *started]
            case "input_audio_buffer.speech_started" if self._active:
                self._started = [event]
                return []
            case "input_audio_buffer.speech_stopped":  # the response was not interrupted
                started, self._started = self._started, []
                return [*started, event]
        return [] if event["type"] in self._NEVER_SAID else [event]


def _with_azure_code(event: Json) -> Json:
    if event["type"] != "response.done":
        return event
    response = event["response"]
    match response["status_details"]:
        case {"error": {"code": "rate_limit_exceeded"} as error} as details:
            error = {**error, "code": "inference_rate_limit_exceeded"}
            return {**event, "response": {**response, "status_details": {**details, "error": error}}}
    return event


DIALECTS: Final = {
    "openai": Dialect({"/v1/realtime": Route()}, refuses_beta_header=True),
    "azure": Dialect(
        {
            "/openai/v1/realtime": Route(AzureShape),
            "/openai/realtime": Route(AzurePreviewShape, model="deployment", required=("api-version", "deployment")),
        },
        http_prefix="/openai",
        refuses_by_status=True,
        opens_for_expired=True,
    ),
    "beta": Dialect({"/v1/realtime": Route(BetaShape)}),
    "hf": Dialect({"/v1/realtime": Route(HuggingFaceShape)}, default_model="speech-to-speech", full_close_code=1008),
}
"""By the name in `server.dialect`."""
