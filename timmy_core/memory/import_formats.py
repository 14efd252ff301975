"""What may be brought into memory, piece by piece: Markdown, text, JSON lines of an export, and ChatGPT's export."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any, Final

from timmy_core.errors import EntryError
from timmy_core.memory.checks import MAX_CHARS, MAX_DOCUMENT_CHARS
from timmy_core.memory.model import NewEntry

MAX_BYTES: Final = 512 << 20  # of one file, which is read whole
SUFFIXES: Final[Mapping[str, str]] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "chatgpt",
    ".zip": "chatgpt",
}
FORMATS: Final = ("markdown", "text", "jsonl", "chatgpt")

_HEADING: Final = re.compile(r"^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE: Final = re.compile(r"^ {0,3}(=+|-+)[ \t]*$")
_FENCE: Final = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_TITLE: Final = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE)
_LONGEST_TITLE: Final = 200
_DEEP: Final = 100_000  # turns of one conversation
_CONVERSATIONS: Final = re.compile(r"(^|/)conversations(-\d+)?\.json$")


@dataclass(frozen=True, slots=True)
class File:
    """A file to be read: its name, its bytes, and when it was written."""

    name: str
    data: bytes
    written: datetime


@dataclass(frozen=True, slots=True)
class Piece:
    """An entry to be, or why a part of the file is none, and how many bytes of the file are read by then.

    `after` is what an export says beyond what a new entry can: how often it was seen, and how it ended.
    """

    done: int
    entry: NewEntry | None = None
    problem: str = ""
    after: Mapping[str, Any] = field(default_factory=dict)


def read_file(path: Path, name: str | None = None) -> File:
    """Read a file.

    Raises:
        EntryError: it cannot be read, or is too large.
    """
    try:
        found = path.stat()
        if found.st_size > MAX_BYTES:
            message = f"{path} has {found.st_size:,} bytes, and at most {MAX_BYTES:,} are read at once; split it"
            raise EntryError(message)
        return File(name or path.name, path.read_bytes(), datetime.fromtimestamp(found.st_mtime, UTC))
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise EntryError(message) from None


def format_of(name: str, wanted: str | None = None) -> str:
    """Return the format of a file, by its name where nobody says it.

    Raises:
        EntryError: it is not clear.
    """
    found = wanted or SUFFIXES.get(PurePath(name).suffix.lower(), "")
    if found not in FORMATS:
        message = f"the format of {name!r} is not clear; name one of {', '.join(FORMATS)}"
        raise EntryError(message)
    return found


def pieces(file: File, format_: str) -> Iterator[Piece]:
    """Yield what a file holds, in order.

    Raises:
        EntryError: the file as a whole is not what its format says.
    """
    return _READERS[format_](file)


# Documents ---------------------------------------------------------------------------------------------------


def _text(file: File) -> Iterator[Piece]:
    words = _decoded(file)
    if words.strip():
        yield Piece(len(file.data), _document(file, words, PurePath(file.name).stem))


def _markdown(file: File) -> Iterator[Piece]:
    """Yield a document a section: a heading with what stands under it, up to the next."""
    words, title = _without_front_matter(_decoded(file))
    path: list[tuple[int, str]] = []
    offset = len(file.data) - len(words.encode())
    for level, heading, body in _sections(words):
        offset += len(body.encode())
        if level:
            path = [*(one for one in path if one[0] < level), (level, heading)]
        # A heading alone says nothing; it stands in the titles of what is under it.
        under = body.split("\n", 1)[1] if level and "\n" in body else "" if level else body
        if under.strip().strip("=-"):
            names = [name for _, name in path if name]
            whole = " > ".join(names) if names else title or PurePath(file.name).stem
            yield Piece(min(offset, len(file.data)), _document(file, body, whole))


def _sections(words: str) -> Iterator[tuple[int, str, str]]:
    """Yield (level, heading, the section with its heading line); level 0 before the first heading."""
    level, heading, fence = 0, "", ""
    kept: list[str] = []
    for line in words.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        marks = _FENCE.match(bare)
        if fence:
            fence = "" if marks and marks[1].startswith(fence) and not bare.strip(" `~") else fence
        elif marks:
            fence = marks[1]
        elif found := _HEADING.match(bare):
            if kept:
                yield level, heading, "".join(kept)
            level, heading, kept = len(found[1]), (found[2] or "").strip(), []
        elif (under := _UNDERLINE.match(bare)) and _is_heading(kept):
            above = kept.pop()
            if kept:
                yield level, heading, "".join(kept)
            level, heading, kept = (1 if under[1][0] == "=" else 2), above.strip(), [above]
        kept.append(line)
    if kept:
        yield level, heading, "".join(kept)


def _is_heading(kept: list[str]) -> bool:
    """Whether the line above an underline is a heading: one line of words that stands alone."""
    if not kept or not kept[-1].strip() or kept[-1].lstrip()[:1] in "#>-*+|":
        return False
    return len(kept) == 1 or not kept[-2].strip()


def _without_front_matter(words: str) -> tuple[str, str]:
    if not words.startswith("---\n"):
        return words, ""
    front, mark, rest = words[4:].partition("\n---\n")
    if not mark:
        return words, ""
    title = _TITLE.search(front)
    return rest, title[1].strip("'\"") if title else ""


def _document(file: File, words: str, title: str) -> NewEntry:
    metadata = {"title": title[:_LONGEST_TITLE], "file": file.name[-_LONGEST_TITLE:]}
    return NewEntry(text=words.strip()[:MAX_DOCUMENT_CHARS], kind="document", source="import", metadata=metadata,
                    created_at=file.written)  # fmt: skip


def _decoded(file: File) -> str:
    try:
        return file.data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        message = f"{file.name} is not UTF-8 text (byte {error.start:,}); convert it first"
        raise EntryError(message) from None


# JSON lines --------------------------------------------------------------------------------------------------

_FIELDS: Final = frozenset(one.name for one in fields(NewEntry)) - {"replaces", "proposed"}
_AFTER: Final = ("state", "closed_by", "valid_to", "seen")
_TIMES: Final = ("created_at", "valid_from", "valid_to")


def _jsonl(file: File) -> Iterator[Piece]:
    done = 0
    for number, line in enumerate(file.data.splitlines(keepends=True), 1):
        done += len(line)
        if not line.strip():
            continue
        try:
            yield _line(json.loads(line), done)
        except (ValueError, RecursionError, TypeError, AttributeError) as error:
            yield Piece(done, problem=f"{file.name}, line {number}: {error}")


def _line(found: Any, done: int) -> Piece:
    if not isinstance(found, dict) or not isinstance(found.get("text"), str):
        message = 'expected an object with "text", as `timmy memory export` writes it'
        raise ValueError(message)  # noqa: TRY004 - one error for every wrong line
    given = {name: value for name, value in found.items() if name in _FIELDS and value is not None}
    for name in _TIMES:
        if name in given:
            given[name] = _moment(given[name])
    if "metadata" in given and not isinstance(given["metadata"], dict):
        message = "metadata has to be an object"
        raise ValueError(message)
    after = {name: found[name] for name in _AFTER if found.get(name) is not None}
    begins, ends = given.get("valid_from"), given.get("valid_to")
    if ends is not None:
        after["valid_to"] = ends
        if begins is not None and ends <= begins:
            # It was replaced at the very moment that it began, which nobody may say of a new one.
            given["valid_to"] = begins + timedelta(microseconds=1)
    proposed = found.get("state") in {"proposed", "rejected"}
    return Piece(done, NewEntry(**{"source": "import", **given}, proposed=proposed), after=after)


def _moment(text: Any) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# ChatGPT's export --------------------------------------------------------------------------------------------


def _chatgpt(file: File) -> Iterator[Piece]:
    """Yield the turns of every conversation, along the branch that was shown last."""
    parts = _unzipped(file) if zipfile.is_zipfile(BytesIO(file.data)) else [file]
    total, before = sum(len(part.data) for part in parts) or 1, 0
    for part in parts:
        conversations = _conversations(part)
        for number, conversation in enumerate(conversations, 1):
            # How far the bytes are is only known of the whole.
            share = (before + len(part.data) * number / len(conversations)) / total
            done = int(share * len(file.data))
            try:
                for entry in _turns(conversation, file):
                    yield Piece(done, entry)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                yield Piece(done, problem=f"{part.name}, conversation {number}: {type(error).__name__}: {error}")
        before += len(part.data)


def _unzipped(file: File) -> list[File]:
    try:
        with zipfile.ZipFile(BytesIO(file.data)) as archive:
            inside = [one for one in archive.infolist() if _CONVERSATIONS.search(one.filename)]
            if sum(one.file_size for one in inside) > MAX_BYTES:
                message = f"{file.name} holds more than {MAX_BYTES:,} bytes of conversations; unpack and split it"
                raise EntryError(message)
            found = [File(one.filename, archive.read(one), file.written) for one in inside]
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError) as error:
        message = f"{file.name} cannot be unpacked: {error}"
        raise EntryError(message) from None
    if not found:
        message = f"{file.name} holds no conversations.json; give the file that ChatGPT's data export consists of"
        raise EntryError(message)
    return found


def _conversations(file: File) -> list[dict[str, Any]]:
    try:
        found = json.loads(file.data)
    except (ValueError, RecursionError) as error:
        message = f"{file.name} is not JSON: {error}"
        raise EntryError(message) from None
    listed = [found] if isinstance(found, dict) else found
    if not isinstance(listed, list) or any(not isinstance(one, dict) or "mapping" not in one for one in listed):
        message = f"{file.name} is no export of ChatGPT: expected a list of conversations, each with a 'mapping'"
        raise EntryError(message)
    return listed


def _turns(conversation: dict[str, Any], file: File) -> Iterator[NewEntry]:
    mapping: dict[str, Any] = conversation["mapping"]
    said: list[dict[str, Any]] = []
    ends = (key for key, node in mapping.items() if not node.get("children"))
    key = conversation.get("current_node") or next(ends, None)
    for _ in range(_DEEP):
        node = mapping.get(key) if key else None
        if node is None:
            break
        if isinstance(node.get("message"), dict):
            said.append(node["message"])
        key = node.get("parent")
    name = re.sub(r"[^A-Za-z0-9_.:\-]", "", str(conversation.get("conversation_id") or conversation.get("id") or ""))
    title = str(conversation.get("title") or "")[:_LONGEST_TITLE]
    session = f"chatgpt:{name or re.sub(r'[^A-Za-z0-9]+', '-', title).strip('-') or 'untitled'}"[:100]
    for message in reversed(said):
        role, words = (message.get("author") or {}).get("role"), _words(message)
        if role not in {"user", "assistant"} or not words or _hidden(message):
            continue
        at = message.get("create_time") or conversation.get("create_time")
        moment = datetime.fromtimestamp(at, UTC) if isinstance(at, (int, float)) and at > 0 else file.written
        metadata = {name: value for name, value in {"title": title, "file": file.name}.items() if value}
        speaker = "user" if role == "user" else "chatgpt"
        yield NewEntry(
            text=words[:MAX_CHARS], session=session, source="import", speaker=speaker, metadata=metadata,
            created_at=moment,
        )  # fmt: skip


def _words(message: dict[str, Any]) -> str:
    content = message.get("content") or {}
    if content.get("content_type") not in {"text", "multimodal_text"}:
        return ""
    return "\n\n".join(part.strip() for part in content.get("parts") or () if isinstance(part, str) and part.strip())


def _hidden(message: dict[str, Any]) -> bool:
    return bool((message.get("metadata") or {}).get("is_visually_hidden_from_conversation"))


_READERS: Final[Mapping[str, Callable[[File], Iterator[Piece]]]] = {
    "markdown": _markdown,
    "text": _text,
    "jsonl": _jsonl,
    "chatgpt": _chatgpt,
}
