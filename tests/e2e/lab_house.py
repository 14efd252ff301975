"""A home with a past for the labs, its `timmy.toml` under version control."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .router_pictures import past
from .served import provider_table

NAMES = {"llama": ("m-8b", 0.9, 0), "cloud": ("big-1", 1.6, 900), "spare": ("small", 3.2, 200)}
"""Name -> (model, typical seconds, micro-dollars an answer)."""


def home_with_a_past(repo: Path, url: str) -> Path:
    """Make a home in which a week was recorded, of which the first provider was down three times."""
    repo.mkdir(parents=True)
    tables = "".join(
        provider_table(name, url, model=model, priority=place)
        for place, (name, (model, *_)) in enumerate(NAMES.items(), 1)
    )
    (repo / "timmy.toml").write_text(f'{tables}[upgrades]\nrepo = "{repo}"\n', encoding="utf-8")
    for command in (["init", "-q", "-b", "main"], ["add", "timmy.toml"], ["commit", "-q", "-m", "the beginning"]):
        who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
        subprocess.run(["git", *who, *command], cwd=repo, check=True)
    past(repo, NAMES)
    return repo
