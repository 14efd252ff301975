"""What Timmy may do about its own code: look at what the branch holds, and propose a change. It never makes one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from timmy_core.errors import UpgradeError

MAX_LISTED: Final = 300
MAX_READ: Final = 400  # lines of one reading
MAX_EDITS: Final = 50

_DOES: Final = (
    r"add|adapt|change|clean|correct|delete|drop|edit|extend|fix|implement|improve|make|modify|patch|propose|refactor|"
    r"remove|rename|replace|rewrite|simplify|update|upgrade|write"
)
_OWN: Final = (
    r"your(?:self)?|own code|source|code|codebase|repo|repository|function|class|module|script|notebook|docstring|"
    r"read ?me|changelog|unit tests?|tests?|bug|[\w/]+\.(?:py|md|js|css|toml|ya?ml|txt|json|sh)"
)
_ASKED: Final = re.compile(rf"\b(?:{_DOES})\b.*?(?:\b(?:{_OWN})\b)", re.IGNORECASE | re.DOTALL)
_COMMAND: Final = "/propose"

_LIST, _READ, _PROPOSE = "list_own_files", "read_own_file", "propose_change"


@dataclass(frozen=True, slots=True)
class Said:
    """What a tool returned; `ends` is what the user is told where nothing more is to be asked."""

    text: str
    ends: str = ""


class OwnCode(Protocol):
    """The repository as a proposer sees it; the upgrade queue fits."""

    def paths(self) -> Sequence[str]:
        """Return every path that the branch holds."""

    def source(self, path: str) -> str | None:
        """Return a file as the branch has it; None where it is not there or no text."""

    def propose(
        self, *, description: str, files: Mapping[str, str | None], proposed_by: str, agent_id: str, trace_id: str
    ) -> Any:
        """Make a proposal; it has an `id`."""


def asks_for_change(text: str) -> bool:
    """Whether a question asks for a change of Timmy's code; `/propose` at its beginning always does."""
    return text.lstrip().startswith(_COMMAND) or _ASKED.search(text) is not None


class ChangeTools:
    """The tools themselves, for one agent; each blocks.

    Args:
        queue: opens the queue; raises `UpgradeError` where there is none.
        agent: the agent's name.
    """

    def __init__(self, queue: Callable[[], OwnCode], agent: str) -> None:
        self._queue = queue
        self._agent = agent

    @property
    def offered(self) -> list[dict[str, Any]]:
        """The tools as models are told of them."""
        return list(_TOOLS)

    def wanted(self, question: str) -> bool:
        """Whether a question asks for what these tools do."""
        return asks_for_change(question)

    def call(self, name: str, arguments: str, trace_id: str) -> Said:
        """Do what a model asked for.

        Raises:
            TimmyError: it cannot be done; the message is for the model.
        """
        try:
            given = json.loads(arguments or "{}")
        except ValueError as error:
            message = f"the arguments are no JSON: {error}; send one JSON object"
            raise UpgradeError(message) from error
        if not isinstance(given, dict):
            message = "the arguments have to be one JSON object"
            raise UpgradeError(message)
        if name == _LIST:
            return Said(self._list(str(given.get("folder") or "")))
        if name == _READ:
            return Said(self._read(str(given.get("path") or ""), given.get("first_line")))
        if name == _PROPOSE:
            return self._propose(given, trace_id)
        message = f"there is no tool {name!r}; there are {_LIST}, {_READ} and {_PROPOSE}"
        raise UpgradeError(message)

    def _list(self, folder: str) -> str:
        inside = f"{folder.strip('/')}/" if folder.strip("/") else ""
        found = [path for path in self._queue().paths() if path.startswith(inside)]
        more = f"\n… and {len(found) - MAX_LISTED} more; name a folder" if len(found) > MAX_LISTED else ""
        return "\n".join(found[:MAX_LISTED]) + more if found else f"no file is in {folder!r}"

    def _read(self, path: str, first: object) -> str:
        text = self._whole(path)
        lines = text.splitlines()
        begin = max(0, first - 1) if isinstance(first, int) else 0
        shown = lines[begin : begin + MAX_READ]
        rest = len(lines) - begin - len(shown)
        more = f"\n… {rest} more lines; read on with first_line={begin + len(shown) + 1}" if rest > 0 else ""
        return "\n".join(shown) + more

    def _whole(self, path: str) -> str:
        text = self._queue().source(path)
        if text is None:
            message = f"the branch has no text file {path!r}; {_LIST} says what there is"
            raise UpgradeError(message)
        return text

    def _propose(self, given: Mapping[str, Any], trace_id: str) -> Said:
        title, why = str(given.get("title") or "").strip(), str(given.get("why") or "").strip()
        edits = given.get("edits")
        if not title or not isinstance(edits, list) or not 1 <= len(edits) <= MAX_EDITS:
            message = f"a proposal needs a title and 1 to {MAX_EDITS} edits, each with a path"
            raise UpgradeError(message)
        files: dict[str, str | None] = {}
        for edit in edits:
            self._edit(files, edit)
        description = f"{title.splitlines()[0]}\n\n{why}".strip()
        made = self._queue().propose(
            description=description, files=files, proposed_by=self._agent, agent_id=self._agent, trace_id=trace_id
        )
        size = "1 file" if len(files) == 1 else f"{len(files)} files"
        told = (
            f"I have proposed this change: {title.splitlines()[0]} ({size}). Nothing is changed yet: it is tested now, "
            f"and a person decides: [the proposal](/self-modify/queue?id={made.id})"
        )
        return Said(f"proposed as {made.id}", told)

    def _edit(self, files: dict[str, str | None], edit: object) -> None:
        if not isinstance(edit, Mapping) or not isinstance(edit.get("path"), str):
            message = "each edit is an object with a path, and with find and replace, content, or remove"
            raise UpgradeError(message)
        path = edit["path"]
        if edit.get("remove") is True:
            files[path] = None
        elif isinstance(edit.get("content"), str):
            files[path] = edit["content"]
        elif isinstance(edit.get("find"), str) and isinstance(edit.get("replace"), str):
            files[path] = self._replaced(files, path, edit["find"], edit["replace"])
        else:
            message = f"the edit of {path} says nothing; give find and replace, content, or remove"
            raise UpgradeError(message)

    def _replaced(self, files: Mapping[str, str | None], path: str, find: str, replace: str) -> str:
        before = files.get(path) or self._whole(path)
        times = before.count(find) if find else 0
        if times != 1:
            message = f"in {path} the text to find stands {times} times, not once; read the file, and copy more of it"
            raise UpgradeError(message)
        return before.replace(find, replace)


def _tool(name: str, description: str, properties: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": dict(properties), "required": list(required)}
    return {"name": name, "description": description, "parameters": schema}


_TEXT: Final = {"type": "string"}
_TOOLS: Final = (
    _tool(_LIST, "List the files of your own code.", {"folder": _TEXT}, ()),
    _tool(
        _READ,
        f"Read a file of your own code, at most {MAX_READ} lines at a time.",
        {"path": _TEXT, "first_line": {"type": "integer"}},
        ("path",),
    ),
    _tool(
        _PROPOSE,
        "Propose a change of your own code. It is tested, and a person decides; nothing is changed before. "
        "Read each file before you edit it. `find` has to stand in the file exactly once.",
        {
            "title": _TEXT,
            "why": _TEXT,
            "edits": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "path": _TEXT, "find": _TEXT, "replace": _TEXT, "content": _TEXT,
                        "remove": {"type": "boolean"},
                    },
                    "required": ["path"],
                },
            },
        },
        ("title", "why", "edits"),
    ),
)  # fmt: skip
