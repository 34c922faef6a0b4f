"""What the session knows of microphone, loudspeaker and local detector."""

from msgspec.structs import replace

from pipeline.vocabulary import signals as sg
from pipeline.vocabulary.control import DeviceState, DeviceStatus


class Devices:
    """Follows the devices by what capture and playback tell of them.

    It outlives the session's incarnations, for the devices do: what is muted stays muted.

    Attributes:
        muted: the microphone is to stay closed.
        listening: what capture was last told; a capture that starts has been told nothing.
        has_no_ears: the process of the last capture has ended, and no other has started: nobody takes what it is told.
        microphone, loudspeaker: how they stand.
        detector: the name of the local voice activity detector.
        voice_active: it hears speech.
        utterances: how often it began to.
    """

    def __init__(self) -> None:
        self.muted = False
        self.listening = False
        self.has_no_ears = False
        self.microphone = DeviceStatus()
        self.loudspeaker = DeviceStatus()
        self.detector = ""
        self.voice_active = False
        self.utterances = 0

    def mute(self) -> None:
        """The microphone is to stay closed; one that is gone will not be opened again."""
        self.muted = True
        if self.microphone.state is DeviceState.GONE:
            self.microphone = _now(self.microphone, DeviceState.CLOSED)

    def lose(self) -> None:
        """The process that held them has ended: what was to be open is not, until it is told anew that it is."""
        self.has_no_ears = True
        self.microphone = _now(self.microphone, DeviceState.GONE if self.listening else DeviceState.CLOSED)
        self.loudspeaker = _now(self.loudspeaker, DeviceState.GONE)

    def take_input(self, signal: sg.Activity) -> None:
        """Take in what befell the microphone, or what was heard with it."""
        match signal:
            case sg.InputReady(detector):
                self.detector = detector
                self.has_no_ears = False
                self.listening = self.voice_active = False
                if self.microphone.state is not DeviceState.GONE:  # else it will be opened again
                    self.microphone = _now(self.microphone, DeviceState.CLOSED, name="")
            case sg.InputOpened(name):
                self.microphone = _now(self.microphone, DeviceState.OPEN, name=name)
            case sg.InputClosed():
                self.microphone = _now(self.microphone, DeviceState.CLOSED)
            case sg.InputEnded():
                self.microphone = _now(self.microphone, DeviceState.ENDED)
            case sg.InputFailed(fault):
                self.microphone = _now(self.microphone, DeviceState.FAILED, fault=fault.message)
            case sg.InputGlitched(glitches):
                self.microphone = replace(self.microphone, glitches=self.microphone.glitches + glitches)
            case sg.VoiceBegan() | sg.VoiceEnded():
                self.voice_active = isinstance(signal, sg.VoiceBegan)
                self.utterances += self.voice_active
            case sg.SpeechEnd():
                pass  # of a recording: it says nothing about the device

    def take_output(self, signal: sg.Playout) -> None:
        """Take in what befell the loudspeaker."""
        match signal:
            case sg.OutputOpened(name):
                self.loudspeaker = _now(self.loudspeaker, DeviceState.OPEN, name=name)
            case sg.OutputFailed(fault):
                self.loudspeaker = _now(self.loudspeaker, DeviceState.FAILED, fault=fault.message)
            case sg.OutputGlitched(glitches):
                self.loudspeaker = replace(self.loudspeaker, glitches=self.loudspeaker.glitches + glitches)
            case sg.Flushed():
                pass  # of what was heard, not of the device


def _now(device: DeviceStatus, state: DeviceState, *, name: str | None = None, fault: str = "") -> DeviceStatus:
    """The device in another state, or another device; what its predecessors suffered stays counted."""
    return replace(device, name=device.name if name is None else name, state=state, fault=fault)
