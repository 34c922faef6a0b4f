"""How much memory a process holds, as the kernel counts it."""

import resource
from pathlib import Path


def resident_bytes(pid: int) -> int | None:
    """Resident set of a process of this user; None if there is none."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):  # IndexError: it is a zombie, which holds nothing
        return None
    return int(pages) * resource.getpagesize()
