"""`GET /healthz`: for whoever starts and watches the server; needs no key and tells nothing else."""

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from pipeline.server.engine_pool import EnginePool
from pipeline.server.rest.answers import json_answer


def health(engines: EnginePool) -> HTTPRouteHandler:
    """The resource: 200 once all engines are loaded, 503 until then."""

    @get("/healthz")
    async def healthz() -> Response[bytes]:
        return json_answer({"status": "ok"}) if engines.loaded else json_answer({"status": "loading"}, 503)

    return healthz
