"""Tool servers in a conversation: lists, calls that this server makes, approvals. The servers themselves are played."""

import json
from typing import Any

import pytest

from pipeline.realtime.codec import encode
from pipeline.realtime.events import (
    ContentPart,
    ConversationItemCreate,
    ConversationItemDelete,
    ConversationItemDone,
    ErrorEvent,
    InputAudioBufferSpeechStarted,
    Item,
    McpListToolsInProgress,
    ResponseCancel,
    ResponseCreate,
    ResponseCreated,
    ResponseDone,
    ResponseOutputItemDone,
    ResponseParams,
    Session,
    SessionCreated,
    SessionUpdate,
    SessionUpdated,
    Tool,
    ToolChoice,
)
from pipeline.server.engines.interfaces import Line
from pipeline.server.response import MAX_ROUNDS
from pipeline.server.session_settings import default_session, updated
from pipeline.server.tool_servers import MAX_LISTS
from pipeline.server.work import (
    CallTool,
    Generate,
    GeneratedArguments,
    GeneratedCall,
    GeneratedText,
    GenerationEnded,
    ListingFailed,
    ListTools,
    Recognise,
    Recognised,
    StopCalling,
    StopGenerating,
    ToolAnswered,
    ToolFailed,
    ToolsListed,
)

CANARY = "canary-9f21"
SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}}
WEATHER = {"name": "get_weather", "input_schema": SCHEMA, "description": "Tells the weather."}
PAY = {"name": "pay", "input_schema": {"type": "object"}, "annotations": {"readOnlyHint": False}}
FUNCTION = Tool(type="function", name="get_weather")
ADDED = ["response.output_item.added", "conversation.item.added"]
DONE = ["conversation.item.done", "response.output_item.done"]
END = ["response.done", "rate_limits.updated"]


def server(label: str = "town", **settings: Any) -> Tool:
    defaults: dict[str, Any] = {"server_url": "https://town.example/mcp", "require_approval": "never"}
    return Tool(type="mcp", server_label=label, **(defaults | settings))


def use(bench: Any, *tools: Tool, lists: list[dict[str, Any]] | None = None) -> list[str]:
    """The session's tools are these; every server that is asked has the weather and a till, or these tools."""
    before = len(bench.outputs)
    said: list[str] = bench.client(
        SessionUpdate(session=Session(type="realtime", output_modalities=["text"], tools=list(tools)))
    )
    for output in bench.outputs[before:]:
        if isinstance(output, ListTools):
            said += bench.work(ToolsListed(output.item_id, [WEATHER, PAY] if lists is None else lists))
    return said


def ask(bench: Any, text: str = "Will it rain?", **params: Any) -> str:
    part = ContentPart(type="input_text", text=text)
    bench.client(ConversationItemCreate(item=Item(type="message", role="user", content=[part])))
    bench.client(ResponseCreate(response=ResponseParams(**params)))
    response_id: str = bench.last(ResponseCreated).response.id
    return response_id


def call(bench: Any, response_id: str, name: str = "get_weather", arguments: str = '{"place": "here"}') -> str:
    """The brain calls this; the call's id."""
    bench.work(GeneratedCall(response_id, name))
    bench.work(GeneratedArguments(response_id, arguments))
    bench.work(GenerationEnded(response_id))
    item_id: str = bench.last(CallTool).item_id
    return item_id


def requested(bench: Any) -> str:
    """The brain calls what needs an approval; the request's id."""
    response_id = ask(bench, "I want to pay.")
    bench.work(GeneratedCall(response_id, "pay"))
    bench.work(GeneratedArguments(response_id, "{}"))
    bench.work(GenerationEnded(response_id))
    (request,) = bench.last(ResponseDone).response.output
    assert request.type == "mcp_approval_request"
    item_id: str = request.id
    return item_id


def decide(bench: Any, request_id: str, *, approve: bool, **fields: Any) -> list[str]:
    item = Item(type="mcp_approval_response", approval_request_id=request_id, approve=approve, **fields)
    said: list[str] = bench.client(ConversationItemCreate(item=item))
    return said


def offered(bench: Any) -> list[str]:
    return [tool.name for tool in bench.last(Generate).ask.tools]


# lists


