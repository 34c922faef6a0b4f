"""`GET /v1/models`: what this server has. Its engines answer to any model name; these are their own."""

from collections.abc import Callable
from typing import Any, Final, Literal

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import Struct

from pipeline.server.admission import Admission
from pipeline.server.rest.answers import json_answer
from pipeline.server.rest.refusal import RequestRefusedError
from pipeline.server.rest.requests import demand_key

MODELS: Final = ("talkwire-local", "talkwire-local-asr", "talkwire-local-tts")
"""Brain (also behind a realtime session), recogniser, voice."""


class Model(Struct, frozen=True):
    """One model; `created` is when this server started, in unix seconds."""

    id: str
    created: int
    object: Literal["model"] = "model"
    owned_by: str = "talkwire"


def models(admission: Admission, unix_now: Callable[[], float]) -> list[HTTPRouteHandler]:
    """The resources."""
    known = {name: Model(name, int(unix_now())) for name in MODELS}

    @get("/v1/models")
    async def list_models(request: Request[Any, Any, Any]) -> Response[bytes]:
        demand_key(request, admission)
        return json_answer({"object": "list", "data": list(known.values())})

    @get("/v1/models/{name:str}")
    async def retrieve_model(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
        demand_key(request, admission)
        if name not in known:
            raise RequestRefusedError(404, "model_not_found", f"The model '{name}' does not exist.", "model")
        return json_answer(known[name])

    return [list_models, retrieve_model]
