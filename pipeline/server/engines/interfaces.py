"""What the local server asks of its four engines. Sound is s16le mono at `RATE_HZ` everywhere.

Detector, recogniser and voice are bound by the processor: their calls are synchronous, may take tens of milliseconds
and run in worker threads. A brain may be a service somewhere else, so it is asynchronous and can be cancelled while it
waits. Recogniser, brain and voice are shared by all sessions, the former and the latter by several threads at once; a
`VoiceActivity` holds the state of one stream and belongs to one session.
"""

from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Literal, NamedTuple, Protocol

import msgspec

from pipeline.dsp.voice_activity import VoiceActivity
from pipeline.realtime.events import Tool
from pipeline.vocabulary.settings import ServerSettings
from pipeline.vocabulary.signals import Secret


class Recogniser(Protocol):
    """Turns an utterance into words."""

    def transcribe(self, pcm: bytes) -> str:
        """The words in the utterance with punctuation; empty if it holds no speech."""


class Line(msgspec.Struct, frozen=True):
    """One thing that was said or done in a conversation.

    Attributes:
        role: who; `call` is a tool the assistant called, `output` what that tool answered.
        text: the words; of a call its arguments (JSON text).
        images: pictures the user showed with it, as data URIs.
        name: the tool's, for `call`.
        call_id: ties a call and its output together.
    """

    role: Literal["system", "user", "assistant", "call", "output"]
    text: str
    images: tuple[str, ...] = ()
    name: str = ""
    call_id: str = ""


class Ask(msgspec.Struct, frozen=True):
    """What a brain is asked.

    Attributes:
        lines: everything said and done so far, oldest first; what is to be answered stands at the end.
        instructions: how to answer.
        tools: what may be called, as functions: the client's own, and tools of tool servers, which the server calls.
        tool_choice: `auto`, `none`, `required`, or the name of the one function that has to be called.
    """

    lines: tuple[Line, ...]
    instructions: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"

    @property
    def question(self) -> str:
        """The words of the last thing a user said; empty if there are none."""
        return next((line.text for line in reversed(self.lines) if line.role == "user"), "")


class Words(NamedTuple):
    """The next words of the answer, spaces included: joined, all of them are the answer."""

    text: str


class Call(NamedTuple):
    """The answer wants this function called; its `Arguments` follow."""

    name: str


class Arguments(NamedTuple):
    """The next characters of the JSON text of the last call's arguments."""

    text: str


Piece = Words | Call | Arguments


class Brain(Protocol):
    """Finds the words to answer with, or the functions to call first."""

    def answer(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """Yield the answer as it becomes known; at least one piece. Closed early if nobody wants the rest.

        Raises TalkwireError if there will be no (more of the) answer.
        """


class Voice(Protocol):
    """Speaks."""

    def speak(self, text: str, *, speed: float = 1.0) -> Iterator[bytes]:
        """The text as sound, sentence by sentence as it becomes ready; a caller who has enough stops iterating.

        Args:
            text: what to say.
            speed: 0.25 to 4, 1 as recorded, 2 twice as fast; pitch stays.
        """


class Setup(msgspec.Struct, frozen=True):
    """What an engine may know when it is made.

    Attributes:
        server: section `[server]` of the settings.
        chat_key: the key of the service at `server.chat_url`, if there is one.
    """

    server: ServerSettings
    chat_key: Secret | None = None


class Engines(msgspec.Struct, frozen=True):
    """How the engines of one server are made; each maker imports and loads what its engine needs.

    Attributes:
        voice_activity: makes a fresh detector, for every stream of sound.
        recogniser: called once, as the others below; the server calls them in this order, which is the order of need.
        brain: likewise.
        voice: likewise.
    """

    voice_activity: Callable[[], VoiceActivity]
    recogniser: Callable[[], Recogniser]
    brain: Callable[[], Brain]
    voice: Callable[[], Voice]
