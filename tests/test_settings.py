"""The configuration: what is read, what wins, and how what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from timmy_core.errors import SettingsError
from timmy_core.settings import Settings, default_home, load_settings
from timmy_core.settings_file import write_template


def load(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "timmy.toml").write_text(text, encoding="utf-8")
    return load_settings(tmp_path)


def test_a_home_without_a_file_has_the_built_in_cascade_local_first(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    assert [provider.name for provider in settings.providers] == ["ollama", "openai", "anthropic"]
    assert settings.providers[0].base_url == "http://127.0.0.1:11434"
    assert settings.providers[1].unset_variables == ("OPENAI_API_KEY",)
    assert list(tmp_path.iterdir()) == []


def test_the_file_wins_over_the_defaults_and_the_environment_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "[router]\ndeadline_s = 5\nfirst_token_s = 2\n"
    assert load(tmp_path, text).router.deadline_s == 5
    monkeypatch.setenv("TIMMY_ROUTER__DEADLINE_S", "7")
    settings = load(tmp_path, text)
    assert (settings.router.deadline_s, settings.router.first_token_s) == (7, 2)
    assert settings.router.reset_timeout_s == 60


def test_the_password_comes_from_its_variable_and_is_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMMY_PASSWORD", "hunter2-hunter2")
    settings = load_settings(tmp_path)
    assert settings.server.password is not None
    assert settings.server.password.get_secret_value() == "hunter2-hunter2"
    assert "hunter2" not in repr(settings)


def test_a_key_in_the_file_is_read_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-secret")
    text = '[[providers]]\nname = "a"\nkind = "openai"\napi_key = "${SOME_KEY}"\nbase_url = "${URL:-http://x:1}"\n'
    provider = load(tmp_path, text).providers[0]
    assert provider.api_key is not None
    assert provider.api_key.get_secret_value() == "sk-secret"
    assert provider.base_url == "http://x:1"
    assert "sk-secret" not in repr(provider)


@pytest.mark.parametrize("value", [None, ""])
def test_an_unset_or_empty_variable_is_not_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("SOME_KEY", value)
    provider = load(tmp_path, '[[providers]]\nname = "a"\nkind = "openai"\napi_key = "${SOME_KEY}"\n').providers[0]
    assert provider.api_key is None
    assert provider.unset_variables == ("SOME_KEY",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[router]\ndeadline_s = 'soon'\n", r"timmy\.toml, line 2: router\.deadline_s: .*valid number"),
        (
            "\n[router]\n\ndeadlines = 5\n",
            r"line 4: router\.deadlines: this key is not known; expected one of .*deadline_s",
        ),
        ("[routr]\nx = 1\n", r"line 1: routr: this key is not known; expected one of .*router"),
        ("[router\n", r"timmy\.toml is not valid TOML: .*line 1"),
        ("[router]\ndeadline_s = -1\n", r"line 2: router\.deadline_s: .*greater than 0"),
        ('[[providers]]\nname = "a"\nkind = "x"\n', r"line 3: providers\.0\.kind: .*'ollama'"),
        ('[[providers]]\nname = "a"\nkind = "ollama"\n[[providers]]\nkind = "ollama"\n', r"line 4: providers\.1\.name"),
        ('[[providers]]\nname = "a"\nkind = "ollama"\nbase_url = "host:1"\n', r"line 4: providers\.0\.base_url"),
        (
            '[[providers]]\nname = "a"\nkind = "ollama"\nmodels = { default = 3 }\n',
            r"line 4: providers\.0\.models\.default",
        ),
        ('[[providers]]\nname = "A b"\nkind = "ollama"\n', r"line 2: providers\.0\.name"),
        (
            '[[providers]]\nname = "a"\nkind = "ollama"\n[[providers]]\nname = "a"\nkind = "openai"\n',
            "two providers are named 'a'",
        ),
        ('[[providers]]\nname = "offline"\nkind = "ollama"\n', "belongs to the built-in last answer"),
        ('home = "/x"\n', "line 1: 'home' cannot be set here; use TIMMY_HOME"),
        ('[server]\npassword = "${NOT_SET}"\n', r"\[server\]: the environment variable NOT_SET is not set"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(tmp_path, text)


def test_a_wrong_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMMY_ROUTER__DEADLINE_S", "soon")
    with pytest.raises(SettingsError, match=r"environment variable TIMMY_ROUTER__DEADLINE_S: .*valid number"):
        load_settings(tmp_path)


def test_a_file_that_is_not_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "timmy.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="expected a readable UTF-8 text file"):
        load_settings(tmp_path)


def test_an_explicit_home_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMMY_HOME", str(tmp_path / "env"))
    assert default_home() == tmp_path / "env"
    assert load_settings().home == tmp_path / "env"
    assert load_settings(tmp_path / "arg").home == tmp_path / "arg"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1:9", "http://127.0.0.1:9"),
        ("box", "http://box:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("https://box", "https://box"),
    ],
)
def test_ollamas_own_variable_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, url: str) -> None:
    monkeypatch.setenv("OLLAMA_HOST", host)
    assert load_settings(tmp_path).providers[0].base_url == url


def test_the_template_is_written_once_and_changes_nothing(tmp_path: Path) -> None:
    before = load_settings(tmp_path)
    assert write_template(tmp_path)
    assert load_settings(tmp_path) == before
    (tmp_path / "timmy.toml").write_text("# mine\n")
    assert not write_template(tmp_path)
    assert (tmp_path / "timmy.toml").read_text() == "# mine\n"


def test_every_commented_line_of_the_template_is_valid_when_uncommented(tmp_path: Path) -> None:
    from timmy_core.settings_file import TEMPLATE

    keys = ("# [[", "# name", "# kind", "# base", "# api", "# models", "# pri", "# url", "# invoice_key", "# admin_key")
    lines = [line[2:] if line.startswith(keys) else line for line in TEMPLATE.splitlines()]
    settings = load(tmp_path, "\n".join(lines))
    assert [provider.name for provider in settings.providers] == ["ollama", "local-llama", "anthropic"]
    assert [(node.name, node.unset_variables) for node in settings.nodes] == [
        ("main", ("LNBITS_INVOICE_KEY", "LNBITS_ADMIN_KEY"))
    ]


@pytest.mark.parametrize("name", ["TIMMY_ROUTER", "TIMMY_SERVER__ALLOWED_HOSTS"])
def test_a_variable_that_is_not_json_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "a.b")
    with pytest.raises(SettingsError, match="expected JSON"):
        load_settings(tmp_path)


def test_providers_are_named_in_the_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMMY_PROVIDERS", '[{"name": "a", "kind": "openai", "api_key": "${NOPE}"}]')
    with pytest.raises(SettingsError, match=r"TIMMY_PROVIDERS is not read; name providers in .*timmy\.toml"):
        load_settings(tmp_path)


def test_the_template_and_its_home_are_their_owners_alone(tmp_path: Path) -> None:
    write_template(tmp_path / "home")
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "home" / "timmy.toml").stat().st_mode & 0o777 == 0o600
