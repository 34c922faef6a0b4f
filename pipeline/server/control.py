"""The control API on the server's own port: faults of new connections and of open sessions.

    GET, PUT, DELETE /talkwire/faults                  those of every new connection
    GET              /talkwire/faults/catalogue        all there are, and their JSON schema
    GET              /talkwire/sessions                who is connected
    PUT              /talkwire/sessions/{id}/faults    those of one open session

The body of a PUT is `{"faults": [{"type": "late_deltas", "count": 3}]}`. Who may use REST may do this.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import trio
from litestar import Litestar, Request, Response, delete, get, put
from litestar.exceptions import HTTPException, NotAuthorizedException

from pipeline.server.fault_board import FaultBoard
from pipeline.server.faults.catalogue import Fault, catalogue, convert_faults, schema
from pipeline.server.rest.refusal import RequestRefusedError
from pipeline.server.rest.requests import BODY_DEADLINE_S, body_deadline
from pipeline.vocabulary.errors import ConfigurationError, Problem
from pipeline.vocabulary.signals import Secret

PREFIX: Final = "/talkwire/"
MAX_BODY_BYTES: Final = 64 * 1024
"""64 faults of a few hundred bytes each."""


def control_app(board: FaultBoard, may_control: Callable[[Secret], bool]) -> Litestar:
    """The control API as ASGI; `may_control` judges the bearer."""

    def admit(request: Request[Any, Any, Any]) -> None:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not may_control(Secret(bearer.strip())):
            raise NotAuthorizedException("a bearer that may use REST is needed")

    @get("/talkwire/faults")
    async def shown() -> Response[bytes]:
        return _faults(board)

    @put("/talkwire/faults", request_max_body_size=MAX_BODY_BYTES)
    async def chosen(request: Request[Any, Any, Any]) -> Response[bytes]:
        board.choose(await _asked(request))
        return _faults(board)

    @delete("/talkwire/faults", status_code=200)
    async def cleared() -> Response[bytes]:
        board.choose(())
        return _faults(board)

    @get("/talkwire/faults/catalogue")
    async def listed() -> Response[bytes]:
        return _json(200, {"faults": [entry._asdict() for entry in catalogue()], "schema": schema()})

    @get("/talkwire/sessions")
    async def connected() -> Response[bytes]:
        now = trio.current_time()
        sessions = [
            {"id": session_id, "open_s": round(now - session.since_s, 3), "faults": session.socket.line.faults}
            for session_id, session in board.sessions.items()
        ]
        return _json(200, {"sessions": sessions})

    @put("/talkwire/sessions/{session_id:str}/faults", request_max_body_size=MAX_BODY_BYTES)
    async def changed(request: Request[Any, Any, Any]) -> Response[bytes]:
        session_id, faults = request.path_params["session_id"], await _asked(request)
        session = board.sessions.get(session_id)
        if session is None:
            raise HTTPException("there is no such session", status_code=404)
        session.socket.use(faults)
        return _json(200, {"id": session_id, "faults": faults})

    return Litestar(
        [shown, chosen, cleared, listed, connected, changed],
        openapi_config=None,
        logging_config=None,  # the process decides where its log goes
        before_request=admit,
        exception_handlers={HTTPException: _http_error, RequestRefusedError: _late, ConfigurationError: _refused},
    )


async def _asked(request: Request[Any, Any, Any]) -> tuple[Fault, ...]:
    with body_deadline(BODY_DEADLINE_S):
        body = await request.body()
    try:
        tree = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ConfigurationError([Problem("", "the body is not JSON")]) from None
    if not isinstance(tree, dict) or tree.keys() != {"faults"}:
        raise ConfigurationError([Problem("", 'the body must be {"faults": [...]} and hold nothing else')])
    return convert_faults(tree["faults"])


def _faults(board: FaultBoard) -> Response[bytes]:
    return _json(200, {"faults": board.faults, "seed": board.seed, "connections": board.connections})


def _refused(_: Request[Any, Any, Any], error: ConfigurationError) -> Response[bytes]:
    problems = [{"field": problem.path or None, "message": problem.message} for problem in error.problems]
    return _error(400, error.message, problems)


def _late(_: Request[Any, Any, Any], error: RequestRefusedError) -> Response[bytes]:
    return _error(error.status, error.message, [])


def _http_error(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    return _error(error.status_code, error.detail, [])


def _error(status: int, message: str, problems: list[dict[str, str | None]]) -> Response[bytes]:
    return _json(status, {"error": {"type": "invalid_request_error", "message": message, "problems": problems}})


def _json(status: int, content: object) -> Response[bytes]:
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json")
