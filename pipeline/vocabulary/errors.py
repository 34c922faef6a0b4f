"""The tree of errors, and the verdict each one carries.

TalkwireError
├── ConfigurationError      stop     a setting cannot be used; lists every problem at once       exit 78
├── UsageError              stop     the command line asks for something impossible              exit 2
├── AudioFileError          stop     a WAV cannot be read or written                             exit 2
├── NothingHeardError       stop     the input held no speech                                    exit 3
├── AlreadyRunningError     stop     the port or the lock is taken                               exit 75
├── NoDaemonError           stop     nobody answers on the control socket                        exit 3
├── CrashLoopError          stop     restart intensity exceeded                                  exit 70
├── ConnectionLostError     retry    network, handshake, close frame or silence on the line
├── ServiceBusyError        retry    429 or 5xx; carries `retry_after_s`
├── ProtocolError           retry    the peer said something the protocol does not allow
├── CredentialExpiredError  renew    the client secret is no longer accepted
├── CredentialRefusedError  stop     the key or the secret is wrong; a new one will be wrong too  exit 78
├── ServiceRefusedError     stop     model, settings or account refused; retrying cannot help     exit 78
├── DeviceError             restart  a microphone or loudspeaker failed
│   └── SoundSystemHungError  stop  the sound system answers no more; only the end of this process frees it
├── LinkError
│   ├── LinkFullError       restart  a link whose overflow rule is "fail" is full
│   └── LinkClosedError     restart  the other end is gone
└── MissingTransitionError  restart  a state met an event its table has no cell for

The verdict says what the session does about it; the exit code what the shell is told when the process ends with it.
A message is one line for a person: what happened, then what to do. It never holds a secret or a transcript.
"""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """What an error asks for."""

    RETRY = "retry"
    RENEW = "renew"
    RESTART = "restart"
    STOP = "stop"


class TalkwireError(Exception):
    """Base of the tree; never raised itself."""

    verdict: Verdict = Verdict.STOP
    exit_code: int = 70

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def fault(self) -> "Fault":
        """This error as a value that can travel over a link."""
        return Fault(kind=type(self).__name__.removesuffix("Error"), verdict=self.verdict, message=self.message)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """An error as a value: what an actor reports to the session instead of raising.

    Attributes:
        kind: name of the error class without "Error".
        verdict: what it asks for.
        message: one line for a person.
        cause: stable word for statistics: dns, refused, timeout, tls, status_503, close_1001, ...
        retry_after_s: the earliest moment of the next attempt, as the peer asked for; counted from now.
    """

    kind: str
    verdict: Verdict
    message: str
    cause: str = ""
    retry_after_s: float | None = None


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with the settings: where (`audio.frame_ms`) and what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigurationError(TalkwireError):
    """One or more settings cannot be used."""

    exit_code = 78

    def __init__(self, problems: list[Problem]) -> None:
        assert problems, "a configuration error names at least one problem"
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class UsageError(TalkwireError):
    """The command line asks for something impossible."""

    exit_code = 2


class AudioFileError(TalkwireError):
    """A sound file cannot be read or written."""

    exit_code = 2


class NothingHeardError(TalkwireError):
    """The input held no speech."""

    exit_code = 3


class AlreadyRunningError(TalkwireError):
    """The port or the lock is taken."""

    exit_code = 75


class NoDaemonError(TalkwireError):
    """Nobody answers on the control socket, or not in time."""

    exit_code = 3


class CrashLoopError(TalkwireError):
    """More restarts than the restart intensity allows."""

    exit_code = 70


class WireError(TalkwireError):
    """Base of what can go wrong between us and the service or the token backend; never raised itself."""

    def __init__(self, message: str, *, cause: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        self.retry_after_s = retry_after_s

    def fault(self) -> Fault:
        """This error as a value, with its cause and the peer's wish for a pause."""
        return msgspec.structs.replace(super().fault(), cause=self.cause, retry_after_s=self.retry_after_s)


class ConnectionLostError(WireError):
    """Name look-up, TCP, TLS, handshake, close frame, deadline: the line is gone, another may work."""

    verdict = Verdict.RETRY
    exit_code = 78


class ServiceBusyError(WireError):
    """The peer is there and asks for patience (429, 5xx)."""

    verdict = Verdict.RETRY
    exit_code = 78


class ProtocolError(WireError):
    """The peer broke the protocol."""

    verdict = Verdict.RETRY


class CredentialExpiredError(WireError):
    """The client secret is no longer accepted; a fresh one may be."""

    verdict = Verdict.RENEW
    exit_code = 78


class CredentialRefusedError(WireError):
    """The key is wrong; trying again cannot help."""

    verdict = Verdict.STOP
    exit_code = 78


class ServiceRefusedError(WireError):
    """Model, settings or account refused; trying again cannot help."""

    verdict = Verdict.STOP
    exit_code = 78


class DeviceError(TalkwireError):
    """A microphone or loudspeaker failed."""

    verdict = Verdict.RESTART
    exit_code = 78


class SoundSystemHungError(DeviceError):
    """A call into the sound system, or its call to us, is overdue: nothing in this process can cure that.

    Whoever runs the process ends it without cleaning up, for closing a stream and even an ordinary exit would hang as
    well; every later try in it fails with this error at once. Nobody may catch it to try again. Where sound has a
    process of its own that is an outage and not a crash: the next one is started, for as long as it takes. Where it has
    not, the service manager is to start the daemon again, so its exit code (EX_UNAVAILABLE in sysexits.h) is its own.
    """

    verdict = Verdict.STOP
    exit_code = 69

    def fault(self) -> Fault:
        """This error as a value; its cause tells the process layer what to do."""
        return msgspec.structs.replace(super().fault(), cause="hung")


class LinkError(TalkwireError):
    """Base of link failures; never raised itself."""

    verdict = Verdict.RESTART


class LinkFullError(LinkError):
    """The link is full and its overflow rule is "fail"."""


class LinkClosedError(LinkError):
    """The other end of the link is gone."""


class MissingTransitionError(TalkwireError):
    """A state table has no cell for this state and event: a defect in the table."""

    verdict = Verdict.RESTART


def error_from(fault: Fault) -> TalkwireError:
    """The exception a fault was made from, to raise it where it ends the program."""
    todo, kinds = [TalkwireError], dict[str, type[TalkwireError]]()
    while todo:
        kind = todo.pop()
        kinds[kind.__name__.removesuffix("Error")] = kind
        todo += kind.__subclasses__()
    made = kinds.get(fault.kind, TalkwireError)
    if issubclass(made, WireError):
        return made(fault.message, cause=fault.cause, retry_after_s=fault.retry_after_s)
    return (TalkwireError if made is ConfigurationError else made)(fault.message)
