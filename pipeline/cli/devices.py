"""`talkwire devices`: what `device:NAME` can name on this machine."""

import json as json_text

from pipeline.cli import say
from pipeline.cli.interruption import perform
from pipeline.cli.options import Json
from pipeline.edges.sound_card_look import look
from pipeline.edges.sound_card_names import KINDS, Direction, SoundDevice


def devices(*, json: Json = False) -> int:
    """List the sound devices by the names that audio.input and audio.output take.

    A name stays the same over reboots; any part of it that no other device has will do, as in device:usb. The list
    comes from a process of its own, so a sound server that hangs is told instead of waited for.
    """

    async def tell() -> None:
        found = await look()
        directions: tuple[Direction, ...] = ("input", "output")
        for direction in directions:
            for device in found:
                if device.channels(direction):
                    say((_json_line if json else _text_line)(device, direction))

    return perform(tell)


def _text_line(device: SoundDevice, direction: Direction) -> str:
    preferred = "  (device:default)" if device.is_default(direction) else ""
    kind, channels = KINDS[direction], device.channels(direction)
    return f"{kind:12}device:{device.name}  {device.rate_hz} Hz, {channels} channel{'s' * (channels > 1)}{preferred}"


def _json_line(device: SoundDevice, direction: Direction) -> str:
    return json_text.dumps(
        {
            "direction": direction,
            "device": f"device:{device.name}",
            "rate_hz": device.rate_hz,
            "channels": device.channels(direction),
            "default": device.is_default(direction),
        },
        ensure_ascii=False,
    )