def test_a_server_is_asked_for_its_tools_and_the_list_is_an_item(bench: Any) -> None:
    assert use(bench, server()) == [
        "session.updated",
        "mcp_list_tools.in_progress",
        "conversation.item.added",
        "ListTools",
        "mcp_list_tools.completed",
        "conversation.item.done",
    ]
    item = bench.last(ConversationItemDone).item
    assert (item.type, item.server_label, item.tools) == ("mcp_list_tools", "town", [WEATHER, PAY])
    assert item.id == bench.last(McpListToolsInProgress).item_id


def test_a_list_that_failed_stays_as_an_empty_item_and_the_conversation_goes_on(bench: Any) -> None:
    use_without_answer = SessionUpdate(session=Session(type="realtime", tools=[server()]))
    bench.client(use_without_answer)
    said = bench.work(ListingFailed(bench.last(ListTools).item_id))
    assert said == ["mcp_list_tools.failed", "conversation.item.done"]
    assert bench.last(ConversationItemDone).item.tools == []
    ask(bench)
    assert offered(bench) == []


def test_a_list_is_asked_for_again_only_if_the_definition_changed_or_it_failed(bench: Any) -> None:
    use(bench, server())
    assert use(bench, server()) == ["session.updated"]
    assert bench.client(SessionUpdate(session=Session(type="realtime", instructions="Be brief."))) == [
        "session.updated"
    ]
    assert "ListTools" in use(bench, server(authorization="other"))
    bench.client(SessionUpdate(session=Session(type="realtime", tools=[server(headers={"X-Desk": "1"})])))
    bench.work(ListingFailed(bench.last(ListTools).item_id))
    assert "ListTools" not in bench.client(SessionUpdate(session=Session(type="realtime", instructions="Be kind.")))
    assert "ListTools" in use(bench, server(headers={"X-Desk": "1"}))


def test_a_session_that_begins_with_a_server_asks_it_at_once(make_bench: Any) -> None:
    wanted = Session(type="realtime", tools=[server(authorization=CANARY)])
    bench = make_bench(settings=updated(default_session("model", "heart"), wanted, voice_locked=False))
    said = [type(output) for output in bench.outputs]
    assert said.index(SessionCreated) < said.index(McpListToolsInProgress) < said.index(ListTools)
    assert bench.last(ListTools).server.authorization == CANARY


def test_only_tools_that_are_allowed_are_listed(bench: Any) -> None:
    reading = {**PAY, "name": "read", "annotations": {"readOnlyHint": True}}
    for allowed, names in [
        (["pay"], ["pay"]),
        ({"tool_names": ["get_weather"]}, ["get_weather"]),
        ({"read_only": True}, ["read"]),
        ({"read_only": False, "tool_names": ["pay", "read"]}, ["pay"]),
        ([], []),
    ]:
        use(bench, server(allowed_tools=allowed), lists=[WEATHER, PAY, reading])
        assert [tool["name"] for tool in bench.last(ConversationItemDone).item.tools] == names
        ask(bench)
        assert offered(bench) == names
        bench.client(ResponseCancel())


def test_a_response_waits_for_the_lists_it_may_use(bench: Any) -> None:
    bench.client(SessionUpdate(session=Session(type="realtime", tools=[server()])))
    bench.client(ResponseCreate())
    bench.client(ResponseCreate(response=ResponseParams(conversation="none", tools=[server("lodge")])))
    bench.client(ResponseCreate(response=ResponseParams(conversation="none", tools=[])))
    town, lodge = bench.all(ListTools)
    (generating,) = bench.all(Generate)
    assert generating.ask.tools == ()
    assert bench.work(ListingFailed(lodge.item_id))[-1] == "Generate"
    assert bench.work(ToolsListed(town.item_id, [WEATHER]))[-1] == "Generate"
    assert offered(bench) == ["get_weather"]


def test_a_session_has_a_bound_of_lists(bench: Any) -> None:
    for number in range(MAX_LISTS):
        use(bench, server(authorization=f"key-{number}"))
    before = len(list(bench.conversation._desk.items))
    for refused in [
        ResponseCreate(response=ResponseParams(tools=[server(authorization="one-more")])),
        SessionUpdate(session=Session(type="realtime", instructions="new", tools=[server(authorization="one-more")])),
    ]:
        assert bench.client(refused) == ["error"]
        assert bench.last(ErrorEvent).error.code == "rate_limit_exceeded"
    assert bench.conversation.session.instructions != "new"
    assert len(list(bench.conversation._desk.items)) == before


# what opens a server


