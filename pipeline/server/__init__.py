"""Side house: the local Realtime server. `conversation.py` decides, `app.py` serves, `engines/` listen and speak."""
