"""What a conversation asks of its shell (effects), and what the shell reports back (results)."""

from typing import NamedTuple

from pipeline.realtime.events import AudioFormat, Json, Tool
from pipeline.server.engines.interfaces import Ask


class Detect(NamedTuple):
    """Run voice activity detection over the next sound, whole samples of the wire; answered by `Heard`."""

    sound: bytes
    audio_format: AudioFormat


class RestartDetection(NamedTuple):
    """The sound that follows does not continue what was heard: begin with a fresh detector."""


class Recognise(NamedTuple):
    """Turn an utterance into words, once; answered by `Recognised` or `RecognitionFailed`."""

    utterance: int
    sound: bytes
    audio_format: AudioFormat


class StopRecognising(NamedTuple):
    """The words of this utterance are not wanted any more: it went on."""

    utterance: int


class Generate(NamedTuple):
    """Find the answer and speak it in this format, or only find it (None).

    Answered by `GeneratedText`, `GeneratedAudio`, `GeneratedCall` and `GeneratedArguments` as they become known, then
    by `GenerationEnded` or `GenerationFailed`. Words come ahead of their sound.
    """

    response_id: str
    ask: Ask
    spoken_as: AudioFormat | None
    speed: float = 1.0


class StopGenerating(NamedTuple):
    """Nothing more of this response is wanted."""

    response_id: str


class ListTools(NamedTuple):
    """Ask this tool server what it has; answered by `ToolsListed` or `ListingFailed`."""

    item_id: str
    server: Tool


class CallTool(NamedTuple):
    """Call a tool of this server with these arguments (JSON text); answered by `ToolAnswered` or `ToolFailed`."""

    response_id: str
    item_id: str
    server: Tool
    name: str
    arguments: str


class StopCalling(NamedTuple):
    """The answer to this call is not wanted any more."""

    item_id: str


class Hangup(NamedTuple):
    """Close the socket after everything said so far."""

    code: int
    reason: str


ToolWork = ListTools | CallTool | StopCalling
Effect = Detect | RestartDetection | Recognise | StopRecognising | Generate | StopGenerating | ToolWork | Hangup


class Heard(NamedTuple):
    """Probabilities of speech, one for each completed hop."""

    probabilities: list[float]
    hop_ms: float


class Recognised(NamedTuple):
    """The words of an utterance; empty if it holds no speech."""

    utterance: int
    text: str


class RecognitionFailed(NamedTuple):
    """The recogniser could not do it; `message` is for the client."""

    utterance: int
    message: str


class GeneratedText(NamedTuple):
    """The next words of the answer."""

    response_id: str
    text: str


class GeneratedCall(NamedTuple):
    """The answer calls this function; its arguments follow."""

    response_id: str
    name: str


class GeneratedArguments(NamedTuple):
    """The next characters of the last call's arguments."""

    response_id: str
    text: str


class GeneratedAudio(NamedTuple):
    """The next sound of the answer, in the format it was asked for."""

    response_id: str
    sound: bytes


class GenerationEnded(NamedTuple):
    """The answer is complete."""

    response_id: str


class GenerationFailed(NamedTuple):
    """There will be no more of this answer; `message` is for the client, `code` as the service has them."""

    response_id: str
    message: str
    code: str = "server_error"


class ToolsListed(NamedTuple):
    """What a tool server has, each tool as an item of the conversation shows it (`name`, `input_schema`, ...)."""

    item_id: str
    tools: list[Json]


class ListingFailed(NamedTuple):
    """The tool server gave no list."""

    item_id: str


class ToolAnswered(NamedTuple):
    """What a tool has answered."""

    response_id: str
    item_id: str
    output: str


class ToolFailed(NamedTuple):
    """A tool has not answered; `error` is what the call's item shows."""

    response_id: str
    item_id: str
    error: Json


class Tick(NamedTuple):
    """The deadline the conversation asked for has come."""


Generation = GeneratedText | GeneratedAudio | GeneratedCall | GeneratedArguments | GenerationEnded | GenerationFailed
ToolResult = ToolsListed | ListingFailed | ToolAnswered | ToolFailed
Result = Heard | Recognised | RecognitionFailed | Generation | ToolResult | Tick
