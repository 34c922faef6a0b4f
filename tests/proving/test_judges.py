"""The judges by themselves: a trace that keeps a promise, and one that breaks it by a hair."""

from collections.abc import Iterable

import pytest

from pipeline.proving import happenings as hp
from pipeline.proving.judges import Bench

SETTINGS = "session.updated"
SOUND = "response.output_audio.delta"
STARTED, STOPPED = "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"

Moment = tuple[float, hp.Happening]


def judged(trace: Iterable[Moment], books: dict[str, int] | None = None) -> dict[str, int]:
    """What a trace breaks, each as often as it does; `books` are the daemon's, if they are to be looked at."""
    bench = Bench(frame_ms=20, fade_ms=8.0)
    last_s = 0.0
    for last_s, happening in trace:
        bench.oracle.take(happening, last_s)
    bench.verdict.owed.expire(last_s)
    if books is not None:
        bench.frames.close(books, last_s)
    return dict(bench.verdict.broken)


def session(wire: int, at_s: float) -> list[Moment]:
    return [(at_s, hp.Connected(wire)), (at_s, hp.Upgraded(wire, wire, 1_800.0)), (at_s, hp.Told(wire, SETTINGS))]


def frame(number: int, wire: int, at_s: float, *, sent_s: float | None = None) -> list[Moment]:
    sent_s = at_s if sent_s is None else sent_s
    return [
        (at_s, hp.Captured(number, 1, speech=True)),
        (sent_s, hp.Sent(wire, number)),
        (sent_s, hp.Heard(wire, number)),
    ]


OVER: Moment = (60.0, hp.StopAsked())


# 6


def test_frames_in_the_books_are_those_that_were_captured_and_sent() -> None:
    trace = [*session(1, 0.0), *frame(1, 1, 1.0), *frame(2, 1, 1.02), (1.04, hp.Captured(3, 1, speech=True))]
    assert judged(trace, {"captured": 3, "sent": 2, "spooled": 1}) == {}


@pytest.mark.parametrize(
    "books",
    [
        {"captured": 3, "sent": 3, "spooled": 0},  # the third was never on a wire
        {"captured": 3, "sent": 1, "dropped_too_old": 2},  # the second was
        {"captured": 4, "sent": 2, "spooled": 2},  # there was no fourth
        {"captured": 3, "sent": 2, "spooled": 0},  # the third is nowhere
    ],
)
def test_a_frame_in_the_wrong_book_is_found(books: dict[str, int]) -> None:
    trace = [*session(1, 0.0), *frame(1, 1, 1.0), *frame(2, 1, 1.02), (1.04, hp.Captured(3, 1, speech=True))]
    assert "6" in judged(trace, books)


def test_a_frame_that_went_to_two_sessions_is_one_in_the_books() -> None:
    trace = [*session(1, 0.0), *frame(1, 1, 1.0), (1.5, hp.Left(1)), *session(2, 2.0), (2.1, hp.Sent(2, 1))]
    assert judged(trace, {"captured": 1, "sent": 1}).keys() <= {"7"}
    assert "6" in judged(trace, {"captured": 2, "sent": 2})


def test_a_frame_nobody_captured_cannot_be_sent() -> None:
    assert "6" in judged([*session(1, 0.0), (1.0, hp.Sent(1, 7))])


def test_sound_is_too_old_after_20_s() -> None:
    waits_s = {20.0: {}, 20.1: {"10": 1}}
    for wait_s, broken in waits_s.items():
        trace = [(0.0, hp.Captured(1, 1, speech=True)), *session(1, 1.0), (wait_s, hp.Sent(1, 1))]
        assert judged(trace) == broken


# frames that share a message


def captured(*at_s: float) -> list[Moment]:
    return [(each, hp.Captured(number, 1, speech=True)) for number, each in enumerate(at_s, 1)]


