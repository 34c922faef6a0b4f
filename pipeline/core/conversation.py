"""What was said, line by line, keyed by conversation item.

Transcripts come late, in pieces and out of order (protocol.md §7), so each line is found by its item; the order of the
lines is the order in which the items were announced.
"""

from pipeline.vocabulary.signals import TranscriptNotice

LINES_MAX = 200
"""More than a context holds; the oldest lines go first."""


class Line:
    """One item's words so far."""

    __slots__ = ("final", "interrupted", "item_id", "role", "text")

    def __init__(self, item_id: str, role: str) -> None:
        self.item_id = item_id
        self.role = role
        self.text = ""
        self.final = False
        self.interrupted = False

    def notice(self) -> TranscriptNotice:
        """The line as the world is told it."""
        return TranscriptNotice(role=self.role, item_id=self.item_id, text=self.text, final=self.final)


class Conversation:
    """The lines of one call."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    @property
    def lines(self) -> list[Line]:
        """All lines, oldest first."""
        return list(self._lines.values())

    def announce(self, item_id: str, role: str) -> None:
        """Give the item its place in the order before its words are known."""
        self._line(item_id, role)

    def add(self, item_id: str, role: str, delta: str) -> TranscriptNotice | None:
        """More words of an item; None once its final words are known (a late delta)."""
        line = self._line(item_id, role)
        if line.final:
            return None
        line.text += delta
        return line.notice()

    def finish(self, item_id: str, role: str, text: str) -> TranscriptNotice:
        """The final words of an item."""
        line = self._line(item_id, role)
        line.text, line.final = text.strip(), True
        return line.notice()

    def interrupt(self, item_id: str) -> None:
        """The listener did not hear this item to its end."""
        if item_id in self._lines:
            self._lines[item_id].interrupted = True

    def _line(self, item_id: str, role: str) -> Line:
        line = self._lines.get(item_id)
        if line is None:
            line = self._lines[item_id] = Line(item_id, role)
            if len(self._lines) > LINES_MAX:
                del self._lines[next(iter(self._lines))]
        return line
