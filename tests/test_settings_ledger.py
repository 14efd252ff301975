"""The sections `[ledger]` and `[[nodes]]`: what holds by itself, what fits together, and that keys stay hidden."""

from __future__ import annotations

from pathlib import Path

import pytest

from timmy_core.errors import SettingsError
from timmy_core.router.shown import shown
from timmy_core.settings import Settings, load_settings
from timmy_core.settings_ledger import LedgerSettings, default_node

LNBITS = '[[nodes]]\nname = "a"\nkind = "lnbits"\nurl = "https://x"\ninvoice_key = "in"\n'


def load(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "timmy.toml").write_text(text, encoding="utf-8")
    return load_settings(tmp_path)


def test_a_home_without_nodes_has_one_that_plays(tmp_path: Path) -> None:
    (node,) = load_settings(tmp_path).nodes
    assert (node.name, node.kind, node.network, node.play_sats) == ("play", "play", "regtest", 100_000)


def test_nodes_of_the_file_replace_the_play_node_and_the_first_is_the_default(tmp_path: Path) -> None:
    second = LNBITS.replace('"a"', '"b"')
    assert default_node(load(tmp_path, LNBITS + second).nodes).name == "a"
    assert default_node(load(tmp_path, LNBITS + second + "default = true\n").nodes).name == "b"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nodes = []\n", "the ledger needs one; add a [[nodes]] table"),
        (LNBITS + LNBITS, "two nodes are named 'a'"),
        (LNBITS + "default = true\n" + LNBITS.replace('"a"', '"b"') + "default = true\n", "both the default node"),
        (LNBITS.replace('url = "https://x"\n', ""), "needs its address; add url"),
        (LNBITS.replace("https://x", "x:1"), "line 4: nodes.0.url"),
        (LNBITS + 'macaroon_path = "m"\n', "macaroon_path is for kind = 'lnd', and this one is 'lnbits'"),
        (LNBITS + "play_sats = 1\n", "play_sats is for kind = 'play'"),
        ('[[nodes]]\nname = "p"\nkind = "play"\nnetwork = "bitcoin"\n', "network is for kind = 'lnbits' and 'lnd'"),
        (LNBITS + "colour = 1\n", "line 6: nodes.0.colour: this key is not known; expected one of admin_key"),
        ("[ledger.budgets.echo]\nday_sats = 9\nweek_sats = 8\n", "day_sats is 9, more than week_sats, 8"),
        ("[ledger.budgets.echo]\nday_sats = 9\nmonth_sats = 8\n", "day_sats is 9, more than month_sats, 8"),
        ("[ledger.budgets.echo]\nday_sats = 0.5\n", "day_sats"),
        ("[ledger]\nfee_percent = 101\n", "line 2: ledger.fee_percent"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    assert words in str(caught.value)


def test_keys_come_from_the_environment_and_are_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "very-secret-key")
    settings = load(tmp_path, LNBITS + 'admin_key = "${MY_KEY}"\n')
    key = settings.nodes[0].admin_key
    assert key is not None
    assert key.get_secret_value() == "very-secret-key"
    assert "very-secret-key" not in repr(settings) + str(shown(settings))


def test_a_node_whose_variable_is_unset_stays_and_remembers_it(tmp_path: Path) -> None:
    node = load(tmp_path, LNBITS.replace('"in"', '"${NOPE}"').replace("https://x", "${NOWHERE}")).nodes[0]
    assert (node.url, node.invoice_key, set(node.unset_variables)) == (None, None, {"NOPE", "NOWHERE"})


def test_nodes_are_named_in_the_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMMY_NODES", "[]")
    with pytest.raises(SettingsError, match="TIMMY_NODES is not read; name nodes in"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("percent", "floor_sats", "amount_msat", "limit_msat"),
    [(1.0, 5, 100_000, 6_000), (0.1, 0, 999, 0), (0.1, 0, 1_000, 1), (0.0, 0, 10**12, 0), (0.3, 1, 1_000_000, 4_000)],
)
def test_the_fee_limit_is_the_share_and_the_floor_together_to_the_msat(
    percent: float, floor_sats: int, amount_msat: int, limit_msat: int
) -> None:
    settings = LedgerSettings(fee_percent=percent, fee_floor_sats=floor_sats)
    assert settings.fee_limit_msat(amount_msat) == limit_msat
