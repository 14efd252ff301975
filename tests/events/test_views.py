"""Saved views: a name, filters, and nothing else."""

from __future__ import annotations

import pytest

from timmy_core.errors import EventError
from timmy_core.events import views
from timmy_core.events.views import Views
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock


@pytest.fixture
def saved(store: Store, clock: FakeClock) -> Views:
    return Views(store, clock)


def test_a_view_is_kept_replaced_and_deleted_by_its_name(saved: Views) -> None:
    saved.save(" Failures ", {"family": "llm", "type": "llm.failed", "text": ""})
    saved.save("Failures", {"type": "llm.failed"})
    saved.save("Again", {})
    assert [(view.name, dict(view.query)) for view in saved.list()] == [
        ("Again", {}),
        ("Failures", {"type": "llm.failed"}),
    ]
    assert saved.delete("Again")
    assert not saved.delete("Again")
    assert [view.name for view in saved.list()] == ["Failures"]


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\nb"])
def test_a_name_that_cannot_be_shown_is_refused(saved: Views, name: str) -> None:
    with pytest.raises(EventError, match="1 to 60 printable characters"):
        saved.save(name, {})


def test_views_are_bounded_in_number_and_size(saved: Views, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MAX_VIEWS", 1)
    saved.save("one", {})
    saved.save("one", {"family": "llm"})
    with pytest.raises(EventError, match="delete one first"):
        saved.save("two", {})
    with pytest.raises(EventError, match="characters long"):
        saved.save("one", {"text": "x" * 5000})
