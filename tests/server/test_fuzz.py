"""Whatever a client sends, in whatever order, with whatever the engines make of it meanwhile.

The conversation never raises; what it refuses it answers by exactly one error, with the event's own id, and nothing
else changes; all it says is what the official client knows; what it keeps is bounded.
"""

import base64
import copy
import json
from collections.abc import Callable, Iterator
from typing import Any, get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.realtime.codec import encode
from pipeline.realtime.events import ClientEvent, ErrorEvent, Event, Session, Tool
from pipeline.server import work
from pipeline.server.answers import MAX_OUT_OF_BAND
from pipeline.server.items import MAX_ITEMS, MAX_KEPT_SOUND_BYTES
from pipeline.server.session_settings import default_session, default_transcription_session, updated
from pipeline.server.tool_servers import MAX_LISTS
from pipeline.server.transcriptions import MAX_AWAITED
from pipeline.vocabulary.frames import BYTES_PER_MS
from tests.official import flaw_of
from tests.wire_records import records

HOP_MS = 32
EVENT_IDS = st.integers(0, 10**6).map(lambda number: f"mine_{number}")
TOWN = {"type": "mcp", "server_label": "town", "server_url": "https://town.example"}
PNG = "data:image/png;base64,AAAA"
JUNK: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 2**31, 2**63, 10**400, -(10**400), 1e308, -0.0, 0.5, "", "inf", "\x00", "é" * 300]),
    st.just("x" * 20_000),
    st.just([]),
    st.just({}),
    st.integers(1, 60).map(lambda depth: json.loads("[" * depth + "]" * depth)),
    st.just([{"type": "input_text", "text": "x"}] * 50),
)
NO_EVENTS = st.sampled_from(
    ["", "{", "[]", "null", '"x"', '{"type":' + "[" * 100_000, '{"type":"session.update","session":' + '{"a":' * 5_000]
)


