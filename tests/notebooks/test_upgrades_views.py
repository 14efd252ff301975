"""The upgrades page: what its diff shows, what it says in each state, and what its hands do."""

from __future__ import annotations

import html
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.upgrades.quick_repo import PIN, make_quick_repo, quick_toml
from timmy_core import open_timmy
from timmy_core.timmy import Timmy
from timmy_core.upgrades.approval import SAME_USER
from ui import coloring, deciding, proposing, reviewing
from ui.differing import Differing

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
Load = Callable[[str], ModuleType]


@pytest.fixture
def timmy(home: Path, tmp_path: Path) -> Iterator[Timmy]:
    (home / "timmy.toml").write_text(quick_toml(make_quick_repo(tmp_path / "repo")), encoding="utf-8")
    with open_timmy(home) as opened:
        yield opened


def propose(timmy: Timmy, *, title: str = "Better words", by: str = "timmy", **files: str | None) -> str:
    changed = {path.replace("__", "."): text for path, text in (files or {"words__txt": "greener\n"}).items()}
    return timmy.upgrades.propose(description=title, files=changed, proposed_by=by).id


def do(timmy: Timmy, action: str, **order: Any) -> dict[str, Any]:
    """Give an order as the page does, and return the answer."""
    said: list[dict[str, Any]] = []
    deciding.carry_out(said.append, timmy, {"action": action, "number": 7, **order})
    (answer,) = said
    return answer


def whole(timmy: Timmy, chosen: str = "") -> str:
    here = reviewing.look(timmy, chosen)
    pieces = (reviewing.first_line(here), reviewing.notes(here), reviewing.waiting(here), proposing.whole(here))
    return "\n".join(
        (*pieces, proposing.trail(here), reviewing.over(here), proposing.people(here, same_user=SAME_USER))
    )


# Lines -------------------------------------------------------------------------------------------------------


def test_a_line_is_coloured_and_its_words_are_marked() -> None:
    (line,) = coloring.colored("a.py", 'return "<b>"')
    assert coloring.html(line) == '<span class="k">return</span> <span class="s">&quot;&lt;b&gt;&quot;</span>'.replace(
        '<span class="s">&quot;&lt;b&gt;&quot;</span>',
        '<span class="s">&quot;</span><span class="s">&lt;b&gt;</span><span class="s">&quot;</span>',
    )
    assert coloring.html([("one two", "")], [(4, 7)]) == "one <mark>two</mark>"


def test_what_begins_far_above_is_known_below() -> None:
    lines = coloring.colored("a.py", '"""\nreturn\n"""\n')
    assert lines[1] == (("return", "s"),)


def test_a_file_of_an_unknown_kind_is_plain() -> None:
    assert coloring.colored("a.unknown-kind", "a\nb") == ((("a", ""),), (("b", ""),))


def test_only_words_that_differ_are_marked_and_lines_with_little_in_common_are_not() -> None:
    assert coloring.changed_words("price = 10", "price = 12") == ([(8, 10)], [(8, 10)])
    assert coloring.changed_words("alpha beta gamma", "(((1 + 2)))") == ([], [])


def test_a_diff_has_its_files_hunks_and_marks(timmy: Timmy) -> None:
    differing = Differing(timmy)
    differing.show(timmy.upgrades.get(propose(timmy, words__txt="green leaf\n", new__md="# New\n")))
    new, words = differing.shown["files"]
    assert (new["path"], new["status"], new["end"]) == ("new.md", "added", 1)
    assert [row[:3] for row in words["hunks"][0]["rows"]] == [["-", 1, None], ["+", None, 1]]
    assert words["hunks"][0]["rows"][1][3] == "green<mark> leaf</mark>"
    differing.show(None)
    assert differing.shown == {}


def test_unchanged_lines_come_on_demand_and_never_past_the_end(timmy: Timmy) -> None:
    text = "".join(f"line {number}\n" for number in range(40))
    first = propose(timmy, many__txt=text)
    timmy.upgrading.approvals.set_pin(PIN, by="ann")
    timmy.upgrades.test(first)
    timmy.upgrades.approve(first, by="ann", pin=PIN)
    timmy.upgrades.apply(first)
    differing = Differing(timmy)
    differing.show(timmy.upgrades.get(propose(timmy, many__txt=text.replace("line 20\n", "line twenty\n"))))
    (file,) = differing.shown["files"]
    assert (file["end"], len(file["hunks"])) == (40, 1)
    order = {"key": differing.shown["key"], "kind": "gap", "file": 0, "old": 25, "new": 25, "count": 100}
    answer = differing.reply(order)
    assert answer is not None
    assert [row[1:] for row in answer["rows"]][::15] == [[25, 25, "line 24"], [40, 40, "line 39"]]
    assert differing.reply({**order, "key": "another"}) is None
    assert differing.reply({**order, "file": 5}) is None


# Words -------------------------------------------------------------------------------------------------------


