"""The section `[upgrades]` of the settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_Path = Annotated[str, Field(min_length=1, max_length=200)]
_Risk = Literal["low", "normal", "high"]

# What decides how tests run and what they count for; the run with the base's tests takes all of it from the base.
_TEST_PATHS: Final = (
    "tests/**", "test/**", "**/tests/**", "**/test_*.py", "**/*_test.py", "**/conftest.py", "conftest.py",
    "pyproject.toml", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "setup.cfg", "tox.ini", "noxfile.py",
    ".coveragerc", "**/sitecustomize.py", "**/usercustomize.py", "**/*.pth",
)  # fmt: skip
_PROTECTED_PATHS: Final = (
    ".ci/**", ".github/**", ".gitlab-ci.yml", ".gitlab/**", ".circleci/**", ".pre-commit-config.yaml", ".gitattributes",
    "**/.gitattributes", ".gitignore", "Dockerfile", "**/Dockerfile", "docker-compose*.yml", "Makefile", "setup.py",
    "*.lock", "requirements*.txt", "**/timmy.toml", "timmy_core/upgrades/**", "timmy_core/settings*.py",
    "timmy_core/server/gate.py", "timmy_core/server/auth.py",
)  # fmt: skip


_QUORUM: Final[dict[_Risk, int]] = {"low": 1, "normal": 1, "high": 2}


class UpgradeSettings(BaseModel):
    """The repository that Timmy may propose changes to, how they are tested, and who has to agree."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: Path | None = None
    branch: str = Field(default="main", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./\-]{0,99}$")
    mode: Literal["in_place", "releases"] | None = None  # None: `releases` where a service runs, see `landing`
    release_folder: Path | None = None  # None: `releases` in the home
    release_keep: int = Field(default=5, ge=2, le=1000)  # how many releases stay beside the current one
    max_boots: int = Field(default=3, ge=1, le=100)  # starts of a release that did not confirm itself
    health_command: tuple[str, ...] = ()  # it ends with 0 where the new state is well
    health_s: float = Field(default=30.0, gt=0, le=3600)
    expiry_h: float = Field(default=24.0, gt=0, le=8760)
    history_days: int = Field(default=90, ge=1, le=36_500)

    test_command: tuple[str, ...] = ("{python}", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml={report}")
    python: Path | None = None  # None: the interpreter that runs Timmy
    test_s: float = Field(default=600.0, gt=0, le=86_400)
    test_memory_mb: int = Field(default=2048, ge=64, le=1_048_576)
    test_processes: int = Field(default=256, ge=4, le=32_768)
    test_files: int = Field(default=1024, ge=32, le=1_048_576)
    test_disk_mb: int = Field(default=1024, ge=1, le=1_048_576)
    readable: tuple[Path, ...] = ()  # what tests may read beside the system and the interpreter
    writable_tree: bool = False  # tests run in a copy that they may change
    sandbox: Literal["bubblewrap", "namespaces", "limits"] = "limits"  # the least level at which tests run at all
    base_tests: Literal["required", "shown"] = "required"

    test_paths: tuple[_Path, ...] = _TEST_PATHS
    protected_paths: tuple[_Path, ...] = _PROTECTED_PATHS
    high_paths: tuple[_Path, ...] = ()
    low_paths: tuple[_Path, ...] = ("docs/**", "**/*.md")
    high_lines: int = Field(default=500, ge=1, le=1_000_000)
    low_lines: int = Field(default=50, ge=0, le=1_000_000)
    high_kinds: tuple[Literal["diff", "files", "branch"], ...] = ()
    quorum: dict[_Risk, Annotated[int, Field(ge=1, le=20)]] = Field(default_factory=lambda: dict(_QUORUM))
    auto_approve: bool = False
    auto_approve_h: float = Field(default=24.0, ge=1, le=8760)
    notice_command: tuple[str, ...] = ()  # gets a notice as JSON on its stdin, and ends with 0 once it is delivered
    notice_s: float = Field(default=20.0, gt=0, le=600)
    ssh_key: Path | None = None  # sign with `ssh-keygen -Y` and this key; None: with keys of Timmy's own
    ssh_agent: Path | None = None  # the socket of an agent that holds that key

    @property
    def landing(self) -> Literal["in_place", "releases"]:
        """Where a landing shows; whoever names a health check or a folder of releases has a service that runs."""
        served = bool(self.health_command) or self.release_folder is not None
        return self.mode or ("releases" if served else "in_place")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problem = next((words for holds, words in self._problems() if holds), "")
        if problem:
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[tuple[bool, str]]:
        yield (
            not self.test_command or not any("{report}" in word for word in self.test_command),
            "test_command names no {report}; let it write a JUnit file there, as in '--junitxml={report}'",
        )
        yield (
            self.branch.endswith(("/", ".", ".lock")) or any(bad in self.branch for bad in ("..", "//", "/.")),
            f"branch is {self.branch!r}, which git does not take as a name; name the branch that changes land on",
        )
        yield (
            self.low_lines > self.high_lines,
            f"low_lines is {self.low_lines}, more than high_lines, {self.high_lines}; exchange the two",
        )
        people = [self.quorum.get(level, 0) for level in _QUORUM]
        yield (
            0 in people or people != sorted(people),
            "quorum has to say how many people low, normal and high risk need, and may not fall on that way",
        )
        yield (
            self.auto_approve and not self.notice_command,
            "auto_approve needs notice_command: only a change that somebody was told of may land by itself",
        )
        yield (
            self.auto_approve and self.auto_approve_h >= self.expiry_h,
            f"auto_approve_h is {self.auto_approve_h:g}, and proposals run out after {self.expiry_h:g}; raise expiry_h",
        )
