"""The REST application: every resource, one way to refuse, and an end to the work for clients that hang up."""

from collections.abc import Callable

from litestar import Litestar
from litestar.types import ASGIApp

from pipeline.server.admission import Admission
from pipeline.server.engine_pool import EnginePool
from pipeline.server.rest.answers import EXCEPTION_HANDLERS
from pipeline.server.rest.beta_sessions import beta_sessions
from pipeline.server.rest.chat_completions import chat_completions
from pipeline.server.rest.client_secrets import Mint, client_secrets
from pipeline.server.rest.hangup import until_hangup
from pipeline.server.rest.health import health
from pipeline.server.rest.models import models
from pipeline.server.rest.speech import speech
from pipeline.server.rest.transcriptions import transcriptions
from pipeline.vocabulary.settings import ServerSettings


def rest_app(
    admission: Admission, engines: EnginePool, settings: ServerSettings, unix_now: Callable[[], float]
) -> ASGIApp:
    """The REST application as ASGI; `unix_now` is wall time in s."""
    mint = Mint(admission, settings, unix_now)
    app = Litestar(
        [
            client_secrets(admission, mint),
            *beta_sessions(admission, mint),
            chat_completions(admission, engines, unix_now),
            speech(admission, engines),
            transcriptions(admission, engines),
            *models(admission, unix_now),
            health(engines),
        ],
        openapi_config=None,
        logging_config=None,  # the process decides where its log goes
        exception_handlers=EXCEPTION_HANDLERS,
    )
    return until_hangup(app)
