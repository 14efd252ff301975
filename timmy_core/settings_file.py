"""The text of `timmy.toml`: the commented one that a new home gets, where in it a key stands, and what is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

_TABLE = re.compile(r"^\s*(?P<open>\[\[?)\s*(?P<name>[^\]]+?)\s*\]\]?")
_KEY = re.compile(r"^\s*(?P<name>[A-Za-z0-9_\-\"']+)\s*=")

# What pydantic says in words of its own, said so that it can be mended.
_MENDING: Final[Mapping[str, str]] = {
    "missing": "it is missing; add it here",
    "decimal_max_places": "at most 6 digits may stand behind the point: a millionth of a dollar is the smallest amount",
    "decimal_type": "expected an amount of US dollars, such as 0.5",
    "decimal_parsing": "expected an amount of US dollars, such as 0.5",
    "int_from_float": "expected a whole number",
}

TEMPLATE: Final = """\
# Timmy Workbench. Every key with its default is in docs/reference/configuration.md.
# ${NAME} is read from the environment; ${NAME:-other} falls back to `other`.
#
# Without a [[providers]] table Timmy tries Ollama on this machine, then OpenAI and Anthropic
# where OPENAI_API_KEY or ANTHROPIC_API_KEY is set. Uncomment tables to choose for yourself:
# the lowest priority number is asked first, and the offline answer is always last.

# [[providers]]
# name = "ollama"
# kind = "ollama"                       # ollama, openai (any compatible server), anthropic or airllm
# base_url = "http://127.0.0.1:11434"
# models = { default = "llama3.2" }
# priority = 1

# [[providers]]
# name = "local-llama"
# kind = "openai"
# base_url = "http://127.0.0.1:8080/v1"
# api_key = "${LLAMA_KEY:-none}"
# models = { default = "gemma" }
# priority = 2

# [[providers]]
# name = "anthropic"
# kind = "anthropic"
# api_key = "${ANTHROPIC_API_KEY}"
# models = { default = "claude-haiku-4-5" }
# priority = 10

[router]
# deadline_s = 60
# first_token_s = 20
# reset_timeout_s = 60

[server]
# host = "127.0.0.1"                    # anything wider needs a password
# port = 8765

[log]
# seal = true                           # closed parts of the log are archived as Parquet
# prune_after_days = 0                  # archived events older than this leave the database; 0: never
# head_minutes = 5                      # how often the log's head is signed; 0: only on demand
# text = true                           # keep the index for text search up to date

[memory]
# embedder = "auto"                     # auto, minilm, sentence-transformers, ollama, openai or none

# Without a [[nodes]] table the ledger has a play node, whose sats are worth nothing.
# [[nodes]]
# name = "main"
# kind = "lnbits"                       # lnbits, lnd or play
# url = "https://lnbits.example"
# invoice_key = "${LNBITS_INVOICE_KEY}"
# admin_key = "${LNBITS_ADMIN_KEY}"     # only needed to pay

[swarm]
# personas = ["echo", "forge", "seer"]  # agents that work on tasks for sats; []: only those from elsewhere

[ledger]
# reconcile_minutes = 15                # how often the book is compared with the node; 0: only by hand

[alerts]
# kind = "ntfy"                         # ntfy, or webhook, which gets JSON
# url = "https://ntfy.example/timmy-7f3a9c"  # whom to tell, beside the pages, what needs your eye
"""


def write_template(home: Path) -> bool:
    """Write a commented `timmy.toml` where there is none; True if it was written."""
    path = home / "timmy.toml"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        # Keys may be written into it, so it is its owner's alone.
        with open(path, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(TEMPLATE)
    except FileExistsError:
        return False
    return True


def line_of(text: str, loc: tuple[Any, ...]) -> int | None:
    """Return the line of a key such as ("providers", 1, "base_url"), or of its table when the key itself is absent."""
    table_line: int | None = None
    for number, table, key in keys_of(text):
        if table + ((key,) if key else ()) == loc:
            return number
        # The nearest thing above it: its own table, or a key whose value, an inline table, it lies in.
        if loc[: len(table) + (key is not None)] == (table if key is None else (*table, key)):
            table_line = number
    return table_line


def keys_of(text: str) -> Iterator[tuple[int, tuple[Any, ...], str | None]]:
    """Yield (line, table, key) of every table header and key; arrays of tables carry their index."""
    table: tuple[Any, ...] = ()
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = _TABLE.match(line)
        if header:
            names = [part.strip().strip("\"'") for part in header["name"].split(".")]
            if header["open"] == "[[":
                seen[names[0]] = seen.get(names[0], -1) + 1
            table = tuple(x for name in names for x in ((name, seen[name]) if name in seen else (name,)))
            yield number, table, None
            continue
        key = _KEY.match(line)
        if key:
            yield number, table, key["name"].strip("\"'")


def explain(
    error: ValidationError, text: str, path: Path, root: type[BaseModel], environment: Mapping[str, str]
) -> str:
    """Return what is wrong, each with its line and key or its variable, and what to do; never a value."""
    problems = [
        _explain_one(dict(problem), text, path, root, environment) for problem in error.errors(include_url=False)
    ]
    return "; ".join(problems)


def _explain_one(
    problem: dict[str, Any], text: str, path: Path, root: type[BaseModel], environment: Mapping[str, str]
) -> str:
    loc = tuple(problem["loc"])
    name = ".".join(str(part) for part in loc) or "the whole"
    what = _MENDING.get(problem["type"], str(problem["msg"]).removeprefix("Value error, "))
    if problem["type"] == "extra_forbidden":
        what = f"this key is not known; {_known_keys(loc, root)}"
    variable = "TIMMY_" + "__".join(str(part) for part in loc).upper()
    if len(loc) > 1 and variable in environment:
        return f"environment variable {variable}: {what}"
    line = line_of(text, loc)
    where = f"{path}, line {line}" if line else f"{path}"
    return f"{where}: {name}: {what}"


def _known_keys(loc: tuple[Any, ...], root: type[BaseModel]) -> str:
    """Say what may stand where the last of `loc` stands."""
    model = root
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        # A list's index or a mapping's key is no field; what it leads to was found with the field before it.
        model = model if field is None else _section(field.annotation) or model
    keys = sorted(set(model.model_fields) - {"home", "unset_variables"})
    return "expected one of " + ", ".join(keys)


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field's type is or holds: itself, or inside a tuple, a mapping or an option."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for found in map(_section, get_args(annotation)) if found is not None), None)
