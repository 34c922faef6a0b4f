"""Logs: one line each, on stderr, so that stdout holds nothing but what was asked for."""

import sys

import structlog


def log_to_stderr() -> None:
    """Print every log line as `key=value` pairs with its time; libraries' lines only from warnings on."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
