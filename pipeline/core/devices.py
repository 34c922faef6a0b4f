"""What the session knows of microphone, loudspeaker and local detector."""

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
            self.microphone = DeviceStatus(self.microphone.name)

    def lose(self) -> None:
        """The process that held them has ended: what was to be open is not, until it is told anew that it is."""
        self.has_no_ears = True
        self.microphone = DeviceStatus(self.microphone.name, DeviceState.GONE if self.listening else DeviceState.CLOSED)
        self.loudspeaker = DeviceStatus(self.loudspeaker.name, DeviceState.GONE)

    def take_input(self, signal: sg.Activity) -> None:
        """Take in what befell the microphone, or what was heard with it."""
        match signal:
            case sg.InputReady(detector):
                self.detector = detector
                self.has_no_ears = False
                self.listening = self.voice_active = False
                if self.microphone.state is not DeviceState.GONE:  # else it will be opened again
                    self.microphone = DeviceStatus()
            case sg.InputOpened(name):
                self.microphone = DeviceStatus(name, DeviceState.OPEN)
            case sg.InputClosed():
                self.microphone = DeviceStatus(self.microphone.name)
            case sg.InputEnded():
                self.microphone = DeviceStatus(self.microphone.name, DeviceState.ENDED)
            case sg.InputFailed(fault):
                self.microphone = DeviceStatus(self.microphone.name, DeviceState.FAILED, fault.message)
            case sg.VoiceBegan():
                self.voice_active = True
                self.utterances += 1
            case sg.VoiceEnded():
                self.voice_active = False
            case sg.SpeechEnd():
                pass  # of a recording: it says nothing about the device

    def take_output(self, signal: sg.Playout) -> None:
        """Take in what befell the loudspeaker."""
        match signal:
            case sg.OutputOpened(name):
                self.loudspeaker = DeviceStatus(name, DeviceState.OPEN)
            case sg.OutputFailed(fault):
                self.loudspeaker = DeviceStatus(self.loudspeaker.name, DeviceState.FAILED, fault.message)
            case sg.Flushed():
                pass  # of what was heard, not of the device
