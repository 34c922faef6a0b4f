"""What a call's notices amount to: its state now, who said what, how long the answer took."""

import msgspec

from pipeline.vocabulary.errors import ProtocolError
from pipeline.vocabulary.signals import (
    AnyNotice,
    CallState,
    FaultNotice,
    FinishedNotice,
    StateNotice,
    TimelineNotice,
    TranscriptNotice,
)

_DECODER: msgspec.json.Decoder[AnyNotice] = msgspec.json.Decoder(AnyNotice)


class CallRecord:
    """Notices folded into what a person wants to know.

    Attributes:
        state: what the call is doing.
        timeline_ms: of the newest answer; empty while there is none.
        reached_s: when each state was first reached (host clock).
        fault: the last one, as a sentence; empty if there was none.
        finished: the last notice, once it came.
    """

    def __init__(self) -> None:
        self.state = CallState.IDLE
        self.timeline_ms: dict[str, float] = {}
        self.reached_s: dict[CallState, float] = {}
        self.fault = ""
        self.finished: FinishedNotice | None = None
        self._lines: dict[str, TranscriptNotice] = {}

    def add(self, line: bytes) -> AnyNotice:
        """Take one line of `talkwire run --json` in. Raises ProtocolError if it is none."""
        try:
            notice = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProtocolError("the endpoint printed a line that is no notice") from error
        match notice:
            case StateNotice(state=state, at_s=at_s):
                self.state = state
                self.reached_s.setdefault(state, at_s)
            case TranscriptNotice(item_id=item_id):
                self._lines[item_id] = notice
            case TimelineNotice(timeline_ms=timeline_ms):
                self.timeline_ms = timeline_ms
            case FaultNotice(fault=fault):
                self.fault = fault.message
            case FinishedNotice():
                self.finished = notice
        return notice

    @property
    def lines(self) -> list[TranscriptNotice]:
        """What was said, in the order it began."""
        return [line for line in self._lines.values() if line.text.strip()]

    def words(self, role: str) -> str:
        """Everything one side said, in one line."""
        return " ".join(line.text.strip() for line in self.lines if line.role == role)