def test_what_opens_a_server_is_shown_to_nobody_else(make_bench: Any) -> None:
    secret = server(authorization=CANARY, headers={"X-Key": CANARY})
    wanted = Session(type="realtime", tools=[secret])
    bench = make_bench(settings=updated(default_session("model", "heart"), wanted, voice_locked=False))
    bench.work(ToolsListed(bench.last(ListTools).item_id, [WEATHER]))
    use(bench, secret)
    request = ask(bench)
    bench.work(ToolFailed(request, call(bench, request), {"type": "tool_execution_error", "message": "no"}))
    events = [output for output in bench.outputs if hasattr(output, "event_id")]
    assert CANARY not in "".join(map(encode, events))
    assert CANARY not in repr(bench.outputs)
    (shown,) = bench.last(SessionUpdated).session.tools
    assert (shown.server_label, shown.authorization, shown.headers) == ("town", None, None)


# what may be declared


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"server_label": None}, "server_label"),
        ({"server_label": "1 town"}, "server_label"),
        ({"server_url": None}, "server_url"),
        ({"server_url": "http://town.example/mcp"}, "server_url"),
        ({"server_url": "https://user:pass@town.example/mcp"}, "server_url"),
        ({"server_url": "ftp://127.0.0.1/mcp"}, "server_url"),
        ({"server_url": "https://[/mcp"}, "server_url"),
        ({"server_url": "https://town.example/a\nb"}, "server_url"),
        ({"connector_id": "connector_gmail"}, "connector_id"),
        ({"tunnel_id": "tunnel_1"}, "tunnel_id"),
        ({"authorization": "two words"}, "authorization"),
        ({"headers": {"X": "a\r\nb"}}, "headers"),
        ({"headers": {"X Y": "a"}}, "headers"),
        ({"headers": {"Content-Length": "3"}}, "headers"),
        ({"allowed_tools": [1]}, "allowed_tools"),
        ({"allowed_tools": {"names": []}}, "allowed_tools"),
        ({"require_approval": "sometimes"}, "require_approval"),
        ({"require_approval": {"never": ["pay"]}}, "require_approval"),
        ({"allowed_callers": ["programmatic"]}, "allowed_callers"),
        ({"defer_loading": True}, "defer_loading"),
        ({"parameters": {}}, "parameters"),
    ],
)
def test_a_server_that_cannot_be_is_refused_by_name(bench: Any, settings: dict[str, Any], param: str) -> None:
    label = settings.pop("server_label", "town")
    assert use(bench, FUNCTION, server(label, **settings)) == ["error"]
    assert bench.last(ErrorEvent).error.param == f"session.tools[1].{param}"
    assert bench.conversation.session.tools == []


def test_two_servers_of_one_label_or_nine_servers_are_refused(bench: Any) -> None:
    assert use(bench, server(), server()) == ["error"]
    assert bench.last(ErrorEvent).error.param == "session.tools[1].server_label"
    assert use(bench, *(server(f"town{number}") for number in range(9))) == ["error"]
    assert bench.last(ErrorEvent).error.param == "session.tools"


def test_plain_http_is_for_this_machine(bench: Any) -> None:
    assert "ListTools" in use(bench, server(server_url="http://127.0.0.1:9/mcp", defer_loading=False))


# names


def test_the_brain_sees_tools_of_servers_beside_functions_under_names_of_their_own(bench: Any) -> None:
    odd = {"name": "odd.name/é", "input_schema": {}}
    use(bench, server("town", server_description="The town."), FUNCTION, server("lodge"), lists=[WEATHER, odd])
    ask(bench)
    tools = bench.last(Generate).ask.tools
    assert [tool.name for tool in tools] == [
        "get_weather", "town__get_weather", "odd_name__", "lodge__get_weather", "lodge__odd_name__",
    ]  # fmt: skip
    assert tools[0] == FUNCTION
    assert (tools[1].type, tools[1].description) == ("function", "The town. Tells the weather.")
    assert tools[1].parameters == SCHEMA


def test_long_names_that_begin_alike_are_told_apart(bench: Any) -> None:
    alike = [{"name": "x" * 70 + str(number), "input_schema": {}} for number in range(4)]
    use(bench, server(), lists=alike)
    ask(bench)
    names = offered(bench)
    assert len(set(names)) == 4
    assert all(len(name) <= 64 for name in names)


