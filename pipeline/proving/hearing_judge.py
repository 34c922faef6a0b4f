"""The judge of a deaf service: people speak, the daemon hears them, and the service says nothing of it."""

import math
from collections import deque
from typing import Final

from pipeline.proving import happenings as hp
from pipeline.proving.oracle import Judge, Verdict

HEARS: Final = (
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "response.created",
    "response.output_audio.delta",
)
"""Events with which a service shows that it hears somebody, or has something to say itself."""


class HearingJudge(Judge):
    """A session that hears nothing of what is said in quiet is replaced, once (25-deaf)."""

    UNHEARD_MAX = 2
    WINDOW_S = 60.0
    WAIT_S = 8.0
    SLACK_S = 0.5 + 1.5  # until the local detector is sure of the end, and for a close frame
    QUIET_S = 12.0  # nobody spoke, nothing was heard and the loudspeaker stood ready for so long
    SHORTEST_FRAMES = 30

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self._wire: int | None = None  # the session that is ready
        self._since_s = math.inf  # what has to be quiet was not quiet
        self._listening = False  # by the service's word
        self._loudspeaker = False
        self._muted = False
        self._given_up = False  # a session, perhaps for deafness, and none has heard anything since
        self._frames = 0  # of speech in this utterance
        self._quiet = False  # it began in quiet
        self._unheard_s: deque[float] = deque(maxlen=self.UNHEARD_MAX)

    def _on_daemonstarted(self, _event: hp.DaemonStarted, now: float) -> None:
        self._wire, self._muted, self._given_up = None, False, False
        self._disturb(now)

    def _on_told(self, event: hp.Told, now: float) -> None:
        if event.kind == "session.updated" and event.wire != self._wire:
            self._wire, self._listening = event.wire, False
            self._disturb(now - self.QUIET_S if self._loudspeaker else now)
        elif event.kind in HEARS:
            self._listening = event.kind == "input_audio_buffer.speech_started"
            self._given_up = False
            self._disturb(now)

    def _on_played(self, _event: hp.Played, now: float) -> None:
        self._disturb(now)

    def _on_loudspeakeropened(self, _event: hp.LoudspeakerOpened, now: float) -> None:
        self._loudspeaker = True
        self._disturb(now)

    def _on_loudspeakerclosed(self, _event: hp.LoudspeakerClosed, now: float) -> None:
        self._loudspeaker = False
        self._disturb(now)

    def _on_muted(self, _event: hp.Muted, now: float) -> None:
        self._muted = True
        self._disturb(now)

    def _on_unmuted(self, _event: hp.Unmuted, _now: float) -> None:
        self._muted = False

    def _on_utterancebegan(self, _event: hp.UtteranceBegan, now: float) -> None:
        self._frames, self._quiet = 0, self._is_quiet(now)

    def _on_captured(self, event: hp.Captured, _now: float) -> None:
        self._frames += event.speech

    def _on_utteranceended(self, _event: hp.UtteranceEnded, now: float) -> None:
        if not (self._quiet and self._is_quiet(now) and self._frames >= self.SHORTEST_FRAMES):
            return
        self._unheard_s.append(now)
        often = len(self._unheard_s) == self.UNHEARD_MAX and now - self._unheard_s[0] <= self.WINDOW_S
        if often and not self._given_up:
            text = f"wire {self._wire} hears nothing and was kept"
            self.expect("25-deaf", now + self.WAIT_S + self.SLACK_S, "deaf", text)

    def _on_left(self, event: hp.Left, _now: float) -> None:
        if event.wire == self._wire:
            self._given_up = True
            self._lose()

    def _on_broken(self, event: hp.Broken, _now: float) -> None:
        if event.wire == self._wire:
            self._lose()

    def _on_hungup(self, event: hp.HungUp, _now: float) -> None:
        if event.wire == self._wire:
            self._lose()

    def _on_stopasked(self, _event: hp.StopAsked, _now: float) -> None:
        self._lose()

    def _is_quiet(self, now: float) -> bool:
        ready = self._wire is not None and self._loudspeaker and not (self._muted or self._listening)
        return ready and now - self._since_s >= self.QUIET_S

    def _disturb(self, at_s: float) -> None:
        self._since_s = at_s
        self._unheard_s.clear()
        self.owed.pay("25-deaf", "deaf")

    def _lose(self) -> None:
        self._wire = None
        self._unheard_s.clear()
        self.owed.pay("25-deaf", "deaf")
