"""A scratch repository whose tests take no time: one program that reports what the files say."""

from __future__ import annotations

from pathlib import Path

from .queue_house import git

PIN = "blue-heron-41"
RUNNER = """import sys
from pathlib import Path
from xml.sax.saxutils import escape

bad = "RED" in Path("words.txt").read_text()
case = '<failure message="the words are red"/>' if bad else ""
suite = f'<testsuite tests="1"><testcase classname="words" name="test_words">{case}</testcase></testsuite>'
Path(sys.argv[1]).write_text(f"<testsuites>{suite}</testsuites>")
print("looked at", escape(Path("words.txt").read_text().strip()))
sys.exit(bad)
"""


def make_quick_repo(path: Path) -> Path:
    """Make the repository with its branch `main`."""
    path.mkdir(parents=True)
    git(path, "init", "-q", "-b", "main")
    (path / "words.txt").write_text("green\n", encoding="utf-8")
    (path / "README.md").write_text("# Words\n\nThey are few.\n", encoding="utf-8")
    (path / "tests").mkdir()
    (path / "tests" / "runner.py").write_text(RUNNER, encoding="utf-8")
    git(path, "add", "-A")
    git(path, "commit", "-qm", "words")
    return path


def quick_toml(repo: Path) -> str:
    """Return what stands in `timmy.toml` about it."""
    return (
        f'[upgrades]\nrepo = "{repo}"\ntest_command = ["{{python}}", "tests/runner.py", "{{report}}"]\ntest_s = 60.0\n'
    )
