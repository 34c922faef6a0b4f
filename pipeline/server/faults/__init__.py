"""Faults of the local server: what a service, or the way to it, does to its clients on bad days. Pure."""
