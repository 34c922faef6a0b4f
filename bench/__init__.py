"""`python -m bench`: how fast and how small talkwire is, always beside something measured in the same run."""
