"""Who may mint a client secret and who may open a session. Pure; `now` is unix time in s."""

import hmac
from typing import Final, NamedTuple

import msgspec

from pipeline.realtime.dialects import Dialect
from pipeline.realtime.events import Session
from pipeline.server.client_secrets import CLIENT_SECRET_PREFIX, ClientSecrets, Issued
from pipeline.server.session_settings import default_session, default_transcription_session, updated
from pipeline.vocabulary.signals import Secret


class Refusal(NamedTuple):
    """Why a client is turned away: code and message of the error event, then the close frame."""

    code: str
    message: str
    close_code: int

    @property
    def reason(self) -> str:
        """Text of the close frame."""
        return f"invalid_request_error.{self.code}"


class Admitted(NamedTuple):
    """A client that may come in, and the settings its session begins with."""

    settings: Session
    expired: bool = False
    """With a secret that has expired: it may come in, but nothing it asks for is done."""

    def session(self, session_id: str, *, expires_at: int) -> Session:
        """Those settings as a session of its own."""
        return msgspec.structs.replace(self.settings, id=session_id, expires_at=expires_at)


BAD_KEY: Final = Refusal("invalid_api_key", "Incorrect API key or client secret provided, or it has expired.", 3000)
NO_MODEL: Final = Refusal("missing_model", "You must provide a model parameter: /v1/realtime?model=...", 4000)
MODEL_FOR_TRANSCRIPTION: Final = Refusal(
    "invalid_model", "A transcription session takes no model in its URL; set it in session.audio.input.", 4000
)
BETA: Final = Refusal("beta_api_shape_disabled", "The beta API shape is not served; drop the OpenAI-Beta header.", 4000)
FULL: Final = Refusal("session_limit_reached", "This server serves as many sessions as it can; try again later.", 1013)


class Admission:
    """The door of one server.

    Args:
        api_key: mints and connects; None lets any bearer that is no client secret pass for it.
        voice: what sessions speak with unless told otherwise.
        max_sessions: how many may be open at once.
        dialect: how it refuses.
    """

    def __init__(self, api_key: Secret | None, *, voice: str, max_sessions: int, dialect: Dialect) -> None:
        self._api_key = api_key
        self._dialect = dialect
        self._voice = voice
        self._max_sessions = max_sessions
        self._open_sessions = 0
        self._issued = ClientSecrets()

    def may_use_rest(self, key: Secret) -> bool:
        """This bearer may mint client secrets and use the other resources; a client secret opens sessions only."""
        return self._is_api_key(key)

    def mint(self, secret: Secret, wanted: Session | None, *, expires_at: float, now: float) -> Session | None:
        """Make `secret` open sessions until it expires; returns their settings, None if too many are out.

        Raises:
            ClientEventError: the wanted settings cannot be.
        """
        if wanted is not None and wanted.type == "transcription":
            settings = default_transcription_session()
        else:
            settings = default_session((wanted and wanted.model) or "", self._voice)
        if wanted is not None:
            settings = updated(settings, wanted, voice_locked=False)
        return settings if self._issued.issue(secret, Issued(expires_at, settings), now) else None

    def knows(self, key: Secret, now: float) -> bool:
        """Whether this key or secret opens the door, for dialects whose door answers before the upgrade."""
        return self._issued.find(key, now) is not None or self._is_api_key(key) or self._opens_expired(key, now)

    def admit(
        self, key: Secret, *, model: str, intent: str, beta: bool, now: float, busy: bool = False
    ) -> Admitted | Refusal:
        """Let a client in, or say why not; everyone let in has to `leave`.

        Args:
            key: API key or client secret.
            model: the model named in the URL, empty if none is.
            intent: likewise; `transcription` asks for a session that only writes down what is said.
            beta: the client speaks the beta's shape.
            now: unix time in s.
            busy: those who are in already ask for more than the engines can do.
        """
        issued = self._issued.find(key, now)
        expired = issued is None and self._opens_expired(key, now)
        if issued is None and not expired and not self._is_api_key(key):
            return BAD_KEY
        if beta and self._dialect.refuses_beta_header:
            return BETA
        settings = self._settings(issued, model, intent)
        if isinstance(settings, Refusal):
            return settings
        if busy or self._open_sessions >= self._max_sessions:
            return FULL._replace(close_code=self._dialect.full_close_code)
        self._open_sessions += 1
        return Admitted(settings, expired)

    def _settings(self, issued: Issued | None, model: str, intent: str) -> Session | Refusal:
        if intent == "transcription":
            if model:
                return MODEL_FOR_TRANSCRIPTION
            is_meant = issued is not None and issued.session.type == "transcription"
            return issued.session if issued is not None and is_meant else default_transcription_session()
        if issued is not None and issued.session.type == "transcription":
            return issued.session
        model = model or (issued and issued.session.model) or self._dialect.default_model
        if not model:
            return NO_MODEL
        settings = issued.session if issued is not None else default_session(model, self._voice)
        return msgspec.structs.replace(settings, model=model)

    def leave(self) -> None:
        """A session has ended."""
        assert self._open_sessions > 0, "only who came in can leave"
        self._open_sessions -= 1

    def _opens_expired(self, key: Secret, now: float) -> bool:
        return self._dialect.opens_for_expired and self._issued.has_expired(key, now)

    def _is_api_key(self, key: Secret) -> bool:
        if self._api_key is None:  # on loopback every bearer but a client secret passes for the key
            return bool(key.value) and not key.value.startswith(CLIENT_SECRET_PREFIX)
        return hmac.compare_digest(self._api_key.value.encode(), key.value.encode())
