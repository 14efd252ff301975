"""What was said, as the log may keep it: nothing, a keyed hash, or the words; `record_content` decides.

The hash is BLAKE2b with a key that is made at random in each home and kept in its database (`meta.content_key`). Two
texts of one home can be compared by their hashes. Who has the events alone, such as an export or a sealed file, can
neither compare them with those of another home nor find a short text by trying many.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from timmy_core.errors import EventDataError
from timmy_core.events.blobs import MAX_BLOB_BYTES, PREVIEW_CHARS, Blobs
from timmy_core.events.log import EventLog
from timmy_core.events.model import encode
from timmy_core.router.chat import Message, ToolCall
from timmy_core.router.record import AttemptRecord, Content
from timmy_core.store.engine import Connection

Mode = Literal["off", "hash", "full"]

IN_EVENT_BYTES: Final = 192 << 10
"""Longer content goes to a blob; an event takes 256 KiB, and its figures and message need some of that."""

_KEY: Final = "content_key"
_KEY_BYTES: Final = 32
_HASH_BYTES: Final = 32


class Keeper:
    """Turns what was said into data of an event; called inside the transaction of the attempt's record."""

    def __init__(self, events: EventLog, blobs: Blobs | None) -> None:
        self._events = events
        self._blobs = blobs
        self._key: bytes | None = None

    def data(self, connection: Connection, mode: Mode, record: AttemptRecord) -> Mapping[str, Any]:
        """Return what the event says of the attempt's content."""
        content = record.content
        if content is None or mode == "off":
            return {}
        if mode == "hash":
            return self._hashes(connection, content)
        said = {
            "gen_ai.input.messages": [_message(message) for message in content.messages],
            "gen_ai.output.messages": _output(content, record.finish_reason),
        }
        try:
            # Secrets go before anything is written, and before a digest is taken.
            text = encode(said if self._events.clean is None else self._events.clean(said), MAX_BLOB_BYTES)
        except EventDataError:
            return {**self._hashes(connection, content), "timmy.content": "too large to be kept, or not text"}
        size = text.encode()
        if len(size) <= IN_EVENT_BYTES:
            return said
        if self._blobs is None:
            return {**self._hashes(connection, content), "timmy.content": "too large for an event, and no blob is kept"}
        digest = self._blobs.put_in(connection, size, "application/json")
        return {"blob": digest, "bytes": len(size), "preview": text[:PREVIEW_CHARS]}

    def _hashes(self, connection: Connection, content: Content) -> Mapping[str, Any]:
        key = self.key(connection)
        return {
            "timmy.input_hash": digest_of(key, canonical(content.messages)),
            "timmy.output_hash": digest_of(key, canonical_answer(content.text, content.tool_calls)),
        }

    def key(self, connection: Connection) -> bytes:
        """Return the home's key, made the first time; the connection may write."""
        if self._key is None:
            made = secrets.token_bytes(_KEY_BYTES).hex()
            connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", (_KEY, made))
            row = connection.execute("SELECT value FROM meta WHERE key = ?", (_KEY,)).fetchone()
            self._key = bytes.fromhex(row[0])
        return self._key


def canonical(messages: Sequence[Message]) -> str:
    """Return the one way in which a history is written for its hash; a picture counts by its bytes."""
    rows = [
        [
            message.role,
            message.content,
            [[image.media_type, hashlib.blake2b(image.data, digest_size=_HASH_BYTES).hexdigest()]
             for image in message.images],
            _calls(message.tool_calls),
            message.tool_call_id,
        ]
        for message in messages
    ]  # fmt: skip
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))


def canonical_answer(text: str, tool_calls: Sequence[ToolCall] = ()) -> str:
    """Return the one way in which an answer is written for its hash: its words alone, where it called no tool."""
    return text if not tool_calls else json.dumps([text, _calls(tool_calls)], ensure_ascii=False, separators=(",", ":"))


def digest_of(key: bytes, text: str) -> str:
    """Return the keyed hash of a text, in hex."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), key=key, digest_size=_HASH_BYTES).hexdigest()


def _calls(calls: Sequence[ToolCall]) -> list[list[str]]:
    return [[call.id, call.name, call.arguments] for call in calls]


def _message(message: Message) -> Mapping[str, Any]:
    """A message in the form of OpenTelemetry's conventions; of a picture its kind and size only."""
    if message.role == "tool":
        part = {"type": "tool_call_response", "id": message.tool_call_id, "response": message.content}
        return {"role": "tool", "parts": [part]}
    parts: list[Mapping[str, Any]] = []
    if message.content:
        parts.append({"type": "text", "content": message.content})
    parts += [
        {"type": "blob", "modality": "image", "mime_type": image.media_type, "bytes": len(image.data)}
        for image in message.images
    ]
    return {"role": message.role, "parts": [*parts, *_tool_parts(message.tool_calls)]}


def _output(content: Content, finish_reason: str | None) -> list[Mapping[str, Any]]:
    parts: list[Mapping[str, Any]] = [{"type": "text", "content": content.text}] if content.text else []
    parts += _tool_parts(content.tool_calls)
    if not parts:
        return []
    return [{"role": "assistant", "parts": parts, "finish_reason": finish_reason or "error"}]


def _tool_parts(calls: Sequence[ToolCall]) -> list[Mapping[str, Any]]:
    return [{"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments} for call in calls]