@pytest.mark.parametrize(
    ("after", "broken"),
    [
        ([(5.0, hp.Sent(1, 1, 3)), (5.0, hp.Heard(1, 1, 3))], {}),
        ([(5.0, hp.Sent(1, 2, 3))], {"6": 1, "10-kept": 1}),  # there are only three, and the first is left out
        ([(21.0, hp.Sent(1, 2, 2))], {}),
        ([(21.0, hp.Sent(1, 1, 3))], {"10": 1}),  # the oldest counts
        ([(5.0, hp.Heard(1, 1, 2)), (5.0, hp.Heard(1, 3))], {}),
        ([(5.0, hp.Heard(1, 1, 2)), (5.0, hp.Heard(1, 2, 2))], {"8": 1, "9": 1}),
        ([(5.0, hp.Heard(1, 3)), (5.0, hp.Heard(1, 1, 2))], {"9": 1}),
        ([(5.0, hp.Heard(1, 1, 3)), (5.0, hp.UtteranceBegan(5))], {}),
        ([(5.0, hp.Heard(1, 1, 2)), (5.0, hp.UtteranceBegan(5))], {"8-whole": 1}),
    ],
)
def test_every_frame_of_a_message_is_judged(after: list[Moment], broken: dict[str, int]) -> None:
    assert judged([*session(1, 0.0), (0.1, hp.MicrophoneOpened()), *captured(0.5, 2.0, 3.0), *after]) == broken


@pytest.mark.parametrize(("heard", "broken"), [(3, {}), (2, {"8-whole": 1})])
def test_an_utterance_is_judged_before_its_frames_are_forgotten(heard: int, broken: dict[str, int]) -> None:
    silence = [(3.0 + 0.02 * each, hp.Captured(each, 1, speech=False)) for each in range(4, 30_001)]
    trace = [*session(1, 0.0), *captured(1.0, 2.0, 3.0), (3.0, hp.Heard(1, 1, heard)), *silence]
    assert judged(trace) == broken


# 10


def outage(waited_s: float, *, before: list[Moment] = []) -> list[Moment]:  # noqa: B006 - never changed
    """Frame 1 is captured without a line; the first to be sent afterwards is frame 2."""
    return [
        *session(1, 0.0), (0.1, hp.MicrophoneOpened()), (1.0, hp.Troubled("cut")), (1.0, hp.Left(1)),
        (2.0, hp.Captured(1, 1, speech=True)), *before, *session(2, 2.0 + waited_s), *frame(2, 2, 2.0 + waited_s),
    ]  # fmt: skip


def test_speech_of_an_outage_is_not_left_out() -> None:
    assert judged(outage(14.0)) == {"10-kept": 1}
    assert judged(outage(15.1)) == {}
    assert judged(outage(14.0, before=[*muted(3.0), (4.0, hp.Unmuted()), (4.0, hp.MicrophoneOpened())])) == {}
    assert judged(outage(14.0, before=[(3.0, hp.DaemonEnded("")), (8.0, hp.DaemonStarted())])) == {}


@pytest.mark.parametrize(
    ("after", "broken"),
    [
        ([], {"10-open": 1}),
        ([(6.0, hp.MicrophoneOpened())], {}),
        ([(6.0, hp.DaemonEnded("ServiceRefusedError"))], {}),
        ([(6.0, hp.Muted())], {}),
    ],
)
def test_the_microphone_stays_open_while_there_is_no_line(after: list[Moment], broken: dict[str, int]) -> None:
    lost = [*session(1, 0.0), (0.1, hp.MicrophoneOpened()), (1.0, hp.Left(1)), (1.0, hp.MicrophoneClosed())]
    assert judged([(0.0, hp.Troubled("cut")), *lost, (5.0, hp.UtteranceBegan(1)), *after, OVER]) == broken


# 11


def muted(at_s: float) -> list[Moment]:
    return [(at_s, hp.Muted()), (at_s, hp.MicrophoneClosed())]


def state(name: str) -> hp.Noticed:
    return hp.Noticed("StateNotice", f'{{"event":"state","state":"{name}","at_s":0}}')


