"""The tree of a change's source with the base's tests, and reports that nobody trusts."""

from __future__ import annotations

from pathlib import Path

import pytest

from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.upgrades import forgery
from timmy_core.upgrades.junit import parse
from timmy_core.upgrades.paths import PathSet

TESTS = PathSet(UpgradeSettings().test_paths)


def tree(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path: (folder / path).read_text(encoding="utf-8") for path in forgery.plain_files(folder)}


def test_tests_come_from_the_base_and_source_from_the_change(tmp_path: Path) -> None:
    base = tree(tmp_path / "base", thing_py="old", tests__a_py="old", tests__b_py="old", conftest_py="old")
    ours = tree(tmp_path / "ours", thing_py="new", more_py="new", tests__a_py="new", tests__c_py="new")
    changed = forgery.grades_itself(ours, base, TESTS)
    assert changed == ["conftest.py", "tests/a.py", "tests/b.py", "tests/c.py"]
    forgery.with_base_tests(ours, base, changed, tmp_path / "both")
    assert contents(tmp_path / "both") == {
        "thing.py": "new", "more.py": "new", "tests/a.py": "old", "tests/b.py": "old", "conftest.py": "old",
    }  # fmt: skip


def test_a_change_of_source_alone_does_not_grade_itself(tmp_path: Path) -> None:
    base = tree(tmp_path / "base", thing_py="old", tests__a_py="same")
    ours = tree(tmp_path / "ours", thing_py="new", tests__a_py="same")
    assert forgery.grades_itself(ours, base, TESTS) == []


def test_a_link_in_the_place_of_tests_leads_nowhere(tmp_path: Path) -> None:
    outside = tree(tmp_path / "outside", a_py="precious")
    base = tree(tmp_path / "base", tests__a_py="old")
    ours = tree(tmp_path / "ours", thing_py="new")
    (ours / "tests").symlink_to(outside)
    forgery.with_base_tests(ours, base, forgery.grades_itself(ours, base, TESTS), tmp_path / "both")
    assert (outside / "a.py").read_text(encoding="utf-8") == "precious"
    assert not (tmp_path / "both" / "tests").is_symlink()
    assert (tmp_path / "both" / "tests" / "a.py").read_text(encoding="utf-8") == "old"


def test_a_file_in_the_place_of_a_folder_and_the_other_way_round_give_way(tmp_path: Path) -> None:
    base = tree(tmp_path / "base", tests__a_py="old", conftest_py="old")
    ours = tree(tmp_path / "ours", tests="new", conftest_py__x="new")
    forgery.with_base_tests(ours, base, forgery.grades_itself(ours, base, TESTS), tmp_path / "both")
    assert contents(tmp_path / "both")["tests/a.py"] == "old"
    assert (tmp_path / "both" / "conftest.py").is_file()


@pytest.mark.parametrize(
    "path",
    ["tests/x.py", "Tests/X.py", "a/b/tests/c.txt", "conftest.py", "a/conftest.py", "a/test_b.py", "pyproject.toml",
     "setup.cfg", "a/sitecustomize.py", "tests/a/b.json"],
)  # fmt: skip
def test_what_decides_how_tests_run_is_known_by_its_path(path: str) -> None:
    assert path in TESTS


@pytest.mark.parametrize("path", ["thing.py", "a/contest.py", "docs/tests.md", "a/pyproject.toml.md", "latest/x.py"])
def test_what_does_not_is_not(path: str) -> None:
    assert path not in TESTS


def test_a_report_names_each_test_once_with_its_worst_verdict() -> None:
    report = parse(
        b"<testsuites><testsuite><testcase classname='a' name='b'/><testcase classname='a' name='b'><error/></testcase>"
        b"<testcase classname='a' name='c'><skipped/></testcase><testcase classname='a' name='d'/></testsuite>"
        b"</testsuites>"
    )
    assert report.verdicts == {"a::b": "failed", "a::c": "skipped", "a::d": "passed"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no report"),
        (b"<testsuite>", "no JUnit file"),
        (b"\x00\xff", "not in UTF-8"),
        (b"\x00", "no JUnit file"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "words of its own"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>".encode("utf-16"), "not in UTF-8"),
    ],
)
def test_a_report_that_cannot_be_read_says_why(content: bytes, words: str) -> None:
    assert words in parse(content).problem
