"""talkwire: a realtime speech endpoint. Start at `topology.py` (the map), then `app.py`."""

__version__ = "0.1.0"
