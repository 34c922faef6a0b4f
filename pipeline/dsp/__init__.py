"""Layer 2, signal arithmetic: arrays in, arrays out."""
