"""Fail where `requirements.lock` names a host or a path, lacks a hash, or is not what pyproject.toml asks for."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
COMMAND = (
    "uv pip compile pyproject.toml --extra test --generate-hashes --no-emit-index-url --no-emit-find-links "
    "--universal --python-version 3.11 -o requirements.lock"
)


def problems() -> list[str]:
    """Return one sentence for each thing that is wrong."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    found = [
        f"a host or a path: {line}"
        for line in text.splitlines()
        if re.search(r"://|^\s*-[fi]|^\s*--(?!hash)|/opt/", line)
    ]
    entries = re.findall(r"^(\S+?)==(\S+)(.*(?:\n[ \t].*)*)", text, re.MULTILINE)
    found += [f"{name} has no hash" for name, _, rest in entries if "--hash=sha256:" not in rest]
    locked = {canonicalize_name(name): version for name, version, _ in entries}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in [*project["dependencies"], *project["optional-dependencies"]["test"]]:
        wanted = Requirement(line)
        version = locked.get(canonicalize_name(wanted.name))
        if version is None or not wanted.specifier.contains(version, prereleases=True):
            found.append(f"pyproject.toml asks for {line}, the lock has {version}")
    return found


if __name__ == "__main__":
    wrong = problems()
    for problem in wrong:
        print(f"requirements.lock: {problem}")
    if wrong:
        print(f"make it anew with: {COMMAND}")
        sys.exit(1)
    print("requirements.lock holds")
