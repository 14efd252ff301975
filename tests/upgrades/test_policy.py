"""The policy: classes of risk, how many people, and when silence is consent."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from timmy_core.errors import ApprovalError
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.testing import FakeClock
from timmy_core.upgrades.model import FileChange
from timmy_core.upgrades.paths import PathSet
from timmy_core.upgrades.policy import UpgradePolicy

from .approving_house import change, proposal, result_of

POLICY = UpgradePolicy(UpgradeSettings())
AUTOMATIC = UpgradeSettings(auto_approve=True, notice_command=("true",), expiry_h=100)


@pytest.mark.parametrize(
    ("files", "level", "words"),
    [
        ((change("docs/a.md"),), "low", "1 lines in paths of low risk"),
        ((change("docs/a.md", added=51),), "normal", "51 lines"),
        ((change("docs/a.md", status="removed", removed=3, added=0),), "normal", "3 lines"),
        ((change("thing.py"), change("docs/a.md")), "normal", "2 files"),
        ((change("thing.py", added=501),), "high", "501 lines"),
        ((change("tests/test_a.py"),), "high", "how changes are tested: tests/test_a.py"),
        ((change("a/conftest.py"),), "high", "how changes are tested"),
        ((change("pyproject.toml"),), "high", "how changes are tested"),
        ((change(".ci/run"),), "high", "what is protected: .ci/run"),
        ((change("timmy_core/upgrades/policy.py"),), "high", "what is protected"),
        ((change("TIMMY_CORE/Upgrades/policy.py"),), "high", "what is protected"),
        ((change("docs/a.md", binary=True),), "high", "nobody can read"),
        ((change("docs/a.md", new_mode="100755"),), "high", "what may be run"),
    ],
)
def test_risk_follows_path_size_and_kind(files: tuple[FileChange, ...], level: str, words: str) -> None:
    risk = POLICY.assess(files, kind="diff", quarantined=False)
    assert risk.level == level
    assert words in " ".join(risk.reasons)


def test_what_was_rolled_back_before_is_of_high_risk_however_small() -> None:
    risk = POLICY.assess((change("docs/a.md"),), kind="diff", quarantined=True)
    assert (risk.level, risk.reasons) == ("high", ("the same change was applied before and rolled back",))


def test_a_way_of_proposing_can_be_of_high_risk() -> None:
    policy = UpgradePolicy(UpgradeSettings(high_kinds=("branch",)))
    assert policy.assess((change("docs/a.md"),), kind="branch", quarantined=False).level == "high"
    assert policy.assess((change("docs/a.md"),), kind="diff", quarantined=False).level == "low"


def test_protected_paths_are_named() -> None:
    risk = POLICY.assess((change("a.py"), change("tests/b.py"), change("Makefile")), kind="diff", quarantined=False)
    assert risk.protected == ("Makefile", "tests/b.py")
    assert POLICY.protected("Makefile")
    assert not POLICY.protected("a.py")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["docs/a.md", "a.py", "tests/a.py", "Makefile"]), min_size=1, max_size=4, unique=True),
    st.integers(0, 700),
)
def test_more_never_lowers_the_risk(paths: list[str], lines: int) -> None:
    rank = ("low", "normal", "high").index
    small = [change(path, added=lines) for path in paths]
    more = [*small, change("b.py", added=1)]
    first, second = (POLICY.assess(some, kind="diff", quarantined=False) for some in (small, more))
    assert rank(first.level) <= rank(second.level)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("docs/**", ["docs/a", "docs/a/b.md"], ["docs", "a/docs/b"]),
        ("**/*.md", ["a.md", "a/b/c.md"], ["a.md/b", "amd"]),
        ("*.lock", ["uv.lock"], ["a/uv.lock"]),
        ("a?c", ["abc"], ["a/c", "ac"]),
        ("a.b[c]", ["a.b[c]"], ["axb[c]", "a.bc"]),
    ],
)
def test_patterns_stay_in_a_folder_but_for_two_stars(pattern: str, matching: list[str], others: list[str]) -> None:
    paths = PathSet([pattern])
    assert [path for path in matching if path not in paths] == []
    assert [path for path in others if path in paths] == []


# People ----------------------------------------------------------------------------------------------------------


def test_higher_risk_asks_for_more_people_but_never_for_more_than_there_are() -> None:
    people = 1
    policy = UpgradePolicy(UpgradeSettings(), lambda: people)
    assert [policy.quorum(level) for level in ("low", "normal", "high")] == [1, 1, 1]
    people = 3
    assert [policy.quorum(level) for level in ("low", "normal", "high")] == [1, 1, 2]
    people = 0
    assert policy.quorum("high") == 1


def test_an_approval_under_another_policy_has_another_digest() -> None:
    digests = {
        UpgradePolicy(some).digest()
        for some in (
            UpgradeSettings(),
            UpgradeSettings(high_lines=501),
            UpgradeSettings(quorum={"low": 1, "normal": 2, "high": 2}),
            UpgradeSettings(protected_paths=()),
            UpgradeSettings(test_command=("true", "{report}")),
        )
    }
    assert len(digests) == 5
    assert UpgradePolicy(UpgradeSettings(health_s=5)).digest() == POLICY.digest()


def test_tests_below_bubblewrap_need_a_consent_that_says_so(clock: FakeClock) -> None:
    assert POLICY.needs_consent(proposal(clock)) == ""
    weaker = proposal(clock, tests=result_of(clock, level="limits"))
    assert "limits" in POLICY.needs_consent(weaker)
    POLICY.check_consent(weaker, given=True)
    POLICY.check_consent(proposal(clock), given=False)
    with pytest.raises(ApprovalError, match=r"limits.*consent"):
        POLICY.check_consent(weaker, given=False)


# Without a person ------------------------------------------------------------------------------------------------


def test_nothing_is_approved_by_itself_unless_the_settings_say_so(clock: FakeClock) -> None:
    long_ago = clock.now() - timedelta(days=3)
    assert POLICY.why_not_automatic(proposal(clock), long_ago, clock.now()) == "automatic approval is off"


def test_silence_of_somebody_who_was_told_is_consent_after_a_day(clock: FakeClock) -> None:
    policy = UpgradePolicy(AUTOMATIC)
    told = clock.now()
    assert (
        policy.why_not_automatic(proposal(clock), told, told + timedelta(hours=23)) == "the time to object is not over"
    )
    assert policy.why_not_automatic(proposal(clock), told, told + timedelta(hours=24)) == ""
    assert policy.why_not_automatic(proposal(clock), None, told + timedelta(hours=24)) == "nobody was told of it yet"


@pytest.mark.parametrize(
    ("change_of", "words"),
    [
        ({"risk": "normal"}, "its risk is normal"),
        ({"quarantined": True}, "rolled back before"),
        ({"tests": None}, "have not passed"),
        ({"level": "namespaces"}, "below bubblewrap"),
        ({"passed": False}, "have not passed"),
        ({"files": (change("tests/a.md"),)}, "protected"),
        ({"state": "conflict"}, "conflict"),
        ({"approvals": ("somebody's",)}, "decided"),
        ({"expires_at": None}, "expired"),
    ],
)
def test_what_is_never_approved_by_itself(clock: FakeClock, change_of: dict[str, object], words: str) -> None:
    of_tests = {key: change_of.pop(key) for key in ("level", "passed") if key in change_of}
    if of_tests:
        change_of["tests"] = result_of(clock, **of_tests)  # type: ignore[arg-type]
    if change_of.get("expires_at", ...) is None:
        change_of["expires_at"] = clock.now() + timedelta(hours=1)
    policy = UpgradePolicy(AUTOMATIC)
    reason = policy.why_not_automatic(proposal(clock, **change_of), clock.now(), clock.now() + timedelta(days=2))
    assert words in reason


# Settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "landing"),
    [
        ({}, "in_place"),
        ({"health_command": ("true",)}, "releases"),
        ({"release_folder": "/srv/app"}, "releases"),
        ({"health_command": ("true",), "mode": "in_place"}, "in_place"),
        ({"mode": "releases"}, "releases"),
    ],
)
def test_a_service_that_runs_gets_releases_side_by_side(keys: dict[str, object], landing: str) -> None:
    assert UpgradeSettings.model_validate(keys).landing == landing


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"test_command": ()}, "names no {report}"),
        ({"test_command": ("pytest",)}, "names no {report}"),
        ({"branch": "-f"}, "branch"),
        ({"branch": "a..b"}, "git does not take"),
        ({"branch": "main.lock"}, "git does not take"),
        ({"low_lines": 600}, "more than high_lines"),
        ({"quorum": {"high": 2}}, "quorum has to say"),
        ({"quorum": {"low": 3, "normal": 1, "high": 2}}, "may not fall"),
        ({"auto_approve": True}, "notice_command"),
        ({"auto_approve": True, "notice_command": ("true",)}, "raise expiry_h"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_what_to_do(keys: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words.replace("{", r"\{")):
        UpgradeSettings(**keys)  # type: ignore[arg-type]
