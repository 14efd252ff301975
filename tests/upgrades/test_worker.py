"""What the serving process does by itself: recover, test, land, tell, and let run out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.waiting import until
from timmy_core.settings import Settings
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.testing import FakeClock
from timmy_core.timmy import Timmy
from timmy_core.upgrades.worker import Worker

from .quick_repo import PIN, make_quick_repo

Opening = Callable[..., Timmy]


@pytest.fixture
def opening(tmp_path: Path, clock: FakeClock) -> Iterator[Opening]:
    opened: list[Timmy] = []
    repo = make_quick_repo(tmp_path / "repo")

    def begin(**more: object) -> Timmy:
        command = ("{python}", "tests/runner.py", "{report}")
        own = UpgradeSettings.model_validate({"repo": repo, "test_command": command, **more})
        opened.append(Timmy(Settings(home=tmp_path / "home", upgrades=own), clock=clock, providers=[]))
        return opened[-1]

    yield begin
    for timmy in opened:
        timmy.shutdown()


def propose(timmy: Timmy, words: str = "greener\n") -> str:
    files = {"words.txt": words}
    return timmy.upgrades.propose(description="Better words", files=files, proposed_by="timmy").id


def look(timmy: Timmy) -> None:
    """Do once what the worker does each second."""
    Worker(timmy.upgrading, timmy.events).look()


def state(timmy: Timmy, id_: str) -> str:
    return timmy.upgrades.get(id_).state


def test_what_is_proposed_is_tested_by_itself(opening: Opening) -> None:
    timmy = opening()
    good, bad = propose(timmy), propose(timmy, "RED\n")
    look(timmy)
    assert (state(timmy, good), state(timmy, bad)) == ("awaiting_approval", "test_failed")
    assert timmy.upgrading.following.of(good) is None


def test_what_a_crash_cut_off_waits_for_a_person(opening: Opening) -> None:
    timmy = opening()
    id_ = propose(timmy)
    timmy.store.write(lambda connection: connection.execute("UPDATE upgrade_proposals SET state = 'testing'"))
    look(timmy)
    assert state(timmy, id_) == "proposed"
    assert "cut off by a crash" in (timmy.upgrades.get(id_).problem or "")
    timmy.upgrades.test(id_)
    assert state(timmy, id_) == "awaiting_approval"


def test_what_is_queued_is_landed(opening: Opening, tmp_path: Path) -> None:
    timmy = opening()
    timmy.upgrading.approvals.set_pin(PIN, by="ann")
    id_ = propose(timmy)
    look(timmy)
    timmy.upgrades.approve(id_, by="ann", pin=PIN)
    # As a process leaves it that is killed between the queue and the landing.
    timmy.upgrades._applying.enqueue(id_)
    look(timmy)
    assert state(timmy, id_) == "applied"
    assert (tmp_path / "repo" / "words.txt").read_text(encoding="utf-8") == "greener\n"


def test_somebody_is_told_once_of_what_can_be_decided(opening: Opening, tmp_path: Path) -> None:
    place = tmp_path / "told.jsonl"
    script = f"import sys; open({str(place)!r}, 'a').write(sys.stdin.read() + chr(10))"
    timmy = opening(notice_command=(sys.executable, "-c", script))
    propose(timmy)
    look(timmy)
    look(timmy)
    assert len(place.read_text(encoding="utf-8").splitlines()) == 1
    assert len(timmy.events.list(type="upgrade.noticed")) == 1


def test_silence_approves_low_risk_after_a_day_and_a_person_still_applies_it(
    opening: Opening, clock: FakeClock
) -> None:
    rules = {"auto_approve": True, "expiry_h": 48.0, "notice_command": ("/bin/true",)}
    timmy = opening(**rules, test_paths=("tests/**",), low_paths=("*.txt",))
    if timmy.upgrading.sandbox.find().level != "bubblewrap":
        pytest.skip("nothing is approved by itself below bubblewrap, and this machine does not reach it")
    id_ = propose(timmy)
    look(timmy)
    clock.advance(timedelta(hours=23).total_seconds())
    look(timmy)
    assert state(timmy, id_) == "awaiting_approval"
    clock.advance(timedelta(hours=2).total_seconds())
    look(timmy)
    look(timmy)
    assert state(timmy, id_) == "approved"
    (approval,) = timmy.upgrades.get(id_).approvals
    assert approval.by == "policy"


def test_what_nobody_decided_runs_out_with_the_schedule(opening: Opening, clock: FakeClock) -> None:
    timmy = opening()
    id_ = propose(timmy)
    clock.advance(timedelta(hours=25).total_seconds())
    (job,) = timmy.upgrading.jobs()
    assert job.run() == "1 ran out"
    assert state(timmy, id_) == "expired"
    assert job.run() == ""


def test_the_thread_works_and_ends(opening: Opening) -> None:
    timmy = opening()
    id_ = propose(timmy)
    timmy.upgrading.start()
    until(lambda: state(timmy, id_) == "awaiting_approval", "the thread tested it", within_s=60)
    timmy.upgrading.close()


def test_a_service_that_runs_out_of_releases_counts_its_start_and_confirms_it(opening: Opening) -> None:
    timmy = opening(mode="releases", max_boots=2, release_keep=2)
    timmy.upgrading.approvals.set_pin(PIN, by="ann")
    made = []
    for words in ("greener\n", "greenest\n"):
        made.append(propose(timmy, words))
        timmy.upgrades.test(made[-1])
        timmy.upgrades.approve(made[-1], by="ann", pin=PIN)
        timmy.upgrades.apply(made[-1])
    assert [state(timmy, each) for each in made] == ["applied", "applied"]
    timmy.upgrades.begin()
    timmy.upgrading.start()
    until(lambda: {state(timmy, each) for each in made} == {"confirmed"}, "both were confirmed", within_s=60)
    timmy.upgrading.close()
    assert timmy.upgrades.state()["boots"] == 0


def test_the_settings_say_how_often_a_release_may_start_and_how_many_stay(opening: Opening, tmp_path: Path) -> None:
    timmy = opening(mode="releases", max_boots=1, release_keep=2)
    timmy.upgrading.approvals.set_pin(PIN, by="ann")
    for number in range(4):
        id_ = propose(timmy, f"green {number}\n")
        timmy.upgrades.test(id_)
        timmy.upgrades.approve(id_, by="ann", pin=PIN)
        timmy.upgrades.apply(id_)
        if number < 3:
            timmy.upgrades.confirm(id_)
    before = timmy.upgrades.state()
    timmy.upgrades.begin()
    timmy.upgrades.begin()
    after = timmy.upgrades.state()
    assert (after["current"], after["left"]) == (before["previous"], before["current"])
    held = [path for path in (tmp_path / "home" / "releases").iterdir() if path.is_dir() and not path.is_symlink()]
    assert len(held) == 3  # two of them were there when the third was confirmed


def test_a_repository_that_is_not_there_keeps_no_home_from_opening(tmp_path: Path, clock: FakeClock) -> None:
    own = UpgradeSettings(repo=tmp_path / "nowhere")
    timmy = Timmy(Settings(home=tmp_path / "home", upgrades=own), clock=clock, providers=[])
    try:
        assert timmy.upgrading.pending() == 0
        assert timmy.upgrading.problem()
    finally:
        timmy.shutdown()


def test_without_a_repository_nothing_is_done(tmp_path: Path, clock: FakeClock) -> None:
    timmy = Timmy(Settings(home=tmp_path / "home"), clock=clock, providers=[])
    try:
        assert timmy.upgrading.jobs() == []
        assert "name one as `repo`" in timmy.upgrading.problem()
    finally:
        timmy.shutdown()