def test_without_a_repository_it_says_what_to_do(page: Load, empty: Timmy) -> None:
    outputs, _ = page("upgrades").app.run(defs={"timmy": empty})
    text = "\n".join(str(getattr(output, "text", output)) for output in outputs if output is not None)
    assert "Nothing can be proposed yet." in text
    assert "timmy upgrades pin" in text


def test_an_empty_queue_says_so_and_asks_for_a_pin(timmy: Timmy) -> None:
    text = whole(timmy)
    assert "Nothing waits for you." in text
    assert "Nobody may decide yet." in text
    assert "No proposal is on its way." in text


def test_a_proposal_shows_who_risk_tests_and_what_can_be_done(timmy: Timmy) -> None:
    id_ = propose(timmy, title="Better <words>")
    assert "1 proposal is on the way" in whole(timmy)
    timmy.upgrades.test(id_)
    text = whole(timmy)
    assert "<strong>1 proposal waits for you.</strong>" in text
    assert "Better &lt;words&gt;" in text
    assert "Better <words>" not in text
    assert [
        word for word in ("Approve …", "Reject …", "Its own tests", "The branch", "runs out") if word not in text
    ] == []
    assert f"?id={id_}" in text


def test_it_says_what_one_user_for_all_means_and_asks_for_a_consent_behind_low_walls(
    timmy: Timmy, monkeypatch: pytest.MonkeyPatch
) -> None:
    propose(timmy)
    assert SAME_USER in html.unescape(whole(timmy))
    said = "its tests ran at the level limits"
    monkeypatch.setattr(timmy.upgrading.policy, "needs_consent", lambda one: said if one.tests else "")
    assert said not in whole(timmy)
    timmy.upgrades.test(timmy.upgrades.list().proposals[0].id)
    assert said in html.unescape(whole(timmy))


def test_what_is_red_offers_no_approval(timmy: Timmy) -> None:
    timmy.upgrades.test(propose(timmy, words__txt="RED\n"))
    text = whole(timmy)
    assert "words::test_words" in text
    assert "Approve …" not in text


def test_an_id_that_is_not_there_is_said(timmy: Timmy) -> None:
    assert "no proposal" in whole(timmy, "0" * 32)


# Hands -------------------------------------------------------------------------------------------------------


def test_one_pin_approves_and_applies_and_the_undo_is_offered(timmy: Timmy, tmp_path: Path) -> None:
    assert do(timmy, "pin", by="ann", pin=PIN)["words"] == "ann may decide now."
    id_ = propose(timmy)
    assert do(timmy, "test", id=id_)["words"] == "Its tests are green."
    seen = timmy.upgrades.get(id_).seen
    done = do(timmy, "approve", id=id_, by="ann", pin=PIN, seen=seen, apply=True)
    assert (done["state"], done["number"], done["back"]["order"]["action"]) == ("good", 7, "rollback")
    assert (tmp_path / "repo" / "words.txt").read_text(encoding="utf-8") == "greener\n"
    assert do(timmy, "rollback", id=id_, by="ann", pin=PIN)["state"] == "good"


def test_a_refusal_says_who_was_first(timmy: Timmy) -> None:
    do(timmy, "pin", by="ann", pin=PIN)
    id_ = propose(timmy)
    timmy.upgrades.test(id_)
    do(timmy, "reject", id=id_, by="ann", pin=PIN, reason="Not now.")
    late = do(timmy, "approve", id=id_, by="ann", pin=PIN, seen="x")
    assert (late["state"], late["changed"]) == ("bad", True)
    assert "ann rejected it" in late["words"]
    assert "Not now." in late["words"]


def test_how_far_work_is_can_be_asked(timmy: Timmy) -> None:
    id_ = propose(timmy)
    with timmy.upgrading.following.told(id_) as progress:
        progress("running its own tests", 0.4)
        answer = do(timmy, "steps", ids=[id_, "other"])
    assert answer["steps"][id_]["done"] == pytest.approx(0.4)
    assert answer["steps"][id_]["words"].startswith("Running its own tests")
    assert do(timmy, "steps", ids=[id_])["steps"] == {}


def test_what_was_decided_is_sifted_by_outcome_and_time_and_says_where_nothing_is_left(timmy: Timmy) -> None:
    seen = reviewing.look(timmy, "", {"decided": "7d", "state": "rejected"})
    assert seen.sifted
    assert "Nothing was decided with these filters." in reviewing.over(seen)
    assert not reviewing.look(timmy, "", {"decided": "all", "state": "any"}).sifted
    assert reviewing.wanted_states({"state": "applied"}) == ("applied",)


def test_the_file_of_what_was_decided_holds_what_is_chosen(timmy: Timmy) -> None:
    assert do(timmy, "pin", by="ann", pin=PIN)["people"] == ["ann"]
    id_, _waits = propose(timmy), propose(timmy, title="Other words", words__txt="redder\n")
    timmy.upgrades.test(id_)
    do(timmy, "reject", id=id_, by="ann", pin=PIN, reason="Not now.")
    for query, found in (({}, [id_]), ({"decided": "7d", "state": "rejected"}, [id_]), ({"state": "applied"}, [])):
        assert reviewing.decided(timmy, SimpleNamespace(query=query))["id"].to_list() == found
