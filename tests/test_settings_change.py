"""Single values of a `timmy.toml` are changed, and everything else stays as a person wrote it."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timmy_core.errors import SettingsError
from timmy_core.settings_change import changed
from timmy_core.settings_file import TEMPLATE

FILE = """\
# mine
[[providers]]
name = "one"   # the "first" # of all
kind = "openai"
priority = 1

[router]
deadline_s = 60  # seconds
# first_token_s = 20

[[providers]]
name = "two"
kind = "ollama"

[server]
port = 1
"""


def test_a_value_is_replaced_and_its_comment_stays() -> None:
    assert "deadline_s = 30  # seconds\n" in changed(FILE, {("router", "deadline_s"): 30.0})


def test_a_key_that_is_not_there_comes_into_its_own_table() -> None:
    new = changed(FILE, {("router", "hedge"): True, ("providers", 1, "priority"): 2, ("providers", 0, "priority"): 3})
    data = tomllib.loads(new)
    assert data["router"] == {"deadline_s": 60, "hedge": True}
    assert [table["priority"] for table in data["providers"]] == [3, 2]
    assert '# the "first" # of all' in new


def test_a_table_that_is_not_there_is_written_at_the_end() -> None:
    assert changed("[server]\nport = 1\n", {("router", "deadline_s"): 5}).endswith("\n\n[router]\ndeadline_s = 5\n")
    assert changed("", {("router", "deadline_s"): 5}) == "[router]\ndeadline_s = 5\n"


def test_none_removes_a_key() -> None:
    assert "deadline_s" not in changed(FILE, {("router", "deadline_s"): None})
    assert changed(FILE, {("router", "slow_call_s"): None}) == FILE


def test_the_template_of_a_new_home_can_be_changed() -> None:
    assert tomllib.loads(changed(TEMPLATE, {("router", "deadline_s"): 7.5}))["router"] == {"deadline_s": 7.5}


@pytest.mark.parametrize("text", ["router = { deadline_s = 60 }\n", "router.deadline_s = 60\n[server]\nport = 1\n"])
def test_what_cannot_be_changed_line_by_line_is_refused_with_the_line_to_write(text: str) -> None:
    with pytest.raises(SettingsError, match=r"router\.deadline_s = 30"):
        changed(text, {("router", "deadline_s"): 30})


def test_a_provider_that_stands_in_no_table_is_refused() -> None:
    with pytest.raises(SettingsError, match="no table for providers"):
        changed("", {("providers", 0, "priority"): 1})


VALUES = st.one_of(
    st.booleans(),
    st.integers(0, 999),
    st.floats(0.001, 999, allow_nan=False),
    st.text("ab\"\\#=[]' ", max_size=8),
)
KEYS = st.sampled_from(["deadline_s", "hedge", "retry_percent", "slow_call_s"])


@settings(max_examples=50)
@given(st.dictionaries(KEYS, VALUES, min_size=1))
def test_what_was_asked_for_is_what_can_be_read_and_nothing_else_moved(
    wanted: dict[str, bool | int | float | str],
) -> None:
    before = tomllib.loads(FILE)
    after = tomllib.loads(changed(FILE, {("router", key): value for key, value in wanted.items()}))
    assert after["router"] == before["router"] | wanted
    assert (after["providers"], after["server"]) == (before["providers"], before["server"])