def test_a_mute_closes_the_microphone_until_it_is_lifted() -> None:
    trace = [
        *session(1, 0.0), (0.1, hp.MicrophoneOpened()), *frame(1, 1, 5.0), *muted(5.0), (5.0, state("muted")),
        (60.0, hp.Unmuted()), (60.0, hp.MicrophoneOpened()), (60.0, state("listening")), *frame(2, 1, 61.0),
    ]  # fmt: skip
    assert judged(trace) == {}


@pytest.mark.parametrize(
    "after",
    [
        [(9.0, hp.Calmed("mute"))],  # nothing: the microphone stays open
        [(5.0, hp.MicrophoneClosed()), (6.0, hp.MicrophoneOpened())],
        [(5.0, hp.MicrophoneClosed()), (5.0, state("muted")), (6.0, hp.Captured(2, 1, speech=False))],
        [(5.0, hp.MicrophoneClosed()), (7.5, hp.Sent(1, 1))],
    ],
)
def test_a_microphone_that_is_open_or_sends_while_it_is_muted_is_found(after: list[Moment]) -> None:
    before = [*session(1, 0.0), (0.1, hp.MicrophoneOpened()), (4.9, hp.Captured(1, 1, speech=True))]
    assert judged([*before, (4.9, hp.Troubled("mute")), (5.0, hp.Muted()), *after]) == {"11": 1}


def test_what_was_being_said_at_a_mute_is_taken_back() -> None:
    before = [*session(1, 0.0), (0.1, hp.MicrophoneOpened()), (2.0, hp.Told(1, STARTED))]
    cleared = (3.1, hp.Asked(1, "input_audio_buffer.clear", "", 0, "a"))
    mute = [(3.0, hp.Troubled("mute")), *muted(3.0)]
    assert judged([*before, *mute, OVER]) == {"11-clear": 1}
    assert judged([*before, *mute, cleared, OVER]) == {}
    assert judged([*before, *mute, (3.2, hp.Left(1)), OVER]) == {}
    assert judged([*before, (2.5, hp.Told(1, STOPPED)), *mute, (3.2, hp.Left(1)), OVER]) == {}


def test_speech_that_waited_for_a_line_is_not_to_be_sent_once_it_is_muted() -> None:
    before = [*session(1, 0.0), (0.1, hp.MicrophoneOpened()), (1.0, hp.Left(1)), (2.0, hp.Captured(1, 1, speech=True))]
    for lifted in ([], [(3.5, hp.Unmuted())]):
        trace = [*before, *muted(3.0), *lifted, *session(2, 4.0), (4.1, hp.Sent(2, 1))]
        assert judged(trace) == {"11-spool": 1}
    assert judged([*before, *muted(3.0), (3.5, hp.Unmuted()), *session(2, 4.0), *frame(2, 2, 4.5)]) == {}


# 12, 13


def test_after_a_cut_of_a_line_that_was_well_the_first_attempt_comes_at_once() -> None:
    cut: list[Moment] = [(31.0, hp.Troubled("reset")), (31.0, hp.Broken(1))]
    assert judged([*session(1, 0.0), *cut, OVER]) == {"12-first": 1}
    assert judged([*session(1, 0.0), *cut, (31.4, hp.Attempted()), OVER]) == {}
    assert judged([*session(1, 5.0), *cut, OVER]) == {}, "it was not well for long"


@pytest.mark.parametrize(
    ("tries", "broken"),
    [
        ([(1.0, hp.Attempted())], {"13-last": 1}),
        ([(1.0, hp.Attempted()), (1.1, hp.Minted(401, 0, None))], {}),
        ([(1.0, hp.Attempted()), (5.0, hp.Attempted()), (9.0, hp.Attempted())], {}),
    ],
)
def test_a_daemon_gives_up_only_for_a_reason(tries: list[Moment], broken: dict[str, int]) -> None:
    assert judged([(0.0, hp.Troubled("nothing")), *tries, (10.0, hp.DaemonEnded("CredentialRefusedError"))]) == broken


