"""A snapshot of a healthy daemon in two processes, for tests that change what they are about."""

from pipeline.vocabulary.control import (
    ActorStatus,
    DeviceState,
    DeviceStatus,
    LinkSide,
    LinkStatus,
    ProcessStatus,
    SessionStatus,
    SnapshotNotice,
    VoiceStatus,
)
from pipeline.vocabulary.signals import CallState

SESSION = SessionStatus(
    state=CallState.LISTENING, state_age_s=12.0, line="live", turn="quiet", generation=1, live_age_s=61.0,
    expires_at=None, turns_heard=4, muted=False, push_to_talk=False, fault="",
)  # fmt: skip
MAIN = ProcessStatus("main", 100, "running", 0, 3_700.0, None, 62_000_000, "")
AUDIO = ProcessStatus("audio", 101, "running", 0, 3_600.0, 0.05, 41_000_000, "")
CAPTURE = ActorStatus("capture", "audio", "running", 0, "")
MIC = LinkStatus(
    "mic", "capture", "encoder", 2_000.0, "ms", "drop_oldest",
    [LinkSide("audio", 40.0, 2, 900, 898, 0, 0, 0, 0), LinkSide("main", 0.0, 0, 897, 897, 0, 0, 0, 0)],
)  # fmt: skip
SNAPSHOT = SnapshotNotice(
    version="0.1.0",
    at_s=5_000.0,
    uptime_s=3_700.0,
    troubles=[],
    session=SESSION,
    microphone=DeviceStatus("mic", DeviceState.OPEN),
    loudspeaker=DeviceStatus("loud", DeviceState.OPEN),
    voice=VoiceStatus("silero", active=False, utterances=7, speech_frames=300),
    frames={"captured": 897, "sent": 897, "spooled": 0},
    processes=[MAIN, AUDIO],
    actors=[ActorStatus("session", "main", "running", 0, ""), CAPTURE],
    links=[MIC],
)