def test_a_name_leads_to_its_own_server(bench: Any) -> None:
    use(bench, server("town"), server("lodge"))
    response_id = ask(bench)
    call(bench, response_id, "lodge__get_weather")
    called = bench.last(CallTool)
    assert (called.server.server_label, called.name) == ("lodge", "get_weather")


def test_one_server_or_one_of_its_tools_can_be_demanded(bench: Any) -> None:
    use(bench, FUNCTION, server("town"), server("lodge"))
    for choice, names, how in [
        (ToolChoice(type="mcp", server_label="lodge"), ["lodge__get_weather", "lodge__pay"], "required"),
        (ToolChoice(type="mcp", server_label="town", name="pay"), ["pay"], "required"),
        (ToolChoice(type="mcp", server_label="gone"), ["get_weather", "town__get_weather", "pay",
                                                       "lodge__get_weather", "lodge__pay"], "auto"),
    ]:  # fmt: skip
        ask(bench, tool_choice=choice)
        assert (offered(bench), bench.last(Generate).ask.tool_choice) == (names, how)
        bench.client(ResponseCancel())
    assert bench.client(ResponseCreate(response=ResponseParams(tool_choice=ToolChoice(type="mcp")))) == ["error"]


# calls


def test_a_call_is_made_here_and_the_answer_follows_in_the_same_response(bench: Any) -> None:
    use(bench, server())
    response_id = ask(bench, tool_choice="required")
    assert bench.work(GeneratedText(response_id, "Let me see."))
    assert bench.work(GeneratedCall(response_id, "get_weather"))[-2:] == ADDED
    for piece in ['{"place": ', '"here"}']:
        assert bench.work(GeneratedArguments(response_id, piece)) == ["response.mcp_call_arguments.delta"]
    assert bench.work(GenerationEnded(response_id)) == [
        "response.mcp_call_arguments.done",
        "response.mcp_call.in_progress",
        "CallTool",
    ]
    made = bench.last(CallTool)
    assert (made.name, made.arguments) == ("get_weather", '{"place": "here"}')
    assert bench.work(ToolAnswered(response_id, made.item_id, '{"rain": true}')) == [
        "response.mcp_call.completed", *DONE, "Generate",
    ]  # fmt: skip
    again = bench.last(Generate)
    assert (again.response_id, again.ask.tool_choice) == (response_id, "auto")
    assert again.ask.lines == (
        Line("user", "Will it rain?"),
        Line("assistant", "Let me see."),
        Line("call", '{"place": "here"}', name="get_weather", call_id=made.item_id),
        Line("output", '{"rain": true}', call_id=made.item_id),
    )
    bench.work(GeneratedText(response_id, "Yes."))
    assert bench.work(GenerationEnded(response_id))[-2:] == END
    done = bench.last(ResponseDone).response
    assert [item.type for item in done.output] == ["message", "mcp_call", "message"]
    assert (done.output[1].output, done.output[1].error) == ('{"rain": true}', None)
    assert done.usage.input_token_details.text_tokens > 2 * 4, "both questions are counted"


def test_a_call_that_failed_says_why_and_the_brain_is_told(bench: Any) -> None:
    use(bench, server())
    response_id = ask(bench)
    error = {"type": "http_error", "code": 500, "message": "it is broken"}
    said = bench.work(ToolFailed(response_id, call(bench, response_id), error))
    assert said == ["response.mcp_call.failed", *DONE, "Generate"]
    assert bench.last(ResponseOutputItemDone).item.error == error
    assert json.loads(bench.last(Generate).ask.lines[-1].text) == {"error": "it is broken"}


def test_calls_made_together_are_all_answered_before_the_brain_is_asked(bench: Any) -> None:
    use(bench, server(require_approval="never"))
    response_id = ask(bench)
    for name in ("get_weather", "pay"):
        bench.work(GeneratedCall(response_id, name))
        bench.work(GeneratedArguments(response_id, "{}"))
    first, second = bench.all(CallTool) + [None] * (2 - len(bench.all(CallTool)))
    assert second is None, "a call is made when its arguments are whole"
    assert bench.work(ToolAnswered(response_id, first.item_id, "rain"))[-1] == DONE[-1], "the brain is still speaking"
    bench.work(GenerationEnded(response_id))
    second = bench.last(CallTool)
    assert bench.work(ToolAnswered(response_id, second.item_id, "paid"))[-1] == "Generate"
    lines = bench.last(Generate).ask.lines
    assert [line.role for line in lines] == ["user", "call", "call", "output", "output"]
    assert [line.call_id for line in lines[1:]] == [first.item_id, second.item_id] * 2