# 18


@pytest.mark.parametrize(("what", "broken"), [("close", {}), ("text", {"18": 1}), ("ping", {"18": 1})])
def test_on_a_session_that_was_replaced_nothing_is_sent_but_its_close(what: str, broken: dict[str, int]) -> None:
    handing_over = [*session(1, 0.0), *frame(1, 1, 1.0), *session(2, 1_760.0), (1_761.0, hp.SentBehind(1, "text"))]
    assert judged(handing_over) == {}, "until sound has come over the new one, the old one is in use"
    assert judged([*handing_over, *frame(2, 2, 1_762.0), (1_763.0, hp.SentBehind(1, what))]) == broken


# 3, 5


def sounding(blocks: int) -> list[Moment]:
    """A reply of 0.4 s has arrived whole, and so many of its blocks were played."""
    return [
        (0.0, hp.LoudspeakerOpened()), *session(1, 0.0), (2.0, hp.Told(1, "response.created", 1)),
        (2.1, hp.Replied(1, 1, "item")), (2.2, hp.Told(1, SOUND, 1, 19_200, 0)),
        (2.3, hp.Told(1, "response.done", 1, status="completed")),
        *[(2.4 + 0.02 * block, hp.Played(1, block, whole=True)) for block in range(blocks)],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("blocks", "after", "broken"),
    [
        (20, [], {}),
        (19, [], {"3-whole": 1}),
        (10, [(2.7, hp.Left(1))], {}),  # what came last was perhaps never read
        (10, [(2.7, hp.LoudspeakerClosed())], {}),
        (10, [(2.7, hp.Told(1, STARTED)), (2.8, hp.Asked(1, "conversation.item.truncate", "item", 200, "a"))], {}),
        (10, [(2.7, hp.Told(1, STARTED)), (2.8, hp.Asked(1, "conversation.item.delete", "item", 0, "a"))], {}),
        (10, [(2.7, hp.Told(1, STARTED))], {"5-told": 1}),
        (10, [(2.7, hp.Told(1, STARTED)), (2.8, hp.Left(1))], {}),
        (10, [(2.7, hp.LoudspeakerClosed()), (2.8, hp.LoudspeakerOpened()), (3.0, hp.Told(1, STARTED))], {}),
        (20, [(2.9, hp.Told(1, STARTED))], {}),
    ],
)
def test_an_answer_is_heard_whole_or_the_service_is_told(
    blocks: int, after: list[Moment], broken: dict[str, int]
) -> None:
    assert judged([*sounding(blocks), *after, (10.0, hp.StopAsked())]) == broken


def test_a_session_is_told_only_of_its_own_items() -> None:
    told = (3.1, hp.Asked(2, "conversation.item.delete", "item", 0, "a"))
    assert judged([*sounding(10), (2.7, hp.Left(1)), *session(2, 3.0), told]) == {"5": 1}


# 20


@pytest.mark.parametrize(
    ("ids", "about", "broken"),
    [
        (["a", "b"], ["a"], 0),
        (["a", ""], [], 1),
        (["a", "a"], [], 1),
        (["a"], ["b"], 1),
        (["a"], ["a", "a"], 1),
    ],
)
def test_an_error_is_about_one_request(ids: list[str], about: list[str], broken: int) -> None:
    asked = [(1.0, hp.Asked(1, "response.cancel", "", 0, each)) for each in ids]
    told = [(2.0, hp.Told(1, "error", about=each)) for each in about]
    assert judged([*session(1, 0.0), *asked, *told]).get("20-id", 0) == broken


# 22


def test_a_session_that_is_well_is_kept() -> None:
    assert judged([*session(1, 0.0), (91.0, hp.Left(1))]) == {"22-kept": 1}
    assert judged([*session(1, 0.0), (90.9, hp.HungUp(1, 1001, "bye")), (91.0, hp.Left(1))]) == {}
    assert judged([*session(1, 0.0), (5.0, hp.Troubled("slow")), (6.0, hp.Calmed("slow")), (91.0, hp.Left(1))]) == {}


