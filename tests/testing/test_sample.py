"""The sample is made by the real code, and the one that is kept is whole, small and nobody's."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from timmy_core.clock import MovedClock, StillClock
from timmy_core.errors import SettingsError
from timmy_core.settings import load_settings
from timmy_core.testing.sample.config import BEGAN, PERSON, PIN
from timmy_core.testing.sample.month import make_sample
from timmy_core.testing.sample.open import StandIn, open_copy
from timmy_core.testing.sample.pack import MAX_BYTES, find_sample, pack, unpack
from timmy_core.timmy import Timmy

NOW = datetime(2027, 3, 1, tzinfo=UTC)


def opened(home: Path) -> Iterator[Timmy]:
    timmy = Timmy(load_settings(home))
    yield timmy
    timmy.shutdown()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timmy]:
    home = tmp_path_factory.mktemp("kept") / "home"
    open_copy(home, now=NOW, still=True)
    yield from opened(home)


def lived(home: Path, days: int) -> list[tuple[str, datetime]]:
    make_sample(home, days=days)
    timmy = Timmy(load_settings(home))
    try:
        assert timmy.events.verify().ok
        assert not timmy.ledger.verify().problems
        rows = timmy.frame("events").select("type", "ts").rows()
        return [(kind, ts) for kind, ts in rows if not kind.startswith("memory.")]
    finally:
        timmy.shutdown()


def test_days_are_lived_by_the_real_code_and_the_same_seed_lives_them_again(tmp_path: Path) -> None:
    first = lived(tmp_path / "one", 1)
    assert first == lived(tmp_path / "two", 1)
    assert {kind.split(".")[0] for kind, _ in first} >= {"chat", "llm", "invoice", "ledger"}
    assert all(BEGAN <= ts < BEGAN + timedelta(days=1) for _, ts in first)


def test_what_is_kept_is_small_and_says_nothing_of_who_made_it() -> None:
    packed = find_sample()
    assert packed.stat().st_size < MAX_BYTES
    listed = subprocess.run(["tar", "-tvJf", packed], capture_output=True, text=True, check=True).stdout
    assert "timmy.toml" not in listed
    assert {line.split()[1] for line in listed.splitlines()} <= {"root/root", "0/0"}


def test_what_is_kept_is_a_whole_month_with_all_that_pages_show(kept: Timmy) -> None:
    assert kept.events.verify().ok
    assert not kept.ledger.verify().problems
    spans = kept.sql("SELECT min(ts) AS first, max(ts) AS last FROM events").row(0)
    assert spans[0] < BEGAN + timedelta(days=1)
    assert spans[1] > BEGAN + timedelta(days=29)
    families = set(kept.sql("SELECT DISTINCT split_part(event_type, '.', 1) AS f FROM events")["f"])
    assert families >= {
        "agent", "auction", "bid", "budget", "chat", "circuit", "invoice", "ledger", "llm", "log", "memory", "payment",
        "system", "task", "tool", "upgrade",
    }  # fmt: skip
    states = {proposal.state for proposal in kept.upgrades.list().proposals}
    assert states >= {"applied", "rejected", "rolled_back", "test_failed", "awaiting_approval"}
    assert kept.sql("SELECT count(DISTINCT agent) FROM tasks WHERE state = 'completed'").item() == 3
    assert kept.sql("SELECT count(DISTINCT provider) FROM attempts WHERE outcome = 'completed'").item() == 4


def test_nothing_in_it_names_a_machine(kept: Timmy) -> None:
    content = kept.settings.database_path.read_bytes()
    assert [word for word in (b"/work/", b"/root/", b"/home/", b"/Users/", b"site-packages") if word in content
            and word != b"/home/"] == []  # fmt: skip
    assert content.count(b"/home/") == content.count(b"/tmp/timmy-sample/home/")


def test_its_time_goes_on_where_it_ends_or_stands_still(kept: Timmy, tmp_path: Path) -> None:
    assert isinstance(kept.clock, StillClock)
    assert kept.clock.now() == kept.events.list(limit=1)[0].ts
    now = datetime.now(UTC)
    demo = open_copy(tmp_path / "home", now=now)
    assert isinstance(demo.clock(), MovedClock)
    passed = demo.clock().now() - demo.ends_at
    assert timedelta(0) <= passed < timedelta(minutes=5)


def test_a_copy_that_was_kept_is_taken_up_and_another_home_is_left_alone(tmp_path: Path) -> None:
    first = open_copy(tmp_path / "kept", now=NOW)
    assert open_copy(tmp_path / "kept", url="http://127.0.0.1:7", now=NOW + timedelta(days=1)) == first
    assert load_settings(tmp_path / "kept").providers[0].base_url == "http://127.0.0.1:7"
    other = tmp_path / "other"
    other.mkdir()
    (other / "timmy.toml").write_text("[router]\ndeadline_s = 30\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="is not empty"):
        open_copy(other, now=NOW)


def test_every_model_of_a_copy_is_answered_for_by_the_stand_in(tmp_path: Path) -> None:
    with StandIn() as models:
        open_copy(tmp_path / "home", url=models.url, now=NOW)
        for timmy in opened(tmp_path / "home"):
            for name in ("ollama", "garage", "claude", "openai"):
                answer = timmy.router.chat_sync([{"role": "user", "content": "Hello?"}], provider=name)
                assert (answer.provider, answer.offline) == (name, False)
                assert "demonstration" in answer.text


def test_what_waits_in_a_copy_can_be_approved_and_lands(tmp_path: Path) -> None:
    open_copy(tmp_path / "home", now=NOW, still=True)
    for timmy in opened(tmp_path / "home"):
        waiting = next(one for one in timmy.upgrades.list().proposals if one.state == "awaiting_approval")
        timmy.upgrades.approve(waiting.id, by=PERSON, pin=PIN)
        assert timmy.upgrades.apply(waiting.id).state == "applied"
        assert "a tenth less" in (tmp_path / "home" / "repo" / "README.md").read_text(encoding="utf-8")


def test_a_damaged_sample_says_what_to_do(tmp_path: Path) -> None:
    broken = tmp_path / "sample.tar.xz"
    broken.write_bytes(find_sample().read_bytes()[:5000])
    with pytest.raises(SettingsError, match="install timmy-workbench again"):
        unpack(broken, tmp_path / "home")


def test_what_has_become_too_large_is_not_kept(tmp_path: Path) -> None:
    unpack(find_sample(), tmp_path / "home")
    assert pack(tmp_path / "home", tmp_path / "again.tar.xz") < MAX_BYTES
    (tmp_path / "home" / "nodes" / "noise").write_bytes(secrets.token_bytes(MAX_BYTES))
    with pytest.raises(SettingsError, match="let less happen"):
        pack(tmp_path / "home", tmp_path / "large.tar.xz")
