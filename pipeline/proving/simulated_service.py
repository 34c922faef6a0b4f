"""The simulated Realtime service: the real `server.conversation` behind real trio-websocket, on simulated wires.

Its shell does what `server.session` does, without HTTP framework, threads and models: the engines read the marks of
the simulated sound, and take virtual time. What it traces is what the oracle believes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from random import Random
from typing import Final

import trio
import trio_websocket
from wsproto.utilities import ProtocolError as WsprotoError

from pipeline.proving import happenings as hp
from pipeline.proving.network import End
from pipeline.proving.simulated_backend import secret_number
from pipeline.proving.simulated_session import Session, in_order
from pipeline.proving.trace import Trace
from pipeline.realtime import events as ev
from pipeline.realtime.codec import encode
from pipeline.server.admission import Admission, Admitted
from pipeline.server.conversation import Conversation
from pipeline.server.faults.catalogue import Fault
from pipeline.server.faults.door import HttpRefusal, InBandRefusal, Silence
from pipeline.server.faults.line import FaultLine
from pipeline.vocabulary.settings import ServerSettings
from pipeline.vocabulary.signals import Secret

MODEL: Final = "simulated"
HANDSHAKE_S: Final = 30.0
"""A client that has not asked for its upgrade by then is let go."""

_BREAKS: Final = (
    trio_websocket.ConnectionClosed,
    trio_websocket.HandshakeError,
    WsprotoError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)


class SimulatedService:
    """Takes clients in.

    Attributes:
        cap_s: how long sessions live that begin now.
        sessions: those open now, by the number of their wire.
    """

    def __init__(
        self,
        trace: Trace,
        admission: Admission,
        wall_s: Callable[[], float],
        frame_ms: int,
        seed: int,
        settings: ServerSettings,
    ) -> None:
        self.cap_s = settings.session_cap_s
        self.tokens_per_minute = settings.tokens_per_minute
        self.sessions: dict[int, Session] = {}
        self.trace = trace
        self.admission = admission
        self.wall_s = wall_s
        self.frame_ms = frame_ms
        self.seed = seed
        self.dice = Random(f"{seed} replies")  # noqa: S311 - reproducible, not a secret
        self._faults: tuple[Fault, ...] = ()
        self._replies: dict[str, int] = {}  # by response id
        self._ids = count(1)
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Serve for ever."""
        async with trio.open_nursery() as self._nursery:
            await trio.sleep_forever()

    def accept(self, end: End) -> None:
        """A wire has come in."""
        assert self._nursery is not None, "it runs"
        self._nursery.start_soon(self._serve, end)

    def new_id(self, prefix: str) -> str:
        """The same ids in every run."""
        return f"{prefix}_{next(self._ids)}"

    def number_reply(self, response_id: str) -> int:
        """Replies are numbered as they are met."""
        return self._replies.setdefault(response_id, len(self._replies) + 1)

    @contextmanager
    def spoilt(self, *faults: Fault) -> Iterator[None]:
        """These faults work on every connection meanwhile, also on new ones."""
        self._use((*self._faults, *faults))
        try:
            yield
        finally:
            self._use(tuple(kept for kept in self._faults if not any(kept is fault for fault in faults)))

    def _use(self, faults: tuple[Fault, ...]) -> None:
        self._faults = faults
        for session in list(self.sessions.values()):
            session.use(faults)

    async def _serve(self, end: End) -> None:
        try:
            async with trio.open_nursery() as library:
                request = None
                with trio.move_on_after(HANDSHAKE_S):
                    request = await trio_websocket.wrap_server_stream(
                        library, end, message_queue_size=4, max_message_size=1 << 24, receive_buffer_size=1 << 16
                    )
                if request is not None:
                    await self._welcome(request, end)
                await trio.aclose_forcefully(end)
                library.cancel_scope.cancel()
        except* _BREAKS:
            pass  # the client, or the wire, is gone
        finally:
            session = self.sessions.pop(end.wire.number, None)
            if session is not None:
                session.ended.set()
            await trio.aclose_forcefully(end)

    async def _welcome(self, request: trio_websocket.WebSocketRequest, end: End) -> None:
        wire = end.wire.number
        line = FaultLine(in_order(self._faults), seed=f"{self.seed} {wire}", now=trio.current_time())
        upgrade = line.upgrade()
        await trio.sleep(upgrade.delay_s)
        match upgrade.answer:
            case HttpRefusal(status, pause_s):
                await self._refuse(request, wire, status, pause_s)
                return
            case InBandRefusal() as refusal:
                await self._turn_away(request, wire, refusal)
                return
            case Silence():
                await trio.sleep(HANDSHAKE_S)
                return
        secret = Secret(dict(request.headers).get(b"authorization", b"").decode().removeprefix("Bearer "))
        now = self.wall_s()
        answer = self.admission.admit(secret, model=MODEL, intent="", beta=False, now=now)
        if not isinstance(answer, Admitted):
            await self._refuse(request, wire, 401, None)
            return
        self.trace.add(hp.Upgraded(wire, secret_number(secret), self.cap_s))
        session = self.sessions[wire] = Session(self, self._conversation(answer, now), end, line)
        try:
            await session.run(await request.accept())
        finally:
            self.admission.leave()

    def _conversation(self, admitted: Admitted, now: float) -> Conversation:
        return Conversation(
            admitted.session(self.new_id("sess"), expires_at=int(now + self.cap_s)),
            self.new_id,
            expires_s=trio.current_time() + self.cap_s,
            cap_s=self.cap_s,
            tokens_per_minute=self.tokens_per_minute,
        )

    async def _refuse(
        self, request: trio_websocket.WebSocketRequest, wire: int, status: int, pause_s: int | None
    ) -> None:
        self.trace.add(hp.Refused(wire, status, pause_s))
        await request.reject(status, extra_headers=[] if pause_s is None else [(b"Retry-After", b"%d" % pause_s)])

    async def _turn_away(self, request: trio_websocket.WebSocketRequest, wire: int, refusal: InBandRefusal) -> None:
        self.trace.add(hp.Refused(wire, refusal.close.code, None))
        socket = await request.accept()
        body = ev.ErrorBody(type="invalid_request_error", code=refusal.code, message=refusal.message)
        await socket.send_message(encode(ev.ErrorEvent(event_id=self.new_id("event"), error=body)))
        await socket.aclose(refusal.close.code, refusal.close.reason)
