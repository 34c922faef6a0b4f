"""Faults at the door: the upgrade is refused, late or never answered, or the session ends before it began."""

from typing import Annotated, Final, Literal, NamedTuple

from msgspec import Meta

from pipeline.realtime.events import Json
from pipeline.server.faults.schema import Ask, Close, Effect, Fault, Here, Move, Say, Seconds, nothing, when_said


class HttpRefusal(NamedTuple):
    """An HTTP answer instead of the upgrade."""

    status: int
    retry_after_s: int | None


class InBandRefusal(NamedTuple):
    """The upgrade succeeds; then an error event and a close frame."""

    code: str
    message: str
    close: Close


class Silence(NamedTuple):
    """The upgrade is never answered."""


Answer = HttpRefusal | InBandRefusal | Silence
"""What a client gets at the door instead of a session."""


class DoorFault(Fault, frozen=True, kw_only=True):
    """Base of what happens at the upgrade; `after_s` and `turn` say nothing here."""

    @property
    def answer(self) -> Answer | None:
        """Instead of the session; None lets the client in."""
        return None

    @property
    def late_s(self) -> float:
        """How late the answer is."""
        return 0.0


class RefuseUpgrade(DoorFault, frozen=True, kw_only=True, tag="refuse_upgrade"):
    """The upgrade is answered with an HTTP status, for 429 and 503 perhaps with `Retry-After`.

    Client: does not loop on 401 and 403; backs off on the rest, and as long as it is asked to.
    """

    status: Literal[400, 401, 403, 404, 429, 500, 502, 503, 504] = 503
    retry_after_s: Annotated[int, Meta(ge=0, le=86_400)] | None = None

    @property
    def answer(self) -> HttpRefusal:
        """The status."""
        return HttpRefusal(self.status, self.retry_after_s)


class SlowUpgrade(DoorFault, frozen=True, kw_only=True, tag="slow_upgrade"):
    """The upgrade is answered late.

    Client: waits no longer than its own deadline, and does not open a second socket meanwhile.
    """

    delay_s: Seconds = 5.0

    @property
    def late_s(self) -> float:
        """So late."""
        return self.delay_s


class UnansweredUpgrade(DoorFault, frozen=True, kw_only=True, tag="unanswered_upgrade"):
    """TCP connects, and the upgrade is never answered.

    Client: gives up at its deadline and tries again.
    """

    @property
    def answer(self) -> Silence:
        """None, ever."""
        return Silence()


class AuthFailure(DoorFault, frozen=True, kw_only=True, tag="auth_failure"):
    """The key is refused as the service does it: 101, an error event, close 3000.

    Client: treats it as HTTP 401, although the socket opened.
    """

    @property
    def answer(self) -> InBandRefusal:
        """The key is wrong."""
        close = Close(3000, "invalid_request_error.invalid_api_key")
        return InBandRefusal("invalid_api_key", "Incorrect API key provided.", close)


class ModelFailure(DoorFault, frozen=True, kw_only=True, tag="model_failure"):
    """The model is refused as the service does it: 101, an error event, close 4000.

    Client: reports a configuration error; trying again cannot help.
    """

    code: Literal["invalid_model", "missing_model"] = "invalid_model"

    @property
    def answer(self) -> InBandRefusal:
        """The model is wrong."""
        close = Close(4000, f"invalid_request_error.{self.code}")
        message = {
            "invalid_model": "The model does not exist or you do not have access to it.",
            "missing_model": "You must provide a model parameter.",
        }[self.code]
        return InBandRefusal(self.code, message, close)


EXPIRED: Final = "Ephemeral token expired"


class ExpiredKey(Fault, frozen=True, kw_only=True, tag="expired_key"):
    """The socket opens, and the first request, like every one after it, is answered with "Ephemeral token expired".

    Client: mints a new secret and reconnects.
    """

    def asked(self, here: Here) -> Effect:
        """Nothing reaches the server."""

        def refuse(event: Json) -> tuple[Move, ...]:
            return (here.error(None, EXPIRED, about=event),) if here.strikes() else (Ask(event),)

        return refuse


class NoSession(Fault, frozen=True, kw_only=True, tag="no_session"):
    """`session.created` never comes.

    Client: gives up after about 10 s.
    """

    def said(self, here: Here) -> Effect:
        """One event is swallowed."""
        return when_said("session.created", here, nothing)


class SlowSettings(Fault, frozen=True, kw_only=True, tag="slow_settings"):
    """`session.updated` comes late.

    Client: keeps the microphone's sound, or drops it and says so.
    """

    delay_s: Seconds = 5.0

    def said(self, here: Here) -> Effect:
        """Only this event is late."""
        return when_said("session.updated", here, lambda event: (Say(event, self.delay_s),))


class WrongFormat(Fault, frozen=True, kw_only=True, tag="wrong_format"):
    """`session.updated` shows another output format than was asked for; the sound itself does not change.

    Client: notices, and does not play noise.
    """

    format: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate_hz: Annotated[int, Meta(ge=8_000, le=48_000)] | None = 16_000

    def said(self, here: Here) -> Effect:
        """The settings lie."""
        shown = {"type": self.format} | ({"rate": self.rate_hz} if self.format == "audio/pcm" else {})

        def lie(event: Json) -> tuple[Move, ...]:
            session = event["session"]
            audio = session.get("audio") or {}
            output = {**(audio.get("output") or {}), "format": shown}
            return (Say({**event, "session": {**session, "audio": {**audio, "output": output}}}),)

        return when_said("session.updated", here, lie)


class WrongExpiry(Fault, frozen=True, kw_only=True, tag="wrong_expiry"):
    """`session.expires_at` (unix seconds) is 0, in the past or far away.

    Client: does not trust it blindly: no renewal in a loop, none that never comes.
    """

    expires_at: Annotated[int, Meta(ge=0, le=1 << 40)] = 0

    def said(self, here: Here) -> Effect:
        """Wherever the session is shown."""

        def lie(event: Json) -> tuple[Move, ...]:
            return (Say({**event, "session": {**event["session"], "expires_at": self.expires_at}}),)

        return when_said(frozenset({"session.created", "session.updated"}), here, lie)
