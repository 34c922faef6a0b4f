"""The daemon at a sound card whose server goes away for long: nothing is given up, and sound is back by itself."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from time import monotonic
from typing import Any

import pytest

from pipeline.edges.wav import read_wav
from pipeline.vocabulary.configuration import shipped
from pipeline.vocabulary.errors import SoundSystemHungError
from tests.virtual_sound_card import VirtualSoundCard, VirtualSoundCards, missing

Start = Callable[..., Any]
WaitUntil = Callable[[Callable[[], bool], float], None]

needed = missing() or ("" if find_library("portaudio") else "install libportaudio2")
optional = os.environ.get("TALKWIRE_TEST_SOUND") != "required"  # .ci/run installs what is needed and skips nothing
pytestmark = pytest.mark.skipif(bool(needed) and optional, reason=needed or "all is there")

QUESTION = read_wav(shipped("questions") / "hello.wav")
AWAY_S = float(os.environ.get("TALKWIRE_TEST_AWAY_S", "20"))
"""A restart budget of 5 in 60 s that a try every 0.25 s, or a process that hangs for 1.5 s, were counted in would be
spent in less than half of it; by hand it has been 120."""


@pytest.fixture
def cards() -> Iterator[VirtualSoundCards]:
    with VirtualSoundCards("kiosk") as cards:
        yield cards


@pytest.mark.parametrize("away", ["killed", "hung"])
@pytest.mark.timeout(60 + 2 * AWAY_S)
def test_a_sound_server_that_is_long_away_spends_no_restart_and_sound_is_back_by_itself(
    daemon: Start, talkwire: Start, cards: VirtualSoundCards, wait_until: WaitUntil, away: str
) -> None:
    card = cards["kiosk"]
    endpoint = daemon("--set=audio.input=device:kiosk", "--set=audio.output=device:kiosk", environ=cards.environ)
    endpoint.until('"state":"listening"')
    wait_until(lambda: is_recorded(card), 10)
    (card.unplug if away == "killed" else card.hang)()
    pause_s = monotonic() + AWAY_S
    wait_until(lambda: monotonic() > pause_s, AWAY_S + 1)
    assert endpoint.process.poll() is None, "a crash loop would have ended it"
    for _ in range(5):  # whatever the process is at just then
        assert talkwire("status").end()[0] == 1, "there are troubles all the time"
    (card.plug if away == "killed" else card.resume)()
    wait_until(lambda: is_recorded(card), 10)
    for _ in range(5):  # a server that was hung still lists the streams of processes that are gone: nobody may hear yet
        card.say(QUESTION).wait()
        pause_s = monotonic() + 1
        wait_until(lambda: monotonic() > pause_s, 2)  # noqa: B023 - asked before it changes
    endpoint.until('"state":"user_speaking"')
    endpoint.process.terminate()
    status, out, err = endpoint.end()
    assert (status, err) == (0, ""), "ALSA and PortAudio are not heard"
    assert "process audio restarted" not in out
    assert "reconnecting" not in out, "the session and its conversation live on"


def listening_in_one_process(daemon: Start, cards: VirtualSoundCards, wait_until: WaitUntil) -> Any:
    """A daemon that has everything in one process and records the card."""
    devices = ("--set=audio.input=device:kiosk", "--set=audio.output=device:kiosk")
    endpoint = daemon(*devices, "--set=runtime.placement=single", environ=cards.environ)
    endpoint.until('"state":"listening"')
    wait_until(lambda: is_recorded(cards["kiosk"]), 10)
    return endpoint


def test_a_daemon_in_one_process_outlives_stalls_of_its_own(
    daemon: Start, cards: VirtualSoundCards, wait_until: WaitUntil
) -> None:
    card = cards["kiosk"]
    endpoint = listening_in_one_process(daemon, cards, wait_until)
    for stall_s in (1.0, 0.5):
        signal.sigtimedwait([], 1.0)  # else the card's own delay is not known yet
        endpoint.process.send_signal(signal.SIGSTOP)
        signal.sigtimedwait([], stall_s)
        endpoint.process.send_signal(signal.SIGCONT)
    signal.sigtimedwait([], 1.0)
    assert is_recorded(card)
    endpoint.process.terminate()
    status, out, err = endpoint.end()
    assert (status, err) == (0, "")
    assert '"kind":"Device"' not in out
    assert "hangs" not in out
    assert "device:kiosk lost sound, " in out, "what came in during the stall came too late"


def test_a_daemon_in_one_process_ends_when_the_sound_server_hangs(
    daemon: Start, cards: VirtualSoundCards, wait_until: WaitUntil
) -> None:
    card = cards["kiosk"]
    endpoint = listening_in_one_process(daemon, cards, wait_until)
    card.hang()
    wait_until(lambda: endpoint.process.poll() is not None, 10)  # PortAudio's own end would wait for the server
    status, _, err = endpoint.end()
    assert status == SoundSystemHungError.exit_code
    assert err.startswith("talkwire: device:kiosk: no sound from or to the device")
    assert err.count("\n") == 1


def is_recorded(card: VirtualSoundCard) -> bool:
    """Whether somebody records the microphone of this card."""
    clients = [line.split("\t")[2] for line in card.control("list", "short", "source-outputs").splitlines()]
    return any(client != "-" for client in clients)  # the server's own remapping has none


@pytest.mark.timeout(120)
def test_the_next_device_of_a_list_stands_in_for_a_sound_server_that_hangs(
    daemon: Start, talkwire: Start, cards: VirtualSoundCards, wait_until: WaitUntil
) -> None:
    card = cards["kiosk"]
    lists = [f'--set=audio.{side}=["device:kiosk", "none:"]' for side in ("input", "output")]
    endpoint = daemon(*lists, environ=cards.environ)
    endpoint.until('"state":"listening"')

    def snapshot() -> Any:
        return json.loads(talkwire("status", "--json").end()[1])

    def open_devices() -> set[str]:
        shown = snapshot()
        return {shown[side]["name"] for side in ("microphone", "loudspeaker") if shown[side]["state"] == "open"}

    wait_until(lambda: open_devices() == {"device:kiosk"}, 10)
    card.hang()
    hung_s = monotonic()
    wait_until(lambda: open_devices() == {"none:"}, 10)  # a server whose queue is full of the dead refuses after 15 s
    print(f"silence stood in {monotonic() - hung_s:.1f} s after the server hung")
    lives = snapshot()["processes"][1]["restarts"]
    pause_s = monotonic() + 8
    wait_until(lambda: monotonic() > pause_s, 9)
    assert open_devices() == {"none:"}
    assert snapshot()["processes"][1]["restarts"] == lives, "it does not try what hangs"
    card.resume()
    resumed_s = monotonic()
    wait_until(lambda: open_devices() == {"device:kiosk"} and is_recorded(card), 20)
    print(f"the card was back {monotonic() - resumed_s:.1f} s after the server went on")
    assert snapshot()["processes"][1]["restarts"] == lives, "and it is taken without another death"
    endpoint.process.terminate()
    status, out, err = endpoint.end()
    assert (status, err) == (0, ""), "ALSA and PortAudio are not heard"
    assert "process audio restarted" not in out
