"""The items of a conversation, in order, and the sound that belongs to them. Pure."""

import base64
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from pipeline.realtime.codec import ClientEventError
from pipeline.realtime.events import ContentPart, Item

MAX_ITEMS: Final = 500
"""The oldest are forgotten beyond this (`truncation: auto`); a kiosk's conversation has dozens."""
MAX_KEPT_SOUND_BYTES: Final = 8 * 1024 * 1024
"""Sound kept for retrieval, about 3 min of PCM; beyond it the oldest goes, its words stay. 32 sessions: 256 MB."""
MAX_PICTURE_CHARACTERS: Final = 16 * 1024 * 1024
"""Pictures of one conversation, as data URIs; they are kept whole, so one more is refused."""

_TOKEN: Final = re.compile(r"\w+|[^\w\s]")


class Entry(msgspec.Struct):
    """An item and what is known beside it.

    Attributes:
        item: as the client was told, without sound.
        audio_ms: the length of its sound, also after the sound itself was dropped.
        bytes_per_ms: of its sound.
        sound: as it was on the wire, while it is kept.
        text_tokens: its words, counted.
        truncated: its words are forgotten, because nobody knows how many of them were heard.
    """

    item: Item
    audio_ms: float = 0.0
    bytes_per_ms: int = 1
    sound: bytearray = msgspec.field(default_factory=bytearray)
    text_tokens: int = 0
    truncated: bool = False

    def with_sound(self) -> Item:
        """The item with its sound in its audio part, if that is kept."""
        if not self.sound:
            return self.item
        audio = base64.b64encode(self.sound).decode("ascii")
        content = [
            msgspec.structs.replace(part, audio=audio) if part.is_audio else part for part in self.item.content or []
        ]
        return msgspec.structs.replace(self.item, content=content)


class Items:
    """Entries by position and by id."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._by_id: dict[str, Entry] = {}
        self._kept_sound_bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def find(self, item_id: str) -> Entry | None:
        """The entry with this id."""
        return self._by_id.get(item_id)

    def append(self, item: Item) -> str | None:
        """Add at the end; returns the id of the item before it."""
        return self.insert(item, None)

    def insert(self, item: Item, previous_item_id: str | None) -> str | None:
        """Add at the end (None), first ("root") or after the item named; returns the id of the item before it.

        Raises:
            ClientEventError: the id is taken, there is no such previous item, or no room for another picture.
        """
        assert item.id, "every item has an id before it enters the conversation"
        if item.id in self._by_id:
            message = f"Error adding item: an item with id '{item.id}' already exists."
            raise ClientEventError("item_create_duplicate_item_id", message)
        position = self._position_after(previous_item_id)
        self._check_pictures(item)
        entry = Entry(item, text_tokens=count_tokens(text_of(item)))
        self._entries.insert(position, entry)
        self._by_id[item.id] = entry
        before = self._entries[position - 1].item.id if position else None
        if len(self._entries) > MAX_ITEMS:
            self._forget(self._entries[0])
        return before

    def replace(self, item: Item) -> None:
        """Exchange an item for its newer state; nothing if it was deleted meanwhile."""
        entry = self.find(item.id or "")
        if entry is not None:
            entry.item = item
            entry.text_tokens = count_tokens(text_of(item))

    def add_sound(self, item_id: str, sound: bytes, bytes_per_ms: int) -> None:
        """More sound of an item; nothing if it was deleted meanwhile."""
        entry = self.find(item_id)
        if entry is None:
            return
        is_whole = len(entry.sound) == round(entry.audio_ms * entry.bytes_per_ms)
        entry.bytes_per_ms = bytes_per_ms
        entry.audio_ms += len(sound) / bytes_per_ms
        if is_whole and not entry.truncated:  # a part of it would be told as if it were all
            entry.sound += sound
            self._kept_sound_bytes += len(sound)
            self._drop_oldest_sound()

    def remove(self, item_id: str) -> None:
        """Delete an item.

        Raises:
            ClientEventError: there is none.
        """
        entry = self.find(item_id)
        if entry is None:
            message = f"Error deleting item: the item with id '{item_id}' does not exist."
            raise ClientEventError("item_delete_invalid_item_id", message, "item_id")
        self._forget(entry)

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Cut the sound of an assistant's item and forget its words, of which nobody knows how many were heard.

        Raises:
            ClientEventError: no such item or part, no assistant's sound, or shorter than `audio_end_ms` already.
        """
        entry = self.find(item_id)
        if entry is None:
            message = f"Error truncating item: the item with id '{item_id}' does not exist."
            raise ClientEventError("item_truncate_invalid_item_id", message, "item_id")
        content = entry.item.content or []
        if entry.item.role != "assistant" or not any(part.is_audio for part in content):
            raise ClientEventError("unsupported_content_type", "Only model output audio messages can be truncated.")
        if content_index >= len(content):
            message = f"Invalid 'content_index': the item has {len(content)} content part(s)."
            raise ClientEventError("invalid_value", message, "content_index")
        if audio_end_ms > entry.audio_ms:
            message = f"Audio content of {int(entry.audio_ms)}ms is already shorter than {audio_end_ms}ms"
            raise ClientEventError("invalid_value", message, "audio_end_ms")
        entry.audio_ms = audio_end_ms
        entry.truncated = True
        kept_bytes = len(entry.sound)
        del entry.sound[audio_end_ms * entry.bytes_per_ms :]
        self._kept_sound_bytes -= kept_bytes - len(entry.sound)
        self.replace(msgspec.structs.replace(entry.item, content=[ContentPart(type="output_audio")]))

    def _forget(self, entry: Entry) -> None:
        assert entry.item.id
        self._entries.remove(entry)
        del self._by_id[entry.item.id]
        self._kept_sound_bytes -= len(entry.sound)

    def _drop_oldest_sound(self) -> None:
        for entry in self._entries:
            if self._kept_sound_bytes <= MAX_KEPT_SOUND_BYTES:
                return
            self._kept_sound_bytes -= len(entry.sound)
            entry.sound = bytearray()

    def _check_pictures(self, item: Item) -> None:
        size = sum(map(len, pictures_of(item)))
        if size and size + sum(len(uri) for entry in self for uri in pictures_of(entry.item)) > MAX_PICTURE_CHARACTERS:
            message = f"Pictures of one conversation may take {MAX_PICTURE_CHARACTERS} characters; delete some first."
            raise ClientEventError("invalid_value", message, "item.content")

    def _position_after(self, previous_item_id: str | None) -> int:
        if previous_item_id is None:
            return len(self._entries)
        if previous_item_id == "root":
            return 0
        for position, entry in enumerate(self._entries):
            if entry.item.id == previous_item_id:
                return position + 1
        message = f"Error adding item: the previous item with id '{previous_item_id}' does not exist."
        raise ClientEventError("item_create_invalid_previous_item_id", message, "previous_item_id")


def count_tokens(text: str) -> int:
    """Words and punctuation marks: this server has no tokenizer, and counts what it really handled."""
    return len(_TOKEN.findall(text))


def text_of(item: Item) -> str:
    """All words of an item, written and spoken."""
    words = (part.text or part.transcript or "" for part in item.content or [])
    return " ".join(filter(None, words)) or item.output or item.arguments or item.reason or ""


def pictures_of(item: Item) -> tuple[str, ...]:
    """The pictures of an item, as data URIs."""
    return tuple(part.image_url for part in item.content or [] if part.image_url)
