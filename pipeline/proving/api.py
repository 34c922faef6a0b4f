"""The relay's control API on 127.0.0.1: who has the key reads and replaces the toxics while it runs.

    GET     /toxics             {"toxics": [...]}, each as in a script
    PUT     /toxics             replace them all; body as above
    POST    /toxics             add one at the end; body is the toxic
    DELETE  /toxics             a healthy line again
    DELETE  /toxics/TYPE        take those of one type away
    GET     /connections        those that are open, with bytes and toxics
    DELETE  /connections/ID     reset one
    GET     /statistics         what went through

A request without `Authorization: Bearer KEY` is 401. What is wrong is answered with {"problems": [{field, message}]}.
"""

import hmac
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import trio
from litestar import Litestar, Request, Response, delete, get, post, put
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath
from msgspec import Struct

from pipeline.proving.catalogue import Toxic
from pipeline.proving.faults import Faults
from pipeline.proving.relay import Relay, listen
from pipeline.proving.script import MAX_TOXICS, parse_toxics
from pipeline.server.listener import serve_connections
from pipeline.vocabulary.errors import ConfigurationError, Problem
from pipeline.vocabulary.signals import Secret

MAX_BODY_BYTES: Final = 65_536
"""Sixteen toxics are under 4 KiB."""

AnyRequest = Request[Any, Any, Any]


class Open(Struct, frozen=True):
    """One open connection; `age_s` counts from when its server, or who stands there instead, was reached."""

    id: int
    age_s: float
    up_bytes: int
    down_bytes: int
    toxics: Sequence[Toxic]


async def serve(relay: Relay, port: int, key: Secret, *, listening: Callable[[int], None]) -> None:
    """Serve the API until cancelled; port 0 takes a free one and `listening` is told which.

    Raises:
        AlreadyRunningError: the port is taken.
    """
    (listener,) = await listen(port, "--api")
    with socket.socket(fileno=listener.socket.detach()) as listening_socket:
        listening_socket.setblocking(False)
        listening(listening_socket.getsockname()[1])
        await serve_connections(listening_socket, api(relay, key))


def api(relay: Relay, key: Secret) -> Any:
    """The API as an ASGI application."""

    def with_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        scheme, _space, bearer = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(bearer.strip().encode(), key.value.encode()):
            raise NotAuthorizedException("give the key of this relay as a bearer token")

    return Litestar(
        [*_toxics(relay), *_connections(relay)],
        guards=[with_key],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=MAX_BODY_BYTES,
        exception_handlers={HTTPException: _http_error, ConfigurationError: _wrong},
    )


def _toxics(relay: Relay) -> list[Any]:
    faults = relay.faults

    @get("/toxics")
    async def read() -> Response[bytes]:
        return _in_use(faults)

    @put("/toxics")
    async def replace(request: AnyRequest) -> Response[bytes]:
        faults.use(_all(await request.body()))
        return _in_use(faults)

    @post("/toxics", status_code=200)
    async def add(request: AnyRequest) -> Response[bytes]:
        body = await request.body()
        faults.use([*faults.toxics, _another(body, len(faults.toxics))])
        return _in_use(faults)

    @delete("/toxics", status_code=200)
    async def heal() -> Response[bytes]:
        faults.use([])
        return _in_use(faults)

    @delete("/toxics/{kind:str}", status_code=200)
    async def remove(kind: FromPath[str]) -> Response[bytes]:
        left = [toxic for toxic in faults.toxics if toxic.__struct_config__.tag != kind]
        if len(left) == len(faults.toxics):
            return _problems(404, [Problem("type", "no toxic of this type is in use")])
        faults.use(left)
        return _in_use(faults)

    return [read, replace, add, heal, remove]


def _in_use(faults: Faults) -> Response[bytes]:
    return _json(200, {"toxics": faults.toxics})


def _all(body: bytes) -> Sequence[Toxic]:
    tree = _decoded(body)
    if not isinstance(tree, dict) or tree.keys() != {"toxics"}:
        raise ConfigurationError([Problem("", 'the body must be {"toxics": [...]} and nothing else')])
    return parse_toxics(tree["toxics"])


def _another(body: bytes, in_use: int) -> Toxic:
    (toxic,) = parse_toxics([_decoded(body)])
    if in_use >= MAX_TOXICS:
        raise ConfigurationError([Problem("toxics", f"there are {MAX_TOXICS} in use already")])
    return toxic


def _connections(relay: Relay) -> list[Any]:
    @get("/connections")
    async def read() -> Response[bytes]:
        now = trio.current_time()
        shown = [
            Open(number, round(now - each.begun_s, 3), each.up_bytes, each.down_bytes, each.toxics)
            for number, each in relay.connections.items()
        ]
        return _json(200, {"connections": shown})

    @delete("/connections/{number:int}", status_code=200)
    async def cut(number: FromPath[int]) -> Response[bytes]:
        if (connection := relay.connections.get(number)) is None:
            return _problems(404, [Problem("id", "no such connection is open")])
        connection.cut()
        return _json(200, {"cut": number})

    @get("/statistics")
    async def statistics() -> Response[bytes]:
        return _json(200, relay.statistics)

    return [read, cut, statistics]


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigurationError([Problem("", "the body is not JSON")]) from error


def _wrong(_: AnyRequest, error: ConfigurationError) -> Response[bytes]:
    return _problems(400, error.problems)


def _http_error(_: AnyRequest, error: HTTPException) -> Response[bytes]:
    return _problems(error.status_code, [Problem("", error.detail)])


def _problems(status: int, problems: Sequence[Problem]) -> Response[bytes]:
    return _json(status, {"problems": [{"field": each.path, "message": each.message} for each in problems]})


def _json(status: int, content: object) -> Response[bytes]:
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json")
