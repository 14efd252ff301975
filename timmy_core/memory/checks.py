"""What may be kept: every field of an entry is checked before a transaction begins."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from timmy_core.clock import Clock, new_id, to_us
from timmy_core.errors import EntryError, EventDataError
from timmy_core.events.model import encode
from timmy_core.memory.model import KINDS, SHARED, NewEntry, agent_scope, session_scope

MAX_CHARS: Final = 100_000  # of a turn or a fact
MAX_DOCUMENT_CHARS: Final = 5_000_000
MAX_FIELD_CHARS: Final = 200
MAX_METADATA_BYTES: Final = 16 * 1024
MAX_REASON_CHARS: Final = 500
MAX_REPLACED: Final = 100
_HASH_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Checked:
    """An entry to be, as it goes into its row; times are µs."""

    new: NewEntry
    id: str
    scope: str
    text: str
    subject: str | None
    metadata: str
    content_hash: bytes
    created_at: int
    valid_from: int
    valid_to: int | None


def check(new: NewEntry, clock: Clock) -> Checked:
    """Check an entry to be, and fill in what follows from the rest.

    Raises:
        EntryError: names the first field that cannot be kept, and why.
    """
    if new.kind not in KINDS:
        message = f"the kind {new.kind!r} is not known; expected one of {', '.join(KINDS)}"
        raise EntryError(message)
    for name in ("agent_id", "session", "task_id", "trace_id", "source", "speaker", "subject", "id"):
        check_field(name, getattr(new, name))
    if not new.source:
        message = "source is empty; say who stores the entry, for instance 'cli' or 'agent'"
        raise EntryError(message)
    _check_fact_fields(new)
    text = check_text(new.text, new.kind)
    now = to_us(clock.now())
    created_at = now if new.created_at is None else check_time("created_at", new.created_at)
    valid_from = created_at if new.valid_from is None else check_time("valid_from", new.valid_from)
    valid_to = None if new.valid_to is None else check_time("valid_to", new.valid_to)
    check_range(valid_from, valid_to)
    check_importance(new.importance)
    scope = check_scope(new)
    return Checked(
        new, new.id or new_id(), scope, text, check_subject(new.subject), check_metadata(new.metadata),
        content_hash(new.kind, new.speaker, new.session, text), created_at, valid_from, valid_to,
    )  # fmt: skip


def _check_fact_fields(new: NewEntry) -> None:
    fields = {"subject": new.subject is not None, "replaces": bool(new.replaces), "proposed": new.proposed}
    wrong = next((name for name, given in fields.items() if given and new.kind != "fact"), None)
    if wrong:
        message = f"{wrong} is for facts, and this is a {new.kind}; leave it out, or give kind='fact'"
        raise EntryError(message)
    if len(new.replaces) > MAX_REPLACED:
        message = f"a fact replaces at most {MAX_REPLACED} others, not {len(new.replaces):,}"
        raise EntryError(message)
    if new.proposed and new.replaces:
        message = "a candidate replaces nothing before it is confirmed; leave replaces out"
        raise EntryError(message)


def check_text(text: str, kind: str) -> str:
    """Return the text as it is kept: the very same, but for zero characters, which no database carries well."""
    if not isinstance(text, str) or not text.strip():
        message = "there is nothing to remember: the text is empty"
        raise EntryError(message)
    if any("\ud800" <= character <= "\udfff" for character in text):
        message = "the text holds half a surrogate pair, which is not text; give it as UTF-8"
        raise EntryError(message)
    most = MAX_DOCUMENT_CHARS if kind == "document" else MAX_CHARS
    if len(text) > most:
        advice = "split it in several" if kind == "document" else "kind='document' may be longer"
        message = f"the text has {len(text):,} characters, and a {kind} at most {most:,}; {advice}"
        raise EntryError(message)
    return text.replace("\x00", "\ufffd")


def check_field(name: str, value: str | None) -> None:
    """Check one of the short fields."""
    if value is None:
        return
    if not isinstance(value, str) or not value or len(value) > MAX_FIELD_CHARS or not value.isprintable():
        message = f"{name} has to be text of 1 to {MAX_FIELD_CHARS} printable characters, not {str(value)[:40]!r}"
        raise EntryError(message)


def check_reason(name: str, value: str) -> None:
    """Check who asked, or why."""
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_REASON_CHARS:
        message = f"{name} has to be text of 1 to {MAX_REASON_CHARS} characters; it stays on record"
        raise EntryError(message)


def check_scope(new: NewEntry) -> str:
    """Return the scope that was named, or that follows from agent and session."""
    if new.scope is None:
        if new.agent_id is not None:
            return agent_scope(new.agent_id)
        return session_scope(new.session) if new.session is not None else SHARED
    check_field("scope", new.scope)
    family, _, name = new.scope.partition(":")
    if new.scope != SHARED and (family not in {"agent", "session"} or not name):
        message = f"the scope {new.scope!r} is not known; expected 'shared', 'agent:<id>' or 'session:<name>'"
        raise EntryError(message)
    return new.scope


def check_subject(subject: str | None) -> str | None:
    """Return a subject in the form in which two of them are compared: case and spaces do not count."""
    return None if subject is None else " ".join(unicodedata.normalize("NFC", subject).casefold().split()) or None


def check_metadata(metadata: Mapping[str, Any]) -> str:
    """Return metadata as JSON."""
    try:
        return encode(metadata, MAX_METADATA_BYTES)
    except EventDataError as error:
        message = f"the metadata cannot be kept: {error}"
        raise EntryError(message) from None


def check_importance(importance: float) -> None:
    """Check an importance."""
    if not isinstance(importance, (int, float)) or not math.isfinite(importance) or not 0 <= importance <= 1:
        message = f"the importance has to be a number from 0 to 1, not {importance!r}"
        raise EntryError(message)


def check_time(name: str, moment: datetime) -> int:
    """Return a moment as µs."""
    try:
        us = to_us(moment)
    except ValueError as error:
        message = f"{name}: {error}"
        raise EntryError(message) from None
    if us < 0 and name == "created_at":
        message = f"{name} {moment} lies before 1970, where the times begin"
        raise EntryError(message)
    return us


def check_range(valid_from: int, valid_to: int | None) -> None:
    """Check that something holds for a while at least."""
    if valid_to is not None and valid_to <= valid_from:
        message = "valid_to has to come after valid_from, which is created_at unless it is given"
        raise EntryError(message)


def content_hash(kind: str, speaker: str | None, session: str | None, text: str) -> bytes:
    """Return what makes two entries of a scope the same: kind, speaker, a turn's session, and the words.

    Spaces do not count, nor in which of two ways an accent was typed.
    """
    said = " ".join(unicodedata.normalize("NFC", text).split())
    fields = (kind, speaker or "", (session or "") if kind == "conversation" else "", said)
    whole = "\x00".join(f"{len(field)} {field}" for field in fields)
    return hashlib.blake2b(whole.encode(), digest_size=_HASH_BYTES).digest()


def passage_hash(document: bytes, place: int, text: str) -> bytes:
    """Return what makes a passage the same: its document, its place and its words."""
    return hashlib.blake2b(b"%b %d %b" % (document, place, text.encode()), digest_size=_HASH_BYTES).digest()
