"""Settings read again while the daemon runs: what can be used at once, and what waits for a restart."""

from typing import Final, NamedTuple

import msgspec

from pipeline.vocabulary.settings import Settings

APPLICABLE: Final = frozenset(
    {
        "audio.volume",
        "turn.threshold",
        "turn.prefix_padding_ms",
        "turn.silence_duration_ms",
        "conversation.instructions",
        "conversation.language",
        "conversation.transcription_model",
        "retry.first_s",
        "retry.cap_s",
        "retry.busy_cap_s",
        "retry.reset_after_s",
    }
)
"""What the session alone decides with. A service locks the voice at the first sound and the model at the opening."""
ELSEWHERE: Final = frozenset({"server", "tokens"})
"""Sections of other programs: a change there means nothing to the daemon."""


class Reload(NamedTuple):
    """What is to become of new settings.

    Attributes:
        settings: what the daemon runs with from now on.
        applied: paths of what changed in them.
        needs_restart: paths of what stays as it is until then.
    """

    settings: Settings
    applied: list[str]
    needs_restart: list[str]


def plan_reload(running: Settings, read: Settings) -> Reload:
    """Decide what to take over from settings that were `read` again."""
    changed = [
        f"{section}.{key}"
        for section in msgspec.structs.asdict(running)
        if section not in ELSEWHERE
        for key, value in msgspec.structs.asdict(getattr(running, section)).items()
        if getattr(getattr(read, section), key) != value
    ]
    applied = [path for path in changed if path in APPLICABLE]
    settings = running
    for path in applied:
        section, _, key = path.partition(".")
        table = msgspec.structs.replace(getattr(settings, section), **{key: getattr(getattr(read, section), key)})
        settings = msgspec.structs.replace(settings, **{section: table})
    return Reload(settings, applied, [path for path in changed if path not in APPLICABLE])