def test_nothing_more_is_said_while_a_function_waits_for_the_client(bench: Any) -> None:
    use(bench, server(), Tool(type="function", name="look_up"))
    response_id = ask(bench)
    bench.work(GeneratedCall(response_id, "look_up"))
    bench.work(GeneratedArguments(response_id, "{}"))
    item_id = call(bench, response_id)
    assert bench.work(ToolAnswered(response_id, item_id, "rain"))[-2:] == END
    assert [item.type for item in bench.last(ResponseDone).response.output] == ["function_call", "mcp_call"]


def test_a_brain_that_only_calls_has_to_answer_at_last(bench: Any) -> None:
    use(bench, server())
    response_id = ask(bench)
    for _ in range(MAX_ROUNDS):
        assert bench.last(Generate).ask.tool_choice == "auto"
        bench.work(ToolAnswered(response_id, call(bench, response_id), "rain"))
    assert bench.last(Generate).ask.tool_choice == "none"


@pytest.mark.parametrize("moment", ["before its arguments are whole", "while it is made", "while the brain speaks"])
def test_a_cancelled_response_gives_its_calls_up(bench: Any, moment: str) -> None:
    use(bench, server())
    response_id = ask(bench)
    bench.work(GeneratedCall(response_id, "get_weather"))
    expected = ["StopGenerating"]
    if moment == "before its arguments are whole":
        expected += ["response.mcp_call_arguments.done", "response.mcp_call.failed", *DONE]
    elif moment == "while it is made":
        bench.work(GeneratedArguments(response_id, "{}"))
        bench.work(GenerationEnded(response_id))
        expected = ["StopCalling", "response.mcp_call.failed", *DONE]
    else:
        bench.work(GeneratedCall(response_id, "pay"))
        expected += ["response.mcp_call_arguments.done", "response.mcp_call.failed", *DONE]
        expected += ["StopCalling", "response.mcp_call.failed", *DONE]
    assert bench.client(ResponseCancel()) == [*expected, *END]
    for item in bench.last(ResponseDone).response.output:
        assert item.error["type"] == "tool_execution_error"
    if moment == "while it is made":
        item_id = bench.last(StopCalling).item_id
        assert bench.work(ToolAnswered(response_id, item_id, "too late")) == []


def test_out_of_band_calls_stay_out_of_the_conversation(bench: Any) -> None:
    use(bench, server(require_approval={"never": {"tool_names": ["get_weather"]}}))
    response_id = ask(bench, conversation="none")
    assert offered(bench) == ["get_weather"], "nobody could approve there"
    said = bench.work(ToolAnswered(response_id, call(bench, response_id), "rain"))
    assert said == ["response.mcp_call.completed", "response.output_item.done", "Generate"]
    assert [line.role for line in bench.last(Generate).ask.lines] == ["user", "call", "output"]
    assert {entry.item.type for entry in bench.conversation._desk.items} == {"mcp_list_tools", "message"}


def test_a_deleted_call_is_not_told_to_the_brain(bench: Any) -> None:
    use(bench, server())
    response_id = ask(bench)
    item_id = call(bench, response_id)
    bench.client(ConversationItemDelete(item_id=item_id))
    bench.work(ToolAnswered(response_id, item_id, "rain"))
    assert [line.role for line in bench.last(Generate).ask.lines] == ["user"]


# approvals


@pytest.mark.parametrize(
    ("required", "free"),
    [
        (None, set()),
        ("always", set()),
        ("never", {"get_weather", "pay"}),
        ({"never": {"tool_names": ["get_weather"]}}, {"get_weather"}),
        ({"always": {"tool_names": ["get_weather"]}}, set()),
        ({"always": {"tool_names": ["get_weather"]}, "never": {"read_only": False}}, {"pay"}),
    ],
)
def test_who_says_nothing_has_to_approve(bench: Any, required: Any, free: set[str]) -> None:
    use(bench, server(require_approval=required))
    ask(bench, conversation="none")
    assert set(offered(bench)) == free


