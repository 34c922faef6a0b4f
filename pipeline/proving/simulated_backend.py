"""The simulated token backend: `tokens.policy` and the service's own mint behind the real token client.

The client's HTTP library gets a transport instead of a socket, so its reading of answers is the one that ships.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from enum import Enum
from http import HTTPStatus
from typing import Final

import httpx
import msgspec
import trio

from pipeline.proving import happenings as hp
from pipeline.proving.network import DELAY_S, Network
from pipeline.proving.trace import Trace
from pipeline.server.admission import Admission
from pipeline.tokens.policy import Answer, MintLimit, judge_provider, refuse
from pipeline.vocabulary.signals import Secret

CANARY: Final = "ek_canary_"
"""Every client secret begins with it, so that it can be searched for where no secret belongs."""
LIFE_S: Final = 600
"""Of a client secret."""
BUSY_S: Final = 20.0
"""What a busy backend asks for in Retry-After."""
THINKS_S: Final = 0.04
"""How long an answer takes."""


class BackendFault(Enum):
    """What ails the backend."""

    REFUSES = "401"
    FORBIDS = "403"
    BUSY = "429"
    BROKEN = "503"
    HANGS = "hangs"
    GARBAGE = "garbage"


class SimulatedBackend(httpx.AsyncBaseTransport):
    """Answers the token client.

    Attributes:
        minted: client secrets so far.
    """

    def __init__(self, trace: Trace, network: Network, admission: Admission, wall_s: Callable[[], float]) -> None:
        self.minted = 0
        self._trace = trace
        self._network = network
        self._admission = admission
        self._wall_s = wall_s
        self._limit = MintLimit(60)
        self._faults: list[BackendFault] = []
        self._healed = trio.lowlevel.ParkingLot()

    @contextmanager
    def ailing(self, fault: BackendFault) -> Iterator[None]:
        """This ails it meanwhile."""
        self._faults.append(fault)
        try:
            yield
        finally:
            self._faults.remove(fault)
            self._healed.unpark_all()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As httpx's transports; errors are httpx's."""
        self._trace.add(hp.Attempted())
        await self._travel(request)
        await trio.sleep(THINKS_S)
        while BackendFault.HANGS in self._faults:
            await self._healed.park()
        answer, secret = self._answer(request.headers["X-Device-Id"])
        pause = answer.headers.get("Retry-After")
        self._trace.add(hp.Minted(answer.status, secret, None if pause is None else float(pause)))
        headers = answer.headers | {"Date": formatdate(self._wall_s(), usegmt=True)}
        return httpx.Response(answer.status, headers=headers, stream=httpx.ByteStream(answer.body), request=request)

    async def _travel(self, request: httpx.Request) -> None:
        """The same network as the service's: what stops one stops the other."""
        await trio.sleep(2 * DELAY_S)
        await self._network.pass_over()
        if self._network.refuses:
            self._trace.add(hp.Minted(0, 0, None))
            raise httpx.ConnectError("nobody listens", request=request) from ConnectionRefusedError()

    def _answer(self, device: str) -> tuple[Answer, int]:
        match self._faults[-1] if self._faults else None:
            case BackendFault.REFUSES:
                return refuse(HTTPStatus.UNAUTHORIZED, "who are you"), 0
            case BackendFault.FORBIDS:
                return refuse(HTTPStatus.FORBIDDEN, "not you"), 0
            case BackendFault.BUSY:
                return refuse(HTTPStatus.TOO_MANY_REQUESTS, "later", retry_after_s=BUSY_S), 0
            case BackendFault.BROKEN:
                return self._provided(HTTPStatus.SERVICE_UNAVAILABLE, b"down"), 0
            case BackendFault.GARBAGE:
                return Answer(status=200, body=b"<html>log in</html>", headers={"Content-Type": "text/html"}), 0
        pause_s = self._limit.take(device, trio.current_time())
        if pause_s is not None:
            return refuse(HTTPStatus.TOO_MANY_REQUESTS, "too many", retry_after_s=pause_s), 0
        return self._provided(HTTPStatus.OK, self._mint()), self.minted

    def _mint(self) -> bytes:
        """As the service answers the backend: a secret that opens sessions for LIFE_S."""
        self.minted += 1
        secret, expires_at = Secret(f"{CANARY}{self.minted}"), self._wall_s() + LIFE_S
        self._admission.mint(secret, None, expires_at=expires_at, now=self._wall_s())
        return msgspec.json.encode({"value": secret.value, "expires_at": int(expires_at), "session": {}})

    def _provided(self, status: int, body: bytes) -> Answer:
        date = formatdate(self._wall_s(), usegmt=True)
        return judge_provider(status, body, date=date, retry_after=None, wall_s=self._wall_s())


def secret_number(secret: Secret) -> int:
    """Which secret of this run it is; 0 if it is none."""
    number = secret.value.removeprefix(CANARY)
    return int(number) if number.isdigit() and number != secret.value else 0
