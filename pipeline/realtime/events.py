"""The Realtime wire in one import: every client and server event and the objects they carry.

An event's class is the wire type in CamelCase (`response.output_audio.delta`: ResponseOutputAudioDelta), but `error` is
ErrorEvent.
"""

from pipeline.realtime.client_events import *  # noqa: F403 - this module exists to hand every name on
from pipeline.realtime.objects import *  # noqa: F403 - likewise
from pipeline.realtime.server_events import *  # noqa: F403 - likewise
