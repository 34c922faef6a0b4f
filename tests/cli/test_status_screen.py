"""How a snapshot looks at a terminal and elsewhere."""

import io

import pytest
from msgspec.structs import replace
from rich.console import Console

from pipeline import topology
from pipeline.cli.status_screen import BAD, WORN, headline, picture, screenful
from pipeline.vocabulary.control import ActorStatus, DeviceState, DeviceStatus, LinkSide, LinkStatus, SnapshotNotice
from pipeline.vocabulary.signals import CallState, Glitches
from tests.snapshots import AUDIO, CAPTURE, MAIN, MIC, SESSION, SNAPSHOT


def drawn(snapshot: SnapshotNotice, *, width: int = 80) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(picture(snapshot))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def watched(snapshot: SnapshotNotice, *, height: int = 24) -> list[str]:
    """What stands on a terminal of 80 columns."""
    console = Console(file=io.StringIO(), width=80, height=height, force_terminal=True, color_system=None)
    lines = console.render_lines(screenful(snapshot, console), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


def styles(snapshot: SnapshotNotice) -> dict[str, str]:
    """What is drawn in a style of its own, word by word."""
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    segments = console.render(picture(snapshot))
    return {segment.text.strip(): str(segment.style) for segment in segments if segment.text.strip() and segment.style}


def test_a_healthy_daemon_fits_on_one_screen() -> None:
    assert drawn(SNAPSHOT) == [
        "talkwire 0.1.0, up 1:01:40: listening for 0:00:12",
        "line live for 0:01:01, talk quiet, 4 answers heard",
        "microphone open mic, silero hears no speech, loudspeaker open loud",
        "frames captured 897 sent 897 spooled 0, 300 of speech in 7 utterances",
        "process state   pid      up restarts beat ms MB",
        "main    running 100 1:01:40        0         62",
        "audio   running 101 1:00:00        0      50 41",
        "actors session capture",
        "link from    to      held  of sent recv drop stale lost wait",
        "mic  capture encoder   40 2 s  900  897    0     0    0    0",
    ]


def test_what_the_sound_has_suffered_is_told_and_nothing_where_it_is_well() -> None:
    microphone = replace(SNAPSHOT.microphone, glitches=Glitches(xruns=2, lost_ms=40.4, discarded_ms=1_234.0))
    loudspeaker = replace(SNAPSHOT.loudspeaker, glitches=Glitches(starved=3))
    crackling = replace(SNAPSHOT, microphone=microphone, loudspeaker=loudspeaker)
    line = "glitches microphone 2 xruns, 40 ms lost, 1,234 ms discarded; loudspeaker 3"
    assert drawn(crackling)[4].startswith(line)
    assert styles(crackling)[next(text for text in styles(crackling) if text.startswith("glitches"))] == "yellow"


def test_what_is_wrong_stands_on_top_in_red() -> None:
    ill = replace(
        SNAPSHOT,
        troubles=["process audio is starting: the last one crashed"],
        processes=[MAIN, replace(AUDIO, state="starting", restarts=2, ended="crashed")],
        actors=[replace(CAPTURE, state="down")],
    )
    assert drawn(ill)[1] == "! process audio is starting: the last one crashed"
    assert "actors capture down" in drawn(ill)
    shown = styles(ill)
    assert shown["! process audio is starting: the last one crashed"] == BAD
    assert shown["starting"] == BAD
    assert shown["2"] == WORN


def test_a_link_that_is_nearly_full_or_has_lost_something_stands_out() -> None:
    full = replace(MIC, sides=[LinkSide("audio", 1_900.0, 95, 900, 800, 12, 0, 0, 3)])
    shown = styles(replace(SNAPSHOT, links=[full]))
    assert (shown["1,900"], shown["12"], shown["3"]) == (BAD, WORN, WORN)


def test_a_link_whose_sender_waits_may_be_full() -> None:
    speech = LinkStatus(
        "speech", "decoder", "playback", 2_000.0, "ms", "wait", [LinkSide("main", 2_000.0, 100, 448, 339, 0, 9, 1, 0)]
    )
    assert drawn(replace(SNAPSHOT, links=[speech]))[-1].split()[3:6] == ["2,000", "2", "s"]
    assert not {BAD, WORN} & set(styles(replace(SNAPSHOT, links=[speech])).values())


def test_a_link_none_of_whose_ends_answers_is_a_name_only() -> None:
    assert drawn(replace(SNAPSHOT, links=[replace(MIC, sides=[])]))[-1] == "mic  capture encoder"


def test_what_a_device_or_the_service_calls_itself_cannot_style_the_screen() -> None:
    odd = replace(SNAPSHOT, microphone=DeviceStatus("[red]mic[/red]", DeviceState.FAILED, "x"))
    assert "microphone failed [red]mic[/red], silero hears no speech, loudspeaker open loud" in drawn(odd)


def test_the_headline_is_the_state_and_what_is_wrong() -> None:
    assert headline(replace(SNAPSHOT, session=replace(SESSION, state=CallState.USER_SPEAKING))) == "user speaking"
    assert headline(replace(SNAPSHOT, troubles=["a", "b"])) == "listening; a; b"


FULL = replace(
    SNAPSHOT,
    actors=[ActorStatus(actor.name, "main", "running", 0, "") for actor in topology.ACTORS],
    links=[replace(MIC, name=link.name) for link in topology.LINKS],
)
"""Every actor and every link of the map."""


def test_after_months_nothing_is_cut_off_in_80_columns() -> None:
    side = LinkSide("main", 400.0, 20, 388_800_000, 388_799_000, 120, 99, 9, 999)
    links = [
        LinkStatus(
            link.name, link.source.partition(".")[0], link.target.partition(".")[0],
            link.hold.amount, link.hold.unit, link.overflow.value, [side],
        )
        for link in topology.LINKS
    ]  # fmt: skip
    old = replace(
        FULL, uptime_s=90 * 86_400.0, processes=[MAIN, replace(AUDIO, uptime_s=9e6, pid=4_194_304)], links=links
    )
    assert not [line for line in drawn(old) if "…" in line]
    assert drawn(old)[-1].split()[-6:] == ["388.8M", "388.8M", "120", "99", "999", "9"]


def test_a_healthy_daemon_is_watched_as_it_is_drawn() -> None:
    assert watched(FULL) == drawn(FULL)
    assert len(watched(FULL)) <= 24


@pytest.mark.parametrize("count", [1, 2, 3, 40])
@pytest.mark.parametrize("words", [5, 40])
def test_however_much_is_wrong_every_link_stays_on_a_small_screen(count: int, words: int) -> None:
    troubles = [f"trouble {number} " + "and so on " * words for number in range(count)]
    name = "device:USB PnP Sound Device of a Very Long Name: Audio"
    fates = {f"dropped_{reason}": 1_000 for reason in ("audio_died", "mic_full", "muted", "too_old")}
    ill = replace(
        FULL,
        troubles=troubles,
        frames=FULL.frames | fates,
        microphone=DeviceStatus(name, DeviceState.OPEN),
        loudspeaker=DeviceStatus(name, DeviceState.OPEN),
    )
    shown = watched(ill)
    assert len(shown) <= 24
    assert [line.split()[0] for line in shown[-len(FULL.links) :]] == [
        line.split()[0] for line in drawn(FULL)[-len(FULL.links) :]
    ]
    assert shown[1].startswith("! trouble 0 and so on")
    if count > 2:
        assert shown[2] == f"! {count - 1} more troubles"


def test_a_large_screen_shows_every_trouble_whole() -> None:
    ill = replace(FULL, troubles=["what is wrong, " * 20, "and what else"])
    assert watched(ill, height=60) == drawn(ill)


def test_one_line_for_troubles_counts_them() -> None:
    ill = replace(FULL, troubles=["a", "b", "c"])
    assert watched(ill, height=23)[1] == "! 3 troubles"
    assert len(watched(ill, height=23)) == 23
