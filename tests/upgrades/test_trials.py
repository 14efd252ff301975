"""Trials: what counts as green, what the base's tests are for, and what a change cannot talk its way out of."""

from __future__ import annotations

import contextlib
import hashlib
import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from timmy_core.errors import SandboxError
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.testing import FakeClock
from timmy_core.upgrades.doors import Base
from timmy_core.upgrades.model import TestResult
from timmy_core.upgrades.sandbox.levels import Sandbox
from timmy_core.upgrades.trials import Trials

# The plugins of the environment that runs these tests would take most of the time.
COMMAND = (*UpgradeSettings().test_command, "--disable-plugin-autoload")
BASE = {
    "thing.py": "def double(number):\n    return number * 2\n",
    "tests/test_thing.py": """
        from thing import double

        def test_two():
            assert double(2) == 4

        def test_zero():
            assert double(0) == 0
    """,
    "pytest.ini": "[pytest]\n",
}
BROKEN = "def double(number):\n    return 5\n"


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    found = Sandbox()
    try:
        found.find()
    except SandboxError as error:
        pytest.skip(str(error))
    return found


@pytest.fixture
def trials(sandbox: Sandbox, clock: FakeClock, tmp_path: Path) -> Trials:
    return Trials(UpgradeSettings(test_command=COMMAND, test_s=60), sandbox, clock=clock, cache=tmp_path / "cache")


def write(folder: Path, files: Mapping[str, str | None]) -> Path:
    for name, content in files.items():
        if content is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(content), encoding="utf-8")
    return folder


def based(folder: Path, base: Mapping[str, str], change: Mapping[str, str | None], written: list[Path]) -> Base:
    """Return a base as git would tell of it; its files are written when they are asked for."""

    @contextlib.contextmanager
    def export() -> Iterator[Path]:
        written.append(folder)
        yield write(folder, base)

    return Base(named(base), frozenset(path for path, text in change.items() if base.get(path) != text), export)


