"""The line to the service: secret, socket, settings, loss and backoff, as a table and its actions."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from pipeline.core import effects as fx
from pipeline.core.credential import is_usable
from pipeline.core.machine import Desk, Machine
from pipeline.core.retry import Backoff
from pipeline.core.service_fault import error_fault, is_benign, session_fault
from pipeline.realtime import events as ev
from pipeline.realtime import exchange as ex
from pipeline.realtime.session_config import without_voice
from pipeline.vocabulary import signals as sg
from pipeline.vocabulary.errors import Fault, Verdict
from pipeline.vocabulary.settings import RetrySettings, ServiceSettings

DRAIN_S: Final = 2.0
"""Longest wait for network to close the socket and render its books."""
SECRETS_REFUSED_MAX: Final = 3
"""So many fresh client secrets refused in a row mean that the key behind them is wrong."""


class Line(StrEnum):
    """States of the line to the service."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CONFIGURING = "configuring"
    LIVE = "live"
    BACKOFF = "backoff"
    DRAINING = "draining"
    CLOSED = "closed"


class On(StrEnum):
    """What happens to the line."""

    START = "start"
    GRANTED = "token granted"
    OPENED = "socket open"
    CREATED = "session created"
    UPDATED = "settings confirmed"
    LOST = "lost"
    DUE = "time is up"
    STOP = "stop"
    CLOSED = "closed"


L = Line
LINE: Final[dict[tuple[Line, On], tuple[Line, str]]] = {
    (L.IDLE, On.START): (L.CONNECTING, "ask_token"),
    (L.CONNECTING, On.GRANTED): (L.CONNECTING, "open_socket"),
    (L.CONNECTING, On.OPENED): (L.CONFIGURING, "await_session"),
    (L.CONNECTING, On.LOST): (L.BACKOFF, "back_off"),
    (L.CONNECTING, On.DUE): (L.BACKOFF, "time_out"),
    (L.CONFIGURING, On.CREATED): (L.CONFIGURING, "send_settings"),
    (L.CONFIGURING, On.UPDATED): (L.LIVE, "go_live"),
    (L.CONFIGURING, On.LOST): (L.BACKOFF, "back_off"),
    (L.CONFIGURING, On.DUE): (L.BACKOFF, "time_out"),
    (L.LIVE, On.CREATED): (L.LIVE, "nothing"),  # sent twice by some services
    (L.LIVE, On.UPDATED): (L.LIVE, "nothing"),  # a service may adjust its own session
    (L.LIVE, On.LOST): (L.BACKOFF, "back_off"),
    (L.BACKOFF, On.DUE): (L.CONNECTING, "ask_token"),
    (L.BACKOFF, On.GRANTED): (L.BACKOFF, "nothing"),  # of the attempt that was just given up, as the next five
    (L.BACKOFF, On.OPENED): (L.BACKOFF, "nothing"),
    (L.BACKOFF, On.CREATED): (L.BACKOFF, "nothing"),
    (L.BACKOFF, On.UPDATED): (L.BACKOFF, "nothing"),
    (L.BACKOFF, On.LOST): (L.BACKOFF, "nothing"),
    (L.BACKOFF, On.CLOSED): (L.BACKOFF, "nothing"),
    (L.IDLE, On.STOP): (L.DRAINING, "hang_up"),
    (L.CONNECTING, On.STOP): (L.DRAINING, "hang_up"),
    (L.CONFIGURING, On.STOP): (L.DRAINING, "hang_up"),
    (L.LIVE, On.STOP): (L.DRAINING, "hang_up"),
    (L.BACKOFF, On.STOP): (L.DRAINING, "hang_up"),
    (L.DRAINING, On.STOP): (L.DRAINING, "nothing"),  # a second signal is the shell's business
    (L.DRAINING, On.GRANTED): (L.DRAINING, "nothing"),  # asked for before the end
    (L.DRAINING, On.OPENED): (L.DRAINING, "nothing"),
    (L.DRAINING, On.CREATED): (L.DRAINING, "nothing"),
    (L.DRAINING, On.UPDATED): (L.DRAINING, "nothing"),
    (L.DRAINING, On.LOST): (L.DRAINING, "nothing"),  # `closed` follows
    (L.DRAINING, On.CLOSED): (L.CLOSED, "finish"),
    (L.DRAINING, On.DUE): (L.CLOSED, "finish"),  # network does not answer; the end comes anyway
}
"""(state, event) → (next state, action)"""


