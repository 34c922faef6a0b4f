"""Layer 7, the proving ground: what puts talkwire, and anybody's client or server, under faults. Driven by cli only."""
