"""Layer 1, the Realtime wire, sans-IO: shared by the client and the local server."""
