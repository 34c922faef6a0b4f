"""Layer 2, decisions: pure code that knows no trio, no socket and no clock (`now` is an argument)."""
