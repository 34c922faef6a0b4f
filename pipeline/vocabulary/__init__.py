"""Layer 0, the nouns: frames, signals, errors, settings. Everything may import it; it imports only msgspec."""