def named(files: Mapping[str, str | None]) -> str:
    return hashlib.sha1(json.dumps(files, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


def judged(
    trials: Trials,
    folder: Path,
    change: Mapping[str, str | None],
    base: Mapping[str, str] = BASE,
    written: list[Path] | None = None,
) -> TestResult:
    """Test the base with some files changed; None removes one."""
    heard: list[str] = []
    files = {**base, **change}
    result = trials.run(
        write(folder / "export", files),
        based(folder / "base", base, change, [] if written is None else written),
        tree=named(files),
        progress=lambda words, _: heard.append(words),
    )
    assert heard[-1] == "done"
    return result


def test_a_change_that_keeps_all_tests_is_green_and_both_runs_are_shown(trials: Trials, tmp_path: Path) -> None:
    result = judged(trials, tmp_path, {"thing.py": "def double(number):\n    return number + number\n"})
    assert result.passed
    assert result.base is not None
    assert (result.own.passed, result.own.collected, result.base.passed, result.base.collected) == (True, 2, True, 2)
    assert result.level in ("bubblewrap", "namespaces")
    assert len(result.digest) == 64


def test_new_tests_of_the_change_run_in_its_own_run_alone(trials: Trials, tmp_path: Path) -> None:
    new = "from thing import triple\ndef test_three():\n    assert triple(1) == 3\n"
    source = BASE["thing.py"] + "def triple(number):\n    return number * 3\n"
    result = judged(trials, tmp_path, {"thing.py": source, "tests/test_new.py": new})
    assert result.passed
    assert result.base is not None
    assert (result.own.collected, result.base.collected) == (3, 2)


def test_a_change_that_breaks_a_test_is_red_and_says_which(trials: Trials, tmp_path: Path) -> None:
    result = judged(trials, tmp_path, {"thing.py": BROKEN})
    assert not result.passed
    assert result.own.failed == ("tests.test_thing::test_two", "tests.test_thing::test_zero")
    assert result.own.exit == 1
    assert "assert 5 == 4" in result.own.output


@pytest.mark.parametrize(
    "forgery",
    [
        {"tests/test_thing.py": "def test_two():\n    pass\ndef test_zero():\n    pass\n"},
        {"tests/test_thing.py": None, "tests/test_other.py": "def test_fine():\n    pass\n"},
        {"pytest.ini": "[pytest]\naddopts = --deselect tests/test_thing.py::test_two -k zero\n"},
        {"conftest.py": "import pytest\ndef pytest_collection_modifyitems(items):\n    items[:] = items[:1]\n"},
        {
            "tests/conftest.py": """
                import pytest
                @pytest.hookimpl(wrapper=True)
                def pytest_runtest_makereport():
                    report = yield
                    report.outcome = "passed"
                    return report
            """
        },
        {"sitecustomize.py": "import os, sys\nif 'pytest' in ' '.join(sys.orig_argv):\n    os._exit(0)\n"},
        {
            "tests/__init__.py": "",
            "tests/test_thing/__init__.py": "",
            "tests/test_thing/test_x.py": "def test_x(): pass",
        },
    ],
    ids=["weakened", "removed", "deselected", "hidden", "hooked", "never-started", "shadowed"],
)
def test_a_change_that_grades_itself_is_found_out_by_the_tests_of_the_base(
    trials: Trials, tmp_path: Path, forgery: dict[str, str | None]
) -> None:
    result = judged(trials, tmp_path, {"thing.py": BROKEN, **forgery})
    assert not result.passed
    assert result.base is not None
    assert not result.base.passed
    assert result.base.failed


WRITE = "import sys; open(next(word for word in sys.argv if 'junit' in word).partition('=')[2], 'w')"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import os; os._exit(0)", "left no report"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "left no report"),
        (
            WRITE + ".write('<testsuite/>'); import os; os._exit(0)",
            "No test",
        ),
        (
            WRITE + ".write('<!DOCTYPE x>'); import os; os._exit(0)",
            "its own",
        ),
        ("import pytest; pytest.skip('later', allow_module_level=True)", "did not run"),
    ],
    ids=["exit", "killed", "empty-report", "expanding-report", "skipped"],
)
def test_source_that_ends_or_evades_the_tests_is_red(trials: Trials, tmp_path: Path, source: str, words: str) -> None:
    result = judged(trials, tmp_path, {"thing.py": source + "\ndef double(number):\n    return number * 2\n"})
    assert not result.passed
    assert result.base is not None
    assert not result.base.passed
    assert words in result.own.output + result.base.output


def test_skipping_a_test_of_the_base_counts_as_missing(trials: Trials, tmp_path: Path) -> None:
    result = judged(
        trials, tmp_path, {"thing.py": "import pytest\ndef double(number):\n    pytest.skip('not today')\n"}
    )
    assert not result.passed
    assert result.base is not None
    assert result.base.missing == ("tests.test_thing::test_two", "tests.test_thing::test_zero")


def test_a_test_that_fails_on_the_branch_already_is_not_held_against_a_change(trials: Trials, tmp_path: Path) -> None:
    base = {**BASE, "tests/test_old.py": "def test_old():\n    assert False\n"}
    result = judged(trials, tmp_path, {"tests/test_old.py": "def test_old():\n    assert True\n"}, base)
    assert result.passed


def test_a_branch_without_tests_has_no_base_run_and_no_test_is_no_proof(trials: Trials, tmp_path: Path) -> None:
    base = {"thing.py": BASE["thing.py"]}
    first = judged(trials, tmp_path / "one", {"tests/test_thing.py": BASE["tests/test_thing.py"]}, base)
    assert first.passed
    assert first.base is None
    second = judged(trials, tmp_path / "two", {"thing.py": BROKEN}, base)
    assert not second.passed
    assert "proves nothing" in second.own.output


def test_breaking_the_bases_tests_on_purpose_is_for_a_person_where_the_settings_say_so(
    sandbox: Sandbox, clock: FakeClock, tmp_path: Path
) -> None:
    shown = Trials(UpgradeSettings(test_command=COMMAND, base_tests="shown"), sandbox, clock=clock)
    tests = "from thing import double\ndef test_two():\n    assert double(2) == 5\n"
    result = judged(shown, tmp_path, {"thing.py": BROKEN, "tests/test_thing.py": tests})
    assert result.passed
    assert result.base is not None
    assert not result.base.passed


