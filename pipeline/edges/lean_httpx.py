"""httpx without its command line, which would bring click, rich and pygments: 5 MB and 30 ms of every daemon."""

import sys
from types import ModuleType
from typing import cast

sys.modules.setdefault("httpx._main", cast("ModuleType", None))  # as if what it needs were not installed

import httpx  # noqa: E402 only after that line

__all__ = ["httpx"]
