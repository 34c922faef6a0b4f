"""What the session knows of its devices when the process that holds them ends."""

from pipeline.core.devices import Devices
from pipeline.vocabulary import signals as sg
from pipeline.vocabulary.control import DeviceState, DeviceStatus
from pipeline.vocabulary.errors import DeviceError

GONE, OPEN, CLOSED = DeviceState.GONE, DeviceState.OPEN, DeviceState.CLOSED
FAULT = DeviceError("unplugged; plug it in").fault()


def talking() -> Devices:
    devices = Devices()
    devices.take_input(sg.InputReady("silero"))
    devices.listening = True
    devices.take_input(sg.InputOpened("mic"))
    devices.take_output(sg.OutputOpened("loud"))
    return devices


def test_the_devices_of_a_process_that_ended_are_gone_until_told_anew() -> None:
    devices = talking()
    devices.lose()
    assert (devices.microphone, devices.loudspeaker) == (DeviceStatus("mic", GONE), DeviceStatus("loud", GONE))
    devices.take_input(sg.InputReady("silero"))
    assert devices.microphone == DeviceStatus("mic", GONE), "a sound system that hangs lets no process open it"
    assert not devices.listening
    devices.take_input(sg.InputOpened("other"))
    devices.take_output(sg.OutputFailed(FAULT))
    assert devices.microphone == DeviceStatus("other", OPEN)
    assert devices.loudspeaker == DeviceStatus("loud", DeviceState.FAILED, FAULT.message)


def test_what_failed_is_not_known_to_fail_in_the_next_process() -> None:
    devices = talking()
    devices.take_input(sg.InputFailed(FAULT))
    devices.lose()
    assert devices.microphone == DeviceStatus("mic", GONE)


def test_what_was_to_be_open_and_never_was_is_gone_too() -> None:
    devices = Devices()
    devices.take_input(sg.InputReady("silero"))
    devices.listening = True
    devices.lose()
    assert (devices.microphone, devices.loudspeaker) == (DeviceStatus("", GONE), DeviceStatus("", GONE))


def test_a_microphone_that_was_not_to_be_open_is_closed() -> None:
    devices = talking()
    devices.listening = False
    devices.lose()
    assert devices.microphone == DeviceStatus("mic", CLOSED)


def test_a_microphone_that_is_gone_when_it_is_muted_is_closed() -> None:
    devices = talking()
    devices.lose()
    devices.mute()
    devices.take_input(sg.InputReady("silero"))
    assert (devices.microphone.state, devices.loudspeaker.state) == (CLOSED, GONE)


def test_what_sound_suffered_stays_counted_whatever_becomes_of_the_device() -> None:
    devices = talking()
    devices.take_input(sg.InputGlitched(sg.Glitches(xruns=1, lost_ms=40.0)))
    devices.take_output(sg.OutputGlitched(sg.Glitches(xruns=2, starved=3)))
    devices.lose()
    devices.take_input(sg.InputReady("silero"))
    devices.take_input(sg.InputOpened("other"))
    devices.take_output(sg.OutputFailed(FAULT))
    devices.take_input(sg.InputGlitched(sg.Glitches(xruns=1, discarded_ms=360.0)))
    devices.take_output(sg.OutputGlitched(sg.Glitches(starved=1)))
    assert devices.microphone == DeviceStatus("other", OPEN, glitches=sg.Glitches(2, 0, 40.0, 360.0))
    glitches = sg.Glitches(xruns=2, starved=4)
    assert devices.loudspeaker == DeviceStatus("loud", DeviceState.FAILED, FAULT.message, glitches)
