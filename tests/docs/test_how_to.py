"""What the how-to guides have people type and write is what the code takes."""

from __future__ import annotations

import plistlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from timmy_core.cli import app as command_line
from timmy_core.settings import load_settings

from .documents import DOCS, ROOT

GUIDES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])


def blocks(path: Path, kind: str) -> list[str]:
    """Return the blocks of a kind, without what a list indents them by."""
    found = re.findall(rf"^( *)```{kind}\n(.*?)^\1```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def typed(path: Path) -> Iterator[list[str]]:
    """Yield every `timmy …` that a guide has typed, as words; comments and what is assigned before it are left out."""
    lines = [line for kind in ("sh", "bash") for block in blocks(path, kind) for line in joined(block)]
    lines += [line[2:] for block in blocks(path, "console") for line in joined(block) if line.startswith("$ ")]
    for line in lines:
        words = shlex.split(line, comments=True)
        for place, word in enumerate(words):
            if Path(word).name == "timmy" and (
                place == 0 or "=" in words[place - 1] or words[place - 1] in ("|", "&&")
            ):
                yield words[place:]


def joined(block: str) -> list[str]:
    return block.replace("\\\n", " ").splitlines()


def misread(words: list[str]) -> str | None:
    """Say what the command line would not take of a command, or None."""
    command: Any = typer.main.get_command(command_line)
    rest = words[1:]
    while getattr(command, "commands", None) and rest and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            return f"there is no `timmy {' '.join(words[1 : len(words) - len(rest) + 1])}`"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help"
    }
    for word in rest:
        if word in ("|", "&&", ">", "<", "2>", ";", "&"):
            break
        if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known:
            return f"`{' '.join(words)}` has no option {word}"
    return None


@pytest.mark.parametrize("guide", GUIDES, ids=[str(path.relative_to(ROOT)) for path in GUIDES])
def test_every_command_that_is_typed_is_one_that_there_is(guide: Path) -> None:
    assert [words for words in map(misread, typed(guide)) if words] == []


@pytest.mark.parametrize("guide", GUIDES, ids=[str(path.relative_to(ROOT)) for path in GUIDES])
def test_every_table_for_the_configuration_is_taken(
    guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for block in blocks(guide, "toml"):
        if tomllib.loads(block).keys() & {"project", "tool"}:
            continue  # of another program
        (tmp_path / "timmy.toml").write_text(block, encoding="utf-8")
        load_settings(tmp_path)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd to ask")
@pytest.mark.parametrize(
    ("guide", "names"),
    [
        ("run-as-a-service", ["timmy.service"]),
        ("back-up-and-restore", ["timmy-backup.service", "timmy-backup.timer"]),
    ],
)
def test_the_units_for_systemd_are_ones_that_systemd_takes(
    guide: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    path = DOCS / "how-to" / f"{guide}.md"
    for name, unit in zip(names, blocks(path, "ini"), strict=True):
        assert name in path.read_text(encoding="utf-8")
        there = unit.replace("%h/timmy-workbench/.venv/bin/timmy", str(Path(sys.executable).parent / "timmy"))
        (tmp_path / name).write_text(there, encoding="utf-8")
    asked = ["systemd-analyze", "verify", "--user", *(str(tmp_path / name) for name in names)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_agent_for_launchd_is_a_property_list() -> None:
    (text,) = blocks(DOCS / "how-to" / "run-as-a-service.md", "xml")
    assert plistlib.loads(text.encode())["ProgramArguments"][1:] == ["up", "--no-open"]
