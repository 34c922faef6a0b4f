"""`talkwire demo`: one spoken question, one spoken answer, and how long it took."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter
from msgspec.structs import replace

from pipeline.cli import INTERRUPTED, say
from pipeline.cli.options import Config, Json, Set
from pipeline.cli.programs import Program, Start, open_programs
from pipeline.edges.keys import read_api_key
from pipeline.vocabulary.configuration import load, printable, shipped
from pipeline.vocabulary.errors import ConfigurationError, Problem, UsageError
from pipeline.vocabulary.settings import Settings
from pipeline.vocabulary.signals import Secret

Input = Annotated[
    Path | None, Parameter(name="--input", help="A recorded question (WAV); without it a shipped one is asked.")
]
Output = Annotated[Path, Parameter(name="--output", help="Folder for the reply, the timeline and the result.")]
PushToTalk = Annotated[
    bool,
    Parameter(name="--push-to-talk", negative=(), show_default=False, help="A key ends the question, not silence."),
]
OpenAI = Annotated[
    bool,
    Parameter(
        name="--openai",
        negative=(),
        show_default=False,
        help="Ask the real OpenAI service; the key comes from OPENAI_API_KEY or the file OPENAI_API_KEY_FILE.",
    ),
]


def demo(
    *,
    input_: Input = None,
    output: Output = Path("talkwire-demo"),
    push_to_talk: PushToTalk = False,
    openai: OpenAI = False,
    config: Config = (),
    set_: Set = (),
    json: Json = False,
) -> int:
    """Ask one spoken question and hear the answer: no key, no network and no sound card needed.

    Starts the local Realtime server, the token backend and the endpoint, plays the question to them and records the
    reply. A settings file whose service.url is elsewhere takes that service instead of the local one.
    """
    files = [*([shipped("openai.toml")] if openai else []), *config]
    settings = load(files, set_)
    key = _key(settings)
    question = _placeable((input_ or shipped("questions") / "opening_hours.wav").absolute())
    output = _folder(_placeable(output.absolute()))
    arguments = [f"--config={path.absolute()}" for path in files] + [f"--set={override}" for override in set_]
    with TemporaryDirectory(prefix="talkwire-") as private, open_programs() as start:
        server, backend, endpoint = _start(settings, arguments, start)

        # Only now, while the programs load theirs: our own heavy libraries.
        from pipeline.cli.call_record import CallRecord
        from pipeline.cli.dialogue import Dialogue, hold, write_result
        from pipeline.cli.interruption import perform
        from pipeline.cli.screen import PipedConsole, Screen
        from pipeline.edges.token_client import TokenClient
        from pipeline.edges.wav import read_wav
        from pipeline.vocabulary.frames import BYTES_PER_MS

        mint = replace(settings.token, source="provider", url=settings.tokens.provider_url)
        dialogue = Dialogue(
            server=server,
            provider=TokenClient(mint, model=settings.conversation.model, key=key) if key and not server else None,
            backend=backend,
            endpoint=endpoint,
            question=question,
            question_s=len(read_wav(question)) / BYTES_PER_MS / 1000,
            output=output,
            private=Path(private),
            push_to_talk=push_to_talk,
        )
        record = CallRecord()
        with Screen(PipedConsole(stderr=json, quiet=json and not sys.stderr.isatty())) as screen:
            screen.starting("local server, token backend, endpoint" if server else "token backend, endpoint")
            status = perform(partial(hold, dialogue, record, screen))
    if status or record.finished is None:
        return status or INTERRUPTED  # also by SIGTERM: there is no result
    result = write_result(dialogue, record)
    screen.conclude(result.timeline_ms, result.files)
    if json:
        import msgspec

        say(msgspec.json.encode(result).decode())
    return 0


def _start(settings: Settings, arguments: Sequence[str], start: Start) -> tuple[Program | None, Program, Program]:
    """All programs at once, for loading their libraries takes longest."""
    local = urlsplit(settings.service.url).scheme == "ws"  # only a service of this machine may be
    return (
        start("local server", "serve", *arguments, "--port=0") if local else None,
        start("token backend", "tokens", *arguments, "--port=0"),
        start("endpoint", "run", *arguments),
    )


def _key(settings: Settings) -> Secret | None:
    """The key, which may be missing only where the provider is this machine. Raises ConfigurationError."""
    key = read_api_key(os.environ)
    if key is None and urlsplit(settings.tokens.provider_url).scheme != "http":
        places = "OPENAI_API_KEY, the file OPENAI_API_KEY_FILE or the systemd credential openai_api_key"
        raise ConfigurationError([Problem("", f"the service needs an API key and there is none: give it in {places}")])
    return key


def _placeable(path: Path) -> Path:
    if not str(path).isprintable():
        raise UsageError(f"{printable(str(path))}: a path with such characters cannot stand in the settings")
    return path


def _folder(path: Path) -> Path:
    """Make it, if need be. Raises UsageError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(0, "permission denied")
    except OSError as error:
        raise UsageError(f"cannot write into {printable(str(path))}: {error.strerror}") from error
    return path
