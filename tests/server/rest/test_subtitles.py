from pipeline.server.rest.recording import Segment
from pipeline.server.rest.subtitles import subrip, webvtt

SEGMENTS = [Segment(0.7, 1.9996, "One."), Segment(3_725.25, 3_726.0, "Two.")]


def test_subrip() -> None:
    assert subrip(SEGMENTS) == ("1\n00:00:00,700 --> 00:00:02,000\nOne.\n\n2\n01:02:05,250 --> 01:02:06,000\nTwo.\n\n")


def test_webvtt() -> None:
    assert webvtt(SEGMENTS) == (
        "WEBVTT\n\n00:00:00.700 --> 00:00:02.000\nOne.\n\n01:02:05.250 --> 01:02:06.000\nTwo.\n\n"
    )
