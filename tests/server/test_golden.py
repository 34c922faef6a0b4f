"""The golden transcripts: the server still says the same, and the client survives them, cut off and strange as well.

pytest tests/server/test_golden.py --regenerate-golden
"""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from pipeline.core.devices import Devices
from pipeline.core.line import Line
from pipeline.core.session import Session, SessionPlan
from pipeline.realtime.codec import decode_server
from pipeline.realtime.events import (
    ResponseCreated,
    ResponseDone,
    ResponseOutputAudioDelta,
    ServerEvent,
    SessionCreated,
    SessionUpdate,
    SessionUpdated,
    UnknownEvent,
)
from pipeline.realtime.events import Session as Settings
from pipeline.realtime.exchange import Lost, Opened, Received, ReplyBegan
from pipeline.vocabulary import configuration
from pipeline.vocabulary.errors import ConnectionLostError
from pipeline.vocabulary.signals import Secret, TokenGrant
from tests.server.transcripts import read, replayed, truncated, with_sound, with_unknowns, write

GOLDEN = Path(__file__).with_name("golden")
WHOLE = sorted(path for path in GOLDEN.glob("*.jsonl") if "." not in path.stem)
VARIANTS = sorted(path for path in GOLDEN.glob("*.jsonl") if "." in path.stem)


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_the_server_says_the_same_again(path: Path, request: pytest.FixtureRequest) -> None:
    lines = replayed(read(path))
    if request.config.getoption("--regenerate-golden"):
        write(path, lines)
        write(path.with_suffix(".truncated.jsonl"), truncated(lines))
        write(path.with_suffix(".unknown.jsonl"), with_unknowns(lines))
    assert lines == read(path)


@pytest.mark.parametrize("path", [path for path in VARIANTS if ".truncated" in path.name], ids=lambda path: path.stem)
def test_a_session_that_is_cut_off_was_the_same_until_then(path: Path) -> None:
    lines = read(path)
    assert replayed(lines)[: len(lines)] == lines


@pytest.mark.parametrize("path", [*WHOLE, *VARIANTS], ids=lambda path: path.stem)
def test_the_client_survives_it(path: Path) -> None:
    call = Call()
    for event in server_events(path):
        if not isinstance(event, UnknownEvent):
            call.hears(event)
    call.lose()
    assert call.session.line.state in {Line.CONNECTING, Line.BACKOFF}, "it comes back, whatever it was cut off from"


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_what_a_newer_service_adds_changes_nothing_for_the_client(path: Path) -> None:
    plain = list(server_events(path))
    strange = list(server_events(path.with_suffix(".unknown.jsonl")))
    assert [event for event in strange if not isinstance(event, UnknownEvent)] == plain
    assert len(strange) > len(plain)


def server_events(path: Path) -> Iterator[ServerEvent | UnknownEvent]:
    """What the client makes of what the server said."""
    for line in read(path):
        if "server" in line and "close" not in line["server"]:
            yield decode_server(json.dumps(with_sound(line["server"])))


class Call:
    """The client's decisions, on a line that is open; responses are numbered as they are announced."""

    def __init__(self) -> None:
        shipped = configuration.load()
        plan = SessionPlan(
            update=SessionUpdate(session=Settings(type="realtime")),
            push_to_talk=False,
            hands_free=False,
            volume=1.0,
            service=shipped.service,
            retry=shipped.retry,
        )
        self.session = Session(plan, Random(1), Devices())
        self.now = 100.0
        self.turns: dict[str, int] = {}
        self.session.start(self.now)
        self.session.handle(TokenGrant(1, Secret("ek"), self.now + 30), self.now)
        self.session.handle(Opened(1), self.now)

    def hears(self, event: ServerEvent) -> None:
        self.now += 0.01
        turn = 0
        match event:
            case ResponseCreated():
                turn = self.turns.setdefault(event.response.id, len(self.turns) + 1)
            case ResponseDone():
                turn = self.turns.get(event.response.id, 0)
            case ResponseOutputAudioDelta():
                self.session.handle(ReplyBegan(1, self.turns[event.response_id], self.now), self.now)
                return
        self.session.handle(Received(1, turn, self.now, event), self.now)
        if isinstance(event, SessionCreated):  # the client always sends its settings, whoever the transcript is of
            self.hears(SessionUpdated(event_id="event_0", session=event.session))

    def lose(self) -> None:
        self.session.handle(Lost(1, ConnectionLostError("gone", cause="reset").fault()), self.now + 0.01)