def _message(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": list(parts)}


def _sound(duration_ms: float) -> str:
    return base64.b64encode(bytes(int(duration_ms * BYTES_PER_MS))).decode()


ITEMS: st.SearchStrategy[dict[str, Any]] = st.sampled_from([
    _message("user", {"type": "input_text", "text": "Hello?"}),
    _message("user", {"type": "input_text", "text": "Look."}, {"type": "input_image", "image_url": PNG}),
    _message("user", {"type": "input_audio", "audio": _sound(150)}),
    _message("user", {"type": "input_audio", "audio": _sound(150), "transcript": "Hello?"}),
    _message("assistant", {"type": "output_text", "text": "Hi."}),
    _message("assistant", {"type": "output_audio", "audio": _sound(10)}),
    _message("system", {"type": "input_text", "text": "Be brief."}),
    {"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_1", "output": "42"},
    {"type": "mcp_approval_response", "approval_request_id": "a", "approve": True},
])  # fmt: skip
SESSIONS: st.SearchStrategy[dict[str, Any]] = st.sampled_from([
    {},
    {"instructions": "Be brief.", "max_output_tokens": 12},
    {"output_modalities": ["text"]},
    {"tools": [{"type": "function", "name": "look_up", "parameters": {"type": "object"}}], "tool_choice": "required"},
    {"audio": {"output": {"voice": "marin", "speed": 1.25}}},
    {"audio": {"output": {"voice": {"id": "voice_1"}}}},
    {"audio": {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcma"}}}},
    {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}}}},
    {"audio": {"input": {"transcription": {"model": "any", "language": "en"}}}},
    {"audio": {"input": {"turn_detection": None, "noise_reduction": {"type": "near_field"}}}},
    {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}}},
    {"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}}},
    {"audio": {"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}}},
    {"tools": [{**TOWN, "require_approval": "never"}]},
    {"tools": [{**TOWN, "headers": {"X-Key": "x"}}, {"type": "function", "name": "look_up"}]},
    {"tracing": "auto", "truncation": {"type": "retention_ratio", "retention_ratio": 0.5}, "include": []},
])  # fmt: skip


def _plausible(item_ids: st.SearchStrategy[str], response_ids: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Events a client may well send, about these items and responses."""
    approvals = st.builds(
        lambda item_id, approve: {
            "type": "conversation.item.create",
            "item": {"type": "mcp_approval_response", "approval_request_id": item_id, "approve": approve},
        },
        item_ids,
        st.booleans(),
    )
    references = item_ids.map(lambda item_id: {"type": "item_reference", "id": item_id})
    response = st.fixed_dictionaries(
        {},
        optional={
            "conversation": st.sampled_from(["auto", "none"]),
            "input": st.lists(ITEMS | references, max_size=3),
            "output_modalities": st.sampled_from([["text"], ["audio"]]),
            "max_output_tokens": st.sampled_from([1, 4096, "inf"]),
            "metadata": st.just({"topic": "any"}),
            "tool_choice": st.sampled_from(["none", {"type": "function", "name": "look_up"}]),
            "audio": st.just({"output": {"voice": "cedar", "format": {"type": "audio/pcmu"}}}),
        },
    )
    positions = st.fixed_dictionaries({"content_index": st.integers(0, 1), "audio_end_ms": st.integers(0, 700)})
    return st.one_of(
        approvals,
        st.integers(0, 700).map(lambda ms: {"type": "input_audio_buffer.append", "audio": _sound(ms)}),
        st.sampled_from(["input_audio_buffer.commit", "input_audio_buffer.clear"]).map(lambda kind: {"type": kind}),
        st.builds(lambda kind, changes: {"type": "session.update", "session": {"type": kind, **changes}},
                  st.sampled_from(["realtime", "realtime", "transcription"]), SESSIONS),
        st.builds(
            lambda item, item_id, before: {
                "type": "conversation.item.create",
                "item": {**item, **({"id": item_id} if item_id else {})},
                "previous_item_id": before,
            },
            ITEMS,
            st.none() | item_ids,
            st.none() | st.just("root") | item_ids,
        ),
        st.builds(lambda kind, item_id: {"type": f"conversation.item.{kind}", "item_id": item_id},
                  st.sampled_from(["retrieve", "delete"]), item_ids),
        st.builds(lambda item_id, position: {"type": "conversation.item.truncate", "item_id": item_id, **position},
                  item_ids, positions),
        response.map(lambda params: {"type": "response.create", "response": params}),
        st.builds(lambda response_id: {"type": "response.cancel", "response_id": response_id},
                  st.none() | response_ids),
    )  # fmt: skip


@st.composite
def _mutated(draw: st.DrawFn, events: st.SearchStrategy[Any]) -> Any:
    """One of these with one field gone, exchanged or added somewhere inside."""
    event = copy.deepcopy(draw(events))
    holder, key = draw(st.sampled_from(list(_places(event))))
    match draw(st.sampled_from(["exchange", "drop", "add"])):
        case "exchange":
            holder[key] = draw(JUNK)
        case "drop":
            del holder[key]
        case "add" if isinstance(holder, dict):
            holder[draw(st.sampled_from(["future", "id", "text", "type", "output", "tools"]))] = draw(JUNK)
    return event


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


ANY_FIELDS = st.sampled_from(get_args(ClientEvent)).flatmap(records).map(lambda event: json.loads(encode(event)))


class Run:
    """One conversation on the bench, and what its shell would have under way."""

    def __init__(self, bench: Any, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.bench = bench
        self.draw = draw
        self.over = False
        self.item_ids = {"mine_1", "mine_2"}
        self.response_ids = {"resp_none"}
        self.recognising: list[work.Recognise] = []
        self.generating: dict[str, work.Generate] = {}
        self.listing: list[work.ListTools] = []
        self.calling: dict[str, work.CallTool] = {}
        self.under_way: dict[str, type] = {}  # what the answer's last piece was, by response
        self.unheard_ms = 0.0
        self.take(bench.outputs)

    def step(self) -> None:
        """The client or the shell does something."""
        (self.client if self.draw(st.integers(0, 2)) else self.shell)()

    def client(self) -> None:
        plausible = _plausible(st.sampled_from(sorted(self.item_ids)), st.sampled_from(sorted(self.response_ids)))
        kinds = {"plausible": plausible, "mutated": _mutated(plausible), "any": ANY_FIELDS, "none": NO_EVENTS}
        wanted = kinds[self.draw(st.sampled_from(["plausible"] * 6 + ["mutated"] * 2 + ["any", "none"]))]
        event = self.draw(wanted)
        if isinstance(event, dict):
            event["event_id"] = self.draw(EVENT_IDS)
        outputs = self.do(lambda: self.bench.client(event if isinstance(event, str) else json.dumps(event)))
        errors = [output for output in outputs if isinstance(output, ErrorEvent)]
        if isinstance(event, str):
            assert [error.error.event_id for error in errors] == [None]
            return
        if any(error.error.event_id for error in errors):
            (refusal,) = outputs
            assert refusal.error.event_id == event["event_id"]
            assert refusal.error.code
            assert refusal.error.message

    def shell(self) -> None:
        match self.draw(st.sampled_from(["hear", "recognise", "generate", "generate", "list", "call", "call", "wait"])):
            case "hear" if self.unheard_ms >= HOP_MS:
                hops = int(self.unheard_ms / HOP_MS)
                self.unheard_ms -= hops * HOP_MS
                probability = self.draw(st.sampled_from([0.0, 0.9]))
                self.work(work.Heard([probability] * hops, HOP_MS))
            case "recognise" if self.recognising:
                utterance = self.recognising.pop(0).utterance
                words = self.draw(st.sampled_from(["", "Hello?", None]))
                heard = (
                    work.RecognitionFailed(utterance, "no ears") if words is None else work.Recognised(utterance, words)
                )
                self.work(heard)
            case "generate" if self.generating:
                self.generate(self.draw(st.sampled_from(sorted(self.generating))))
            case "list" if self.listing:
                self.list_tools()
            case "call" if self.calling:
                wanted = self.calling.pop(self.draw(st.sampled_from(sorted(self.calling))))
                ids, error = (wanted.response_id, wanted.item_id), {"type": "tool_execution_error", "message": "no"}
                self.work(self.draw(st.sampled_from([work.ToolAnswered(*ids, "42"), work.ToolFailed(*ids, error)])))
            case "wait":
                self.bench.now += self.draw(st.sampled_from([0.01, 1.0, 8.0, 700.0]))
                if self.bench.now >= self.bench.conversation.next_deadline_s():
                    self.work(work.Tick())

    def list_tools(self) -> None:
        item_id = self.listing.pop(0).item_id
        tools = [{"name": "look_up", "input_schema": {"type": "object"}}]
        self.work(self.draw(st.sampled_from([work.ToolsListed(item_id, tools), work.ListingFailed(item_id)])))

    def generate(self, response_id: str) -> None:
        """The next piece of an answer: sound follows words, arguments follow a call."""
        pieces: list[Any] = [
            work.GeneratedText(response_id, "Well, yes."),
            work.GeneratedCall(response_id, self.draw(st.sampled_from(["look_up", "town__look_up"]))),
            work.GenerationEnded(response_id),
            work.GenerationFailed(response_id, "no voice"),
        ]
        if self.generating[response_id].ask.tools:
            pieces += [work.GeneratedCall(response_id, "look_up")] * 4
        last = self.under_way.get(response_id)
        if last is work.GeneratedText and self.generating[response_id].spoken_as is not None:
            pieces += [work.GeneratedAudio(response_id, bytes(4_800))] * 3
        if last is work.GeneratedCall:
            pieces += [work.GeneratedArguments(response_id, "{}")] * 3
        piece = self.draw(st.sampled_from(pieces))
        if isinstance(piece, work.GeneratedText | work.GeneratedCall):
            self.under_way[response_id] = type(piece)
        if isinstance(piece, work.GenerationEnded | work.GenerationFailed):
            del self.generating[response_id]
        self.work(piece)

    def work(self, result: work.Result) -> None:
        self.do(lambda: self.bench.work(result))

    def do(self, act: Callable[[], Any]) -> list[Any]:
        before = len(self.bench.outputs)
        act()
        outputs = self.bench.outputs[before:]
        self.take(outputs)
        self.check_bounds()
        return list(outputs)

    def take(self, outputs: list[Any]) -> None:
        for output in outputs:
            match output:
                case work.Detect():
                    self.unheard_ms += len(output.sound) / (48 if output.audio_format.type == "audio/pcm" else 8)
                case work.RestartDetection():
                    self.unheard_ms = 0.0
                case work.Hangup():
                    self.over = True
                case Event():
                    self.told(output)
                case _:
                    self.begin_or_stop(output)

    def begin_or_stop(self, wanted: Any) -> None:
        """Keep what is under way; a KeyError here: what is to stop was not."""
        match wanted:
            case work.Recognise():
                self.recognising.append(wanted)
            case work.StopRecognising():
                self.recognising = [each for each in self.recognising if each.utterance != wanted.utterance]
            case work.Generate():
                assert wanted.response_id not in self.generating, "one round of an answer at a time"
                self.generating[wanted.response_id] = wanted
            case work.StopGenerating():
                del self.generating[wanted.response_id]
            case work.ListTools():
                self.listing.append(wanted)
            case work.CallTool():
                self.calling[wanted.item_id] = wanted
            case work.StopCalling():
                del self.calling[wanted.item_id]

    def told(self, event: Any) -> None:
        message = encode(event)
        assert not (flaw := flaw_of(message)), flaw
        said = json.loads(message)
        if isinstance(item := said.get("item"), dict):
            self.item_ids.add(item["id"])
        if isinstance(response := said.get("response"), dict):
            self.response_ids.add(response["id"])

    def check_bounds(self) -> None:
        conversation = self.bench.conversation
        assert len(list(conversation._desk.items)) <= MAX_ITEMS
        assert sum(len(entry.sound) for entry in conversation._desk.items) <= MAX_KEPT_SOUND_BYTES
        assert len(self.recognising) <= MAX_AWAITED
        assert len(self.generating) <= MAX_OUT_OF_BAND + 1
        assert len(self.listing) <= MAX_LISTS


def _with_tools(approval: str) -> Session:
    """A session that calls tools of a server."""
    tools = [msgspec.convert({**TOWN, "require_approval": approval}, Tool)]
    wanted = Session(type="realtime", tools=tools, output_modalities=["text"])
    return updated(default_session("model", "heart"), wanted, voice_locked=False)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_nothing_a_client_does_surprises_the_conversation(data: st.DataObject, make_bench: Any) -> None:
    kind = data.draw(
        st.sampled_from([None, default_transcription_session(), _with_tools("never"), _with_tools("always")])
    )
    run = Run(make_bench(cap_s=1_800, settings=kind), data.draw)
    if run.listing:
        run.list_tools()
    for _ in range(data.draw(st.integers(1, 60))):
        run.step()
        if run.over:
            break
