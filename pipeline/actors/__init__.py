"""Layer 4, one async function per file; no actor imports another."""