# 25


def answering(wire: int) -> list[Moment]:
    return [
        *session(wire, 0.0), (1.0, hp.Told(wire, STARTED)), (2.0, hp.Told(wire, STOPPED)),
        (2.3, hp.Told(wire, "response.created", 1)), (2.5, hp.Told(wire, SOUND, 1, 9_600, 0)),
    ]  # fmt: skip


END: Moment = (60.0, hp.Calmed("nothing"))


@pytest.mark.parametrize(
    "after",
    [
        [(6.9, hp.Left(1))],
        [(5.4, hp.Told(1, SOUND, 1, 9_600, 10)), (8.0, hp.Told(1, "response.done", 1))],
        [(5.0, hp.Told(1, "response.output_audio.done", 1))],
        [(5.0, hp.Told(1, STARTED)), (5.1, hp.Told(1, SOUND, 1, 960, 10)), (6.0, hp.Left(1))],
    ],
)
def test_an_answer_may_pause_end_or_be_talked_over(after: list[Moment]) -> None:
    assert judged([(0.0, hp.Troubled("nothing")), *answering(1), *after, END]) == {}


def test_a_session_is_not_to_be_kept_whose_answer_breaks_off() -> None:
    trace = [(0.0, hp.Troubled("nothing")), *answering(1), (7.1, hp.Left(1)), END]
    assert judged(trace) == {"25-gap": 1}


@pytest.mark.parametrize(
    ("between_s", "left_s", "broken"), [(30.0, 1.4, {}), (30.0, 1.6, {"25-failed": 1}), (61.0, 100.0, {})]
)
def test_two_failures_in_a_minute_cost_the_session(between_s: float, left_s: float, broken: dict[str, int]) -> None:
    trace = [(0.0, hp.Troubled("nothing")), *session(1, 0.0)]
    for reply, at_s in ((1, 10.0), (2, 10.0 + between_s)):
        trace += [
            (at_s, hp.Told(1, "response.created", reply)),
            (at_s, hp.Told(1, "response.done", reply, status="failed")),
        ]
    assert judged([*trace, (10.0 + between_s + left_s, hp.Left(1))]) == broken


def speech(number: int, at_s: float, *, told: bool = False) -> list[Moment]:
    heard = [(at_s + 0.3, hp.Told(1, STARTED)), (at_s + 1.3, hp.Told(1, STOPPED))] if told else []
    frames = [(at_s + 0.02 * index, hp.Captured(100 * number + index, number, speech=True)) for index in range(50)]
    return sorted(
        [(at_s, hp.UtteranceBegan(number)), *frames, *heard, (at_s + 1, hp.UtteranceEnded(number))], key=_time
    )


def _time(moment: Moment) -> float:
    return moment[0]


QUIET: list[Moment] = [(0.0, hp.Troubled("nothing")), (0.0, hp.LoudspeakerOpened()), *session(1, 1.0)]


@pytest.mark.parametrize(
    ("rest", "broken"),
    [
        ([*speech(2, 25.0), (35.9, hp.Left(1))], 0),
        ([*speech(2, 25.0), (36.1, hp.Left(1))], 1),
        ([*speech(2, 25.0, told=True), (36.1, hp.Left(1))], 0),
        ([*speech(2, 85.0), (96.1, hp.Left(1))], 0),  # much later
        ([(22.0, hp.Muted()), (23.0, hp.Unmuted()), *speech(2, 25.0), (36.1, hp.Left(1))], 0),
        ([(22.0, hp.Played(1, 0, whole=True)), *speech(2, 25.0), (36.1, hp.Left(1))], 0),
    ],
)
def test_a_session_that_hears_nothing_of_two_utterances_is_not_to_be_kept(rest: list[Moment], broken: int) -> None:
    trace = [*QUIET, *speech(1, 20.0), *rest, (200.0, hp.Calmed("nothing"))]
    assert judged(trace).get("25-deaf", 0) == broken
