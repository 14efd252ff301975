"""What is drawn of the house is what its code is."""

from __future__ import annotations

import pytest

from .architecture import DOCUMENT, DRAWINGS, drawn, modules, room


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_drawing_is_as_the_code_is(name: str) -> None:
    there = drawn(DOCUMENT.read_text(encoding="utf-8"))
    assert there[name] == DRAWINGS[name](), "draw it anew: python -m tests.docs.architecture"


def test_no_other_drawing_is_in_the_document() -> None:
    assert set(drawn(DOCUMENT.read_text(encoding="utf-8"))) == set(DRAWINGS)


def test_every_module_stands_in_a_drawn_room() -> None:
    rooms = drawn(DOCUMENT.read_text(encoding="utf-8"))["rooms"]
    assert {room(name) for name in modules() if f"`{room(name)}`" not in rooms} <= {""}
