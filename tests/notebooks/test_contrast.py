"""The theme's colours against what they stand on: text 4.5 to 1, fields and signs 3 to 1, light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ui import palette

SHEET = (Path(palette.__file__).parent / "theme.css").read_text(encoding="utf-8")
GROUNDS = ("ground", "surface", "hover", "selected")
TINT = 0.13  # the strongest tint of its own colour on which a tone is written: added and removed lines, and pills
MARK = 0.27  # the strongest tint below a text in the plain colour: the words that changed in a line


def theme(opening: str) -> dict[str, str]:
    """Return the colours of one block of the sheet by their names."""
    block = SHEET[SHEET.index(opening) :]
    return dict(re.findall(r"--tw-([a-z-]+): (#[0-9a-f]{6});", block[: block.index("}")]))


THEMES = {"light": theme("body {"), "dark": theme("body.dark {")}


def mixed(color: str, ground: str, share: float) -> str:
    """Return what `color-mix(in srgb, color share, transparent)` gives on a ground."""
    pairs = [(int(color[at : at + 2], 16), int(ground[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(over * share + under * (1 - share)):02x}" for over, under in pairs)


def test_both_themes_name_the_same_colours() -> None:
    assert set(THEMES["light"]) == set(THEMES["dark"])
    assert THEMES["light"]["ground"] == palette.LIGHT_GROUND
    assert THEMES["dark"]["ground"] == palette.DARK_GROUND


@pytest.mark.parametrize("name", THEMES)
@pytest.mark.parametrize("tone", ["text", "muted", "good", "wait", "bad", "info"])
def test_every_word_can_be_read_on_every_ground(name: str, tone: str) -> None:
    colors = THEMES[name]
    for ground in GROUNDS:
        assert palette.contrast(colors[tone], colors[ground]) >= 4.5, (tone, ground)


@pytest.mark.parametrize("name", THEMES)
@pytest.mark.parametrize("tone", ["good", "wait", "bad", "info", "muted"])
def test_a_pill_can_be_read_on_its_own_tint(name: str, tone: str) -> None:
    colors = THEMES[name]
    for ground in GROUNDS:
        behind = mixed(colors[tone], colors[ground], TINT)
        assert palette.contrast(colors[tone], behind) >= 4.5, (tone, ground, behind)


@pytest.mark.parametrize("name", THEMES)
def test_code_can_be_read_also_where_a_line_changed(name: str) -> None:
    colors = THEMES[name]
    for code in [colors[key] for key in colors if key.startswith("code-")]:
        assert palette.contrast(code, colors["ground"]) >= 4.5, code
        for tone in ("good", "bad"):
            for ground in ("ground", "surface"):
                assert palette.contrast(code, mixed(colors[tone], colors[ground], TINT)) >= 4.5, (code, tone)
    for tone in ("good", "bad"):
        assert palette.contrast(colors["text"], mixed(colors[tone], colors["surface"], MARK)) >= 4.5, tone


@pytest.mark.parametrize("name", THEMES)
def test_fields_signs_and_counts_stand_out(name: str) -> None:
    colors = THEMES[name]
    for ground in ("ground", "surface"):
        for edge in ("field", "off", "info", "good", "wait", "bad"):
            assert palette.contrast(colors[edge], colors[ground]) >= 3, (edge, ground)
    assert palette.contrast(colors["ground"], colors["wait"]) >= 4.5, "the count beside Upgrades"