def test_a_call_that_needs_approval_is_a_request_and_made_when_approved(bench: Any) -> None:
    use(bench, server(require_approval="always"))
    response_id = ask(bench, "I want to pay.")
    assert bench.work(GeneratedCall(response_id, "pay")) == ADDED
    assert bench.work(GeneratedArguments(response_id, '{"sum": 3}')) == []
    assert bench.work(GenerationEnded(response_id)) == [*DONE, *END]
    (request,) = bench.last(ResponseDone).response.output
    assert (request.server_label, request.name, request.arguments) == ("town", "pay", '{"sum": 3}')
    assert decide(bench, request.id, approve=True) == [
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        *ADDED,
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.in_progress",
        "CallTool",
    ]
    made = bench.last(CallTool)
    assert (made.name, made.arguments) == ("pay", '{"sum": 3}')
    assert bench.work(ToolAnswered(made.response_id, made.item_id, "paid"))[-1] == "Generate"
    assert bench.last(ResponseOutputItemDone).item.approval_request_id == request.id
    assert bench.last(Generate).ask.lines[-1] == Line("output", "paid", call_id=made.item_id)


def test_what_had_to_be_called_is_not_called_again_after_its_approval(bench: Any) -> None:
    use(bench, server(require_approval="always"))
    bench.client(SessionUpdate(session=Session(type="realtime", tool_choice="required")))
    decide(bench, requested(bench), approve=True)
    made = bench.last(CallTool)
    bench.work(ToolAnswered(made.response_id, made.item_id, "paid"))
    assert bench.last(Generate).ask.tool_choice == "auto"


def test_a_refusal_is_recorded_and_read_by_the_brain(bench: Any) -> None:
    use(bench, server(require_approval="always"))
    request_id = requested(bench)
    said = decide(bench, request_id, approve=False, reason="Too dear.")
    assert said == ["conversation.item.added", "conversation.item.done"]
    assert not bench.all(CallTool)
    bench.client(ResponseCreate())
    *_, called, refused = bench.last(Generate).ask.lines
    assert (called.role, called.name, called.call_id) == ("call", "pay", request_id)
    assert (refused.role, json.loads(refused.text), refused.call_id) == ("output", {"error": "Too dear."}, request_id)


def test_only_an_open_request_can_be_answered(bench: Any) -> None:
    use(bench, server(require_approval="always"))
    answered, deleted = requested(bench), requested(bench)
    decide(bench, answered, approve=False)
    bench.client(ConversationItemDelete(item_id=deleted))
    for request_id in (answered, deleted, "gone"):
        assert decide(bench, request_id, approve=True) == ["error"]
        assert bench.last(ErrorEvent).error.param == "item.approval_request_id"
    incomplete = Item(type="mcp_approval_response", approval_request_id=requested(bench))
    assert bench.client(ConversationItemCreate(item=incomplete)) == ["error"]
    assert bench.last(ErrorEvent).error.param == "item.approve"
    assert not bench.all(CallTool)


def test_a_request_whose_arguments_broke_off_cannot_be_approved(bench: Any) -> None:
    use(bench, server(require_approval="always"))
    response_id = ask(bench)
    bench.work(GeneratedCall(response_id, "pay"))
    bench.work(GeneratedArguments(response_id, '{"sum"'))
    bench.client(ResponseCancel())
    (request,) = bench.last(ResponseDone).response.output
    assert decide(bench, request.id, approve=True) == ["error"]


def test_what_is_approved_during_a_response_is_called_after_it(bench: Any) -> None:
    use(bench, server(require_approval="always"))
    request_id = requested(bench)
    response_id = ask(bench)
    assert decide(bench, request_id, approve=True) == ["conversation.item.added", "conversation.item.done"]
    bench.work(GeneratedText(response_id, "Well."))
    said = bench.work(GenerationEnded(response_id))
    assert said[said.index("response.done") :][:3] == [*END, "response.created"]
    assert said[-1] == "CallTool"


def test_what_is_approved_while_the_user_interrupts_is_called_by_the_response_to_that(bench: Any) -> None:
    use(bench, server(require_approval="always"))
    request_id = requested(bench)
    ask(bench)
    decide(bench, request_id, approve=True)
    assert "CallTool" not in bench.speaks()
    assert bench.all(InputAudioBufferSpeechStarted)
    assert bench.all(StopGenerating)
    said = bench.work(Recognised(bench.last(Recognise).utterance, "Go on."))
    assert said.count("response.created") == 1
    assert said[-1] == "CallTool"
    made = bench.last(CallTool)
    bench.work(ToolAnswered(made.response_id, made.item_id, "paid"))
    assert [line.text for line in bench.last(Generate).ask.lines if line.role == "user"][-1] == "Go on."
