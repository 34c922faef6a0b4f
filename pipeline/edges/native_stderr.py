"""Descriptor 2 of a process that runs foreign native code: its lines go nowhere, Python's own still arrive."""

import faulthandler
import os
import sys
from contextlib import suppress
from typing import Final

STDERR: Final = 2


def divert_native_stderr() -> None:
    """Let everything that native code writes to stderr vanish from now on; what Python says goes where it went before.

    ALSA, its plug-ins and PortAudio print what they like ("underrun occurred"), from threads of their own, at any time:
    five lines for every device that does not open, four times a second. ALSA alone would take a handler, but that has
    to be a variadic C function, and PortAudio takes none; so the descriptor is the one place to get hold of them all.

    Of a crash in native code the fault handler tells where Python was. Only what the interpreter says of an error in
    itself (Py_FatalError) is lost with the rest, for it knows no other descriptor; the parent sees that death, too.
    """
    if sys.stderr is None:
        return  # it was closed when this process began: who knows what 2 is now
    with suppress(OSError):  # no descriptor left: then be it loud, until the next call
        if sys.stderr.fileno() != STDERR:
            return  # done before
        kept = open(  # noqa: SIM115, PTH123 - a descriptor, for the rest of this process
            os.dup(STDERR), "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors
        )
        nowhere = os.open(os.devnull, os.O_WRONLY)
        sys.stderr = kept
        faulthandler.enable(kept)
        os.dup2(nowhere, STDERR)
        os.close(nowhere)
