"""Side house: the token backend. `policy.py` decides, `app.py` serves."""
