"""Faults of what the client asks: refused although nothing is wrong with it, as the races of the real service do."""

from typing import Annotated

from msgspec import Meta

from pipeline.realtime.events import Json
from pipeline.server.faults.schema import Ask, Count, Effect, Fault, Here, Move, Say, when_asked


class UpdateRefused(Fault, frozen=True, kw_only=True, tag="update_refused"):
    """`session.update` is answered with an error: nothing of it is in force, no `session.updated` comes.

    Client: goes on with the settings there are, or stops and says why.
    """

    code: str = "unknown_parameter"
    param: str = "session.audio.input.turn_detection"

    def asked(self, here: Here) -> Effect:
        """An error instead."""

        def refuse(event: Json) -> tuple[Move, ...]:
            return (here.error(self.code, f"Unknown parameter: '{self.param}'.", param=self.param, about=event),)

        return when_asked("session.update", here, refuse)


class CommitRace(Fault, frozen=True, kw_only=True, tag="commit_race"):
    """`input_audio_buffer.commit` finds the buffer empty, as if the detector had been faster.

    Client: takes it as no error.
    """

    def asked(self, here: Here) -> Effect:
        """An error instead."""
        message = (
            "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
            "but buffer only has 0.00ms of audio."
        )

        def refuse(event: Json) -> tuple[Move, ...]:
            return (here.error("input_audio_buffer_commit_empty", message, about=event),)

        return when_asked("input_audio_buffer.commit", here, refuse)


class CancelRace(Fault, frozen=True, kw_only=True, tag="cancel_race"):
    """`response.cancel` is answered with "no active response found"; the response ends all the same.

    Client: takes it as no error.
    """

    def asked(self, here: Here) -> Effect:
        """An error beside."""

        def race(event: Json) -> tuple[Move, ...]:
            message = "Cancellation failed: no active response found"
            return here.error("response_cancel_not_active", message, about=event), Ask(event)

        return when_asked("response.cancel", here, race)


class ActiveResponseRace(Fault, frozen=True, kw_only=True, tag="active_response_race"):
    """The next `response.create` is refused because a response is already active.

    Client: tries again once that response is done.
    """

    times: Count | None = 1

    def asked(self, here: Here) -> Effect:
        """An error instead."""

        def refuse(event: Json) -> tuple[Move, ...]:
            active = next(iter(here.scene.active), None) or here.scene.new_id("resp_fault_")
            return (already_active(here, active, event),)

        return when_asked("response.create", here, refuse)


class TruncateError(Fault, frozen=True, kw_only=True, tag="truncate_error"):
    """`conversation.item.truncate` is answered with "already shorter".

    Client: takes it as no error.
    """

    short_ms: Annotated[int, Meta(ge=1, le=60_000)] = 85

    def asked(self, here: Here) -> Effect:
        """An error instead."""

        def refuse(event: Json) -> tuple[Move, ...]:
            asked_ms = event.get("audio_end_ms")
            length_ms = max(0, asked_ms - self.short_ms) if isinstance(asked_ms, int) else 0
            message = f"Audio content of {length_ms}ms is already shorter than {asked_ms}ms"
            return (here.error("invalid_value", message, param="audio_end_ms", about=event),)

        return when_asked("conversation.item.truncate", here, refuse)


class RestoreRefused(Fault, frozen=True, kw_only=True, tag="restore_refused"):
    """One item of the history that a client restores (`conversation.item.create`) is refused.

    Client: leaves the item out and goes on.
    """

    times: Count | None = 1

    def asked(self, here: Here) -> Effect:
        """An error instead."""

        def refuse(event: Json) -> tuple[Move, ...]:
            message = "Invalid value: 'item'. The item cannot be added."
            return (here.error("invalid_value", message, param="item", about=event),)

        return when_asked("conversation.item.create", here, refuse)


def already_active(here: Here, response_id: str, event: Json) -> Say:
    """The error that refuses a second response in the conversation."""
    message = (
        f"Conversation already has an active response in progress: {response_id}. "
        "Wait until the response is finished before creating a new one."
    )
    return here.error("conversation_already_has_active_response", message, about=event)