def test_what_the_branch_passes_is_asked_once_and_kept_over_a_restart(
    sandbox: Sandbox, clock: FakeClock, tmp_path: Path
) -> None:
    written: list[Path] = []
    for number in range(3):
        trials = Trials(UpgradeSettings(test_command=COMMAND), sandbox, clock=clock, cache=tmp_path / "cache")
        change = {"thing.py": BASE["thing.py"] + "#\n" * (number + 1)}
        judged(trials, tmp_path / str(number), change, written=written)
    assert written == [tmp_path / "0" / "base"]


def test_a_tree_that_passed_is_known_as_the_next_base(trials: Trials, tmp_path: Path) -> None:
    first = judged(trials, tmp_path / "one", {"thing.py": BASE["thing.py"] + "# one\n"})
    assert first.passed
    base = {**BASE, "thing.py": BASE["thing.py"] + "# one\n"}
    written: list[Path] = []
    assert judged(trials, tmp_path / "two", {"readme.txt": "x"}, base, written).passed
    assert written == []
    # Its own tests differ, so those of the base are needed.
    own = {"tests/test_more.py": "def test_more():\n    pass\n"}
    assert judged(trials, tmp_path / "three", own, base, written).passed
    assert written == [tmp_path / "three" / "base"]


def test_where_attributes_change_the_files_themselves_are_compared(trials: Trials, tmp_path: Path) -> None:
    assert judged(trials, tmp_path / "one", {"readme.txt": "x"}).passed
    # As git writes it out: the attribute emptied a test without touching it in the repository.
    folder = tmp_path / "two"
    change = {".gitattributes": "tests/* ident\n"}
    export = write(folder / "export", {**BASE, **change, "tests/test_thing.py": "def test_two(): pass\n"})
    base = based(folder / "base", BASE, change, [])
    result = trials.run(export, base, tree="2" * 40, progress=lambda _words, _done: None)
    assert result.own.passed
    assert result.base is not None
    assert result.base.passed
    assert result.base.collected == 2


def test_what_takes_too_long_is_red_and_says_which_key_bounds_it(
    sandbox: Sandbox, clock: FakeClock, tmp_path: Path
) -> None:
    short = Trials(UpgradeSettings(test_command=COMMAND, test_s=2), sandbox, clock=clock)
    result = judged(short, tmp_path, {"thing.py": "import time; time.sleep(60)\n"})
    assert not result.passed
    assert "test_s, 2 s" in result.own.output
    assert result.own.exit == -9


def test_secrets_that_tests_print_do_not_reach_the_result(trials: Trials, tmp_path: Path) -> None:
    tests = "def test_two():\n    print('api_key=sk-abcdefghij1234567890XYZ')\n    assert False\n"
    result = judged(trials, tmp_path, {"tests/test_thing.py": tests})
    assert "sk-abcdefghij" not in result.own.output
    assert "[redacted" in result.own.output


def test_tests_that_write_into_their_tree_need_a_copy(sandbox: Sandbox, clock: FakeClock, tmp_path: Path) -> None:
    tests = "def test_two():\n    open('made', 'w').close()\n"
    plain = judged(
        Trials(UpgradeSettings(test_command=COMMAND), sandbox, clock=clock),
        tmp_path / "one",
        {"tests/test_thing.py": tests},
    )
    assert not plain.own.passed
    copied = Trials(UpgradeSettings(test_command=COMMAND, writable_tree=True), sandbox, clock=clock)
    assert judged(copied, tmp_path / "two", {"tests/test_thing.py": tests}).own.passed
    assert not (tmp_path / "two" / "export" / "made").exists()


def test_a_result_counts_for_its_recipe_only(sandbox: Sandbox) -> None:
    recipes = {
        Trials(settings, sandbox).recipe
        for settings in (
            UpgradeSettings(test_command=COMMAND),
            UpgradeSettings(test_command=COMMAND, test_s=1),
            UpgradeSettings(test_command=COMMAND, writable_tree=True),
        )
    }
    assert len(recipes) == 3


def test_trials_that_were_closed_run_nothing(trials: Trials, tmp_path: Path) -> None:
    trials.close()
    with pytest.raises(SandboxError, match="stopped"):
        judged(trials, tmp_path, {})
