"""Segments of speech as subtitle files: SubRip (`srt`) and WebVTT (`vtt`, https://www.w3.org/TR/webvtt1/)."""

from collections.abc import Iterable

from pipeline.server.rest.recording import Segment


def subrip(segments: Iterable[Segment]) -> str:
    """Numbered blocks."""
    return "".join(f"{number}\n{_cue(segment, ',')}\n" for number, segment in enumerate(segments, 1))


def webvtt(segments: Iterable[Segment]) -> str:
    """A header and blocks."""
    return "WEBVTT\n\n" + "".join(f"{_cue(segment, '.')}\n" for segment in segments)


def _cue(segment: Segment, decimal: str) -> str:
    return f"{_clock(segment.start_s, decimal)} --> {_clock(segment.end_s, decimal)}\n{segment.text}\n"


def _clock(seconds: float, decimal: str) -> str:
    minutes, ms = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{ms // 1000:02}{decimal}{ms % 1000:03}"
