"""The doors to the world. Each interface has a real and a simulated implementation; times are the host clock's (trio).

Errors raised through these doors are only those of `vocabulary.errors`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from pipeline.vocabulary.signals import NO_GLITCHES, Command, Glitches, Secret


class InputBlock(NamedTuple):
    """What the microphone heard in one block.

    Attributes:
        pcm: s16le mono at RATE_HZ, `frame_ms` long (the last block of a finite input is padded with silence).
        captured_s: host clock when its first sample was heard.
        speech_end_s: a finite input's last speech sample lies in this block, at this host clock; else None.
        far: what left the loudspeaker during that time, as long as `pcm`, for whoever asks before the next block; None
            from a microphone that cannot know.
        no_hurry: to be called by whoever can wait, before the next block; tells how many will come together then. None
            from a microphone that saves nothing thereby.
        glitches: what befell the sound before this block since the last one.
    """

    pcm: bytes
    captured_s: float
    speech_end_s: float | None = None
    far: Callable[[], bytes] | None = None
    no_hurry: Callable[[], int] | None = None
    glitches: Glitches = NO_GLITCHES


class InputDevice(Protocol):
    """A microphone, or what stands in for one."""

    @property
    def name(self) -> str:
        """For people: `wav:question.wav`."""
        ...

    def open(self, frame_ms: int) -> AbstractAsyncContextManager[AsyncIterator[InputBlock]]:
        """Open the device and yield its blocks, paced by the clock, until a finite input ends.

        Raises:
            DeviceError: it cannot be opened, or failed while open.
            AudioFileError: the file behind it cannot be used.
        """
        ...


class OutputRequest(NamedTuple):
    """The loudspeaker asks for its next block.

    Attributes:
        samples: how many it wants: a block.
        leaves_s: host clock when the first of them will leave the loudspeaker.
        blocks: so many it takes at once, where there are so many already; each asking costs the machine a wake-up.
        glitches: what befell the sound since the last request.
    """

    samples: int
    leaves_s: float
    blocks: int = 1
    glitches: Glitches = NO_GLITCHES


class OutputStream(Protocol):
    """An open loudspeaker: the clock of everything played."""

    async def wait_request(self) -> OutputRequest:
        """Wait until the device wants its next block. Raises DeviceError."""
        ...

    async def write(self, pcm: bytes | None) -> None:
        """Answer the request: 1 to `blocks` times `samples` s16le mono samples at RATE_HZ, or None: a block of silence.

        Raises:
            DeviceError: the device failed.
        """
        ...

    def cut(self, fade_ms: float) -> float | None:
        """Take back what was written and has not left: it fades out at once, and the rest is dropped. Never waits.

        Returns:
            Host clock when silence begins; None where nothing lies ready that could fade: the next block has to.
        """
        ...

    async def rest(self, until: Callable[[], Awaitable[None]]) -> None:
        """Play silence without asking for it, until `until` returns. Raises DeviceError, and what `until` raises."""
        ...


class OutputDevice(Protocol):
    """A loudspeaker, or what stands in for one."""

    @property
    def name(self) -> str:
        """For people: `wav:reply.wav`."""
        ...

    def open(self, frame_ms: int) -> AbstractAsyncContextManager[OutputStream]:
        """Open the device. Raises DeviceError or AudioFileError."""
        ...


class Connection(Protocol):
    """One open WebSocket.

    One task sends, one receives. `send` is never cancelled by its caller half way: a cancelled send would leave half a
    frame on the wire, so the connection shields it under its own deadline, and is cancelled only once it has sent.
    """

    async def send(self, text: str) -> None:
        """Send one text message. Raises ConnectionLostError."""
        ...

    async def receive(self) -> str:
        """Next text message. Raises ConnectionLostError, also for a clean close nobody asked for (1000, 1001)."""
        ...

    async def ping(self) -> None:
        """Send a ping and wait for its pong. Raises ConnectionLostError."""
        ...


class Connector(Protocol):
    """Opens WebSockets to the Realtime service."""

    def connect(self, secret: Secret) -> AbstractAsyncContextManager[Connection]:
        """Connect with this client secret; leaving the context closes within 1 s, by force if need be.

        Raises:
            ConnectionLostError, ServiceBusyError, CredentialExpiredError, CredentialRefusedError, ServiceRefusedError.
        """
        ...


class Minted(NamedTuple):
    """A client secret and its remaining life, measured against the server's own clock."""

    secret: Secret
    life_s: float


class TokenSource(Protocol):
    """Mints client secrets."""

    async def mint(self) -> Minted:
        """Ask for a fresh client secret.

        Raises:
            ConnectionLostError, ServiceBusyError, ProtocolError, CredentialRefusedError.
        """
        ...


class CommandSource(Protocol):
    """A person or a program that steers the call: a key, a button, a script."""

    def commands(self) -> AsyncGenerator[Command, None]:
        """Yield commands as they come; ends when there will be none."""
        ...
