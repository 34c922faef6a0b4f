"""What is wrong with a running endpoint: the one judgement that the status, health checks and the console share."""

from collections.abc import Iterator

from pipeline.vocabulary.control import ActorStatus, DeviceState, DeviceStatus, ProcessStatus, SessionStatus
from pipeline.vocabulary.signals import CallState

BEAT_AGE_MAX_S = 0.75
"""Four beats a second are due; who is silent for longer is about to be replaced."""


def troubles(
    session: SessionStatus,
    microphone: DeviceStatus,
    loudspeaker: DeviceStatus,
    processes: list[ProcessStatus],
    actors: list[ActorStatus],
) -> list[str]:
    """Everything that is not as it should be, a sentence each, the cause before its consequences.

    What was mended is no trouble, and neither is what somebody asked for: a muted microphone, a recording at its end.
    """
    return [
        *_of_processes(processes),
        *(f"actor {each.name} {_condition(each)}" for each in actors if each.state in {"ended", "overdue"}),
        *(
            f"the {name} failed: {device.fault}"
            for name, device in (("microphone", microphone), ("loudspeaker", loudspeaker))
            if device.state is DeviceState.FAILED
        ),
        *(
            f"the {name} is gone with its process" + _last_end(processes)
            for name, device in (("microphone", microphone), ("loudspeaker", loudspeaker))
            if device.state is DeviceState.GONE
        ),
        *_of_line(session),
    ]


def _of_processes(processes: list[ProcessStatus]) -> Iterator[str]:
    for each in processes:
        if each.state != "running":
            yield f"process {each.name} is {each.state}" + (f": the last one {each.ended}" if each.ended else "")
        elif each.beat_age_s is not None and each.beat_age_s > BEAT_AGE_MAX_S:
            yield f"process {each.name} has not said for {each.beat_age_s:.1f} s that it lives"


def _last_end(processes: list[ProcessStatus]) -> str:
    """How the process of the devices ended: another one runs, and may itself still wait for the sound system."""
    ends = [each.ended for each in processes if each.ended]
    return f", which {ends[0]}" if ends else ""


def _condition(actor: ActorStatus) -> str:
    words = "has ended" if actor.state == "ended" else "does not end"
    return words + (f": {actor.failure}" if actor.failure else "")


def _of_line(session: SessionStatus) -> Iterator[str]:
    if session.state in {CallState.CONNECTING, CallState.RECONNECTING, CallState.ERROR}:
        yield "there is no line to the service" + (f": {session.fault}" if session.fault else "")