class LineMachine(Machine[Line, On]):
    """Gets the line up and up again.

    Args:
        desk: where effects go.
        update: the settings sent to every new session.
        service: how long each phase of reaching it may take.
        backoff: when to try again.
        on_lost: told whenever a live or half-made line is gone, after the reason was published.
    """

    def __init__(
        self,
        desk: Desk,
        update: ev.SessionUpdate,
        service: ServiceSettings,
        backoff: Backoff,
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__("line", LINE, Line.IDLE, desk)
        self.was_live = False
        self.live_since_s = 0.0
        self.expires_at: int | None = None
        self.fault: Fault | None = None
        self.frames: dict[str, int] = {}
        self._update = update
        self._service = service
        self._backoff = backoff
        self._on_lost = on_lost
        self._secrets_refused = 0
        self._secret: sg.Secret | None = None
        self._sent: ev.SessionUpdate | None = None

    @property
    def is_live(self) -> bool:
        """Whether the service listens."""
        return self.state is Line.LIVE

    @property
    def wants_microphone(self) -> bool:
        """Whether the microphone is to be open: from the first live moment to the end, also while the line is down."""
        return self.was_live and self.state not in {Line.DRAINING, Line.CLOSED}

    @property
    def has_failed(self) -> bool:
        """Whether this line has ever been lost or refused since it was last long healthy."""
        return self.was_live or self._backoff.failures > 0

    @property
    def failure(self) -> Fault | None:
        """Why it is down for good, if trying again cannot help."""
        return self.fault if self.fault is not None and self.fault.verdict is Verdict.STOP else None

    # what happens to it

    def take_session(self, session: ev.Session) -> None:
        """The service says what its session is like; it may say only what has changed."""
        if session.expires_at is not None:
            self.expires_at = session.expires_at

    def take_token(self, token: sg.Token) -> None:
        """Credential answered."""
        if isinstance(token, sg.TokenFailure):
            self.lose(token.fault)
        elif not is_usable(token, self.desk.now):
            message = "the client secret was too old when it arrived; check tokens.secret_ttl_s"
            self.lose(Fault(kind="CredentialExpired", verdict=Verdict.RENEW, cause="expiry", message=message))
        else:
            self._secret = token.secret
            self.on(On.GRANTED)

    def take_error(self, event: ev.ErrorEvent) -> None:
        """The service reported an error: a race, a note, or the end of the session."""
        fault = session_fault(event, configuring=self.state is Line.CONFIGURING)
        if fault is not None:
            self.replace(fault)
        elif not is_benign(event):
            self.desk.publish(sg.FaultNotice(error_fault(event), retry_in_s=None))

    def take_books(self, frames: dict[str, int]) -> None:
        """Network has closed the socket and says what became of every captured frame."""
        self.frames = frames
        self.on(On.CLOSED)

    def replace(self, fault: Fault) -> None:
        """Give this session up and get another."""
        self.desk.tell(ex.Close(self.desk.generation))
        self.lose(fault)

    def lose(self, fault: Fault) -> None:
        """The line is lost, or could not be had."""
        if self.state in {Line.BACKOFF, Line.DRAINING}:
            return  # given up already: what is still said of it, one refusal perhaps often, is no news
        if fault.kind == "CredentialExpired":
            self._secrets_refused += 1
            if self._secrets_refused >= SECRETS_REFUSED_MAX:
                fault = msgspec.structs.replace(fault, kind="CredentialRefused", verdict=Verdict.STOP)
        if fault.verdict is Verdict.STOP:
            self.fail(fault)
            return
        self.fault = fault
        self.on(On.LOST)

    def fail(self, fault: Fault) -> None:
        """Something failed for good: tell why and hang up."""
        assert fault.verdict is Verdict.STOP, "anything else is tried again"
        self.desk.publish(sg.FaultNotice(fault, retry_in_s=None))
        self.fault = fault
        self.on(On.STOP)

    def adopt(self, update: ev.SessionUpdate, retry: RetrySettings) -> None:
        """Go on with other settings; a session that is live is told of them."""
        self._update = update
        self._backoff.adopt(retry)
        if self.is_live:
            self._send_change()

    # actions

    def _ask_token(self) -> None:
        self.desk.generation += 1
        self._backoff.attempt(self.desk.now)
        self.desk.set_timer("line", self._service.connect_deadline_s)
        self.desk.decide(fx.AskToken(sg.TokenAsk(self.desk.generation)))

    def _open_socket(self) -> None:
        self.expires_at = None
        assert self._secret is not None, "granted means there is a secret"
        self.desk.set_timer("line", self._service.connect_deadline_s)
        self.desk.tell(ex.Open(self.desk.generation, self._secret))
        self._secret = None

    def _await_session(self) -> None:
        self.desk.set_timer("line", self._service.configure_deadline_s)

    def _send_settings(self) -> None:
        self._sent = self._update
        self.desk.send(self._update)

    def _send_change(self) -> None:
        if self._update != self._sent:
            self._sent = self._update
            self.desk.send(without_voice(self._update))

    def _go_live(self) -> None:
        self.desk.drop_timer("line")
        self._backoff.healthy(self.desk.now)
        self._secrets_refused = 0
        self.live_since_s = self.desk.now
        self.desk.tell(ex.Flow(self.desk.generation))
        self._send_change()  # changed while the session was being configured
        self.was_live = True

    def _time_out(self) -> None:
        self.desk.tell(ex.Close(self.desk.generation))
        message = "the service did not answer in time; check service.url and the network"
        self.fault = Fault(kind="ConnectionLost", verdict=Verdict.RETRY, cause="timeout", message=message)
        self._back_off()

    def _back_off(self) -> None:
        assert self.fault is not None, "a line is lost for a reason"
        pause_s = self._backoff.lost(self.desk.now, self.fault) - self.desk.now
        self.desk.set_timer("line", pause_s)
        self.desk.publish(sg.FaultNotice(self.fault, retry_in_s=round(pause_s, 3)))
        self._on_lost()

    def _hang_up(self) -> None:
        self.desk.timers.clear()
        self.desk.set_timer("line", DRAIN_S)
        self.desk.tell(ex.Close(self.desk.generation))

    def _finish(self) -> None:
        self.desk.timers.clear()
