"""One frozen `Settings`: defaults, then the home's `timmy.toml`, then the environment; nothing else reads either."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from timmy_core.errors import SettingsError

ProviderKind = Literal["ollama", "airllm", "openai", "anthropic"]
Seconds = Annotated[float, Field(gt=0, le=86_400)]

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
_TABLE = re.compile(r"^\s*(?P<open>\[\[?)\s*(?P<name>[^\]]+?)\s*\]\]?")
_KEY = re.compile(r"^\s*(?P<name>[A-Za-z0-9_\-\"']+)\s*=")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(_Section):
    """Where pages, API and feed are served."""

    host: str = "127.0.0.1"
    port: int = Field(default=8765, ge=0, le=65_535)
    allowed_hosts: tuple[str, ...] = ()  # further names that a proxy in front may pass on, such as "timmy.lan"
    password: SecretStr | None = None


class RouterSettings(_Section):
    """The limits of one request and of the circuit breakers; times in seconds."""

    deadline_s: Seconds = 60.0
    first_token_s: Seconds = 20.0
    connect_s: Seconds = 3.0
    reset_timeout_s: Seconds = 60.0
    failure_threshold: int = Field(default=5, ge=1, le=1000)


class ProviderSettings(_Section):
    """One `[[providers]]` table; the lowest priority number is asked first."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_\-]{0,39}$")
    kind: ProviderKind
    base_url: str | None = Field(default=None, pattern=r"^https?://")
    api_key: SecretStr | None = None
    models: dict[str, str] = Field(default_factory=dict)
    priority: int = Field(default=100, ge=0, le=10_000)
    enabled: bool = True
    first_token_s: Seconds | None = None
    unset_variables: tuple[str, ...] = ()


class AgentSettings(_Section):
    """Who Timmy is when it answers."""

    name: str = Field(default="timmy", pattern=r"^[a-z0-9][a-z0-9_\-]{0,39}$")
    system_prompt: str = (
        "You are Timmy, an agent that runs on its owner's own machine. Answer plainly and briefly. "
        "Say so when you do not know."
    )
    history_messages: int = Field(default=20, ge=0, le=1000)


class UpgradeSettings(_Section):
    """The repository that Timmy may propose changes to."""

    repo: Path | None = None


def _default_providers() -> tuple[ProviderSettings, ...]:
    """The cascade of a home without a `timmy.toml`: local first, paid ones only where a key is set."""
    environment = os.environ
    tables: list[dict[str, Any]] = [
        {
            "name": "ollama",
            "kind": "ollama",
            "base_url": _ollama_url(environment.get("OLLAMA_HOST", "")),
            "models": {"default": "llama3.2"},
            "priority": 1,
        },
        {
            "name": "openai",
            "kind": "openai",
            "api_key": "${OPENAI_API_KEY}",
            "models": {"default": "gpt-5.6-luna"},
            "priority": 10,
        },
        {
            "name": "anthropic",
            "kind": "anthropic",
            "api_key": "${ANTHROPIC_API_KEY}",
            "models": {"default": "claude-haiku-4-5"},
            "priority": 11,
        },
    ]
    return tuple(ProviderSettings.model_validate(_expand_provider(table, environment)) for table in tables)


class Settings(BaseSettings):
    """Everything that can be configured; frozen, so a change makes a new one.

    Built by `load_settings`; the fields are described in `docs/reference/configuration.md`.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="TIMMY_", env_nested_delimiter="__", env_ignore_empty=True
    )

    home: Path
    server: ServerSettings = ServerSettings()
    router: RouterSettings = RouterSettings()
    agent: AgentSettings = AgentSettings()
    upgrades: UpgradeSettings = UpgradeSettings()
    providers: tuple[ProviderSettings, ...] = Field(default_factory=_default_providers)

    @property
    def toml_path(self) -> Path:
        """The configuration file, which need not exist."""
        return self.home / "timmy.toml"

    @property
    def database_path(self) -> Path:
        """The SQLite file that holds everything."""
        return self.home / "timmy.db"

    @model_validator(mode="after")
    def _names_differ(self) -> Settings:
        names = [provider.name for provider in self.providers]
        for name in names:
            if names.count(name) > 1:
                text = f"two providers are named {name!r}; every name has to differ"
                raise ValueError(text)
            if name == "offline":
                text = "a provider is named 'offline'; that name belongs to the built-in last answer"
                raise ValueError(text)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over what `load_settings` hands in from the file."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def default_home() -> Path:
    """`TIMMY_HOME`, else `data/home` of the checkout that this package lies in, else `~/.timmy`."""
    named = os.environ.get("TIMMY_HOME")
    if named:
        return Path(named).expanduser()
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "notebooks").is_dir():
        return checkout / "data" / "home"
    return Path.home() / ".timmy"


def load_settings(home: str | Path | None = None) -> Settings:
    """Read the configuration of a home; neither creates nor changes anything.

    Args:
        home: the folder that holds `timmy.toml` and the store; `default_home()` if None.

    Raises:
        SettingsError: the file cannot be read or holds something wrong; names file, line and key.
    """
    root = (Path(home).expanduser() if home is not None else default_home()).absolute()
    path = root / "timmy.toml"
    text = _read(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"{path} is not valid TOML: {error}"
        raise SettingsError(message) from error
    if "home" in data:
        message = f"{path}, line {_line(text, ('home',))}: 'home' cannot be set here; use TIMMY_HOME or --home"
        raise SettingsError(message)
    expanded = _expand(data, path)
    password = os.environ.get("TIMMY_PASSWORD")
    if password:
        server = expanded.setdefault("server", {})
        if isinstance(server, dict):
            server["password"] = password
    try:
        # The home comes from here alone, so TIMMY_HOME must not override an explicit argument.
        return Settings(**expanded, home=root).model_copy(update={"home": root})
    except ValidationError as error:
        raise SettingsError(_explain(error, text, path)) from None


def write_template(home: Path) -> bool:
    """Write a commented `timmy.toml` where there is none; True if it was written."""
    path = home / "timmy.toml"
    home.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        return False
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read: {error}; expected a readable UTF-8 text file"
        raise SettingsError(message) from error


def _ollama_url(host: str) -> str:
    """Ollama's own rule for `OLLAMA_HOST`: a bare host gets the scheme and the port 11434."""
    if not host:
        return "http://127.0.0.1:11434"
    if host.startswith(("http://", "https://")):
        return host
    name = "127.0.0.1" + host[7:] if host.startswith("0.0.0.0") else host  # noqa: S104 - compared, never bound
    return f"http://{name}" if ":" in name else f"http://{name}:11434"


def _expand(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """Replace `${NAME}` and `${NAME:-default}`; an unset one is an error except inside a provider."""
    result: dict[str, Any] = {}
    for key, value in data.items():
        if key == "providers" and isinstance(value, list):
            result[key] = [_expand_provider(table, os.environ) if isinstance(table, dict) else table for table in value]
            continue
        result[key], unset = _substitute(value, os.environ)
        if unset:
            names = ", ".join(unset)
            mend = f"set it or give a default as ${{{unset[0]}:-…}}"
            message = f"{path}, [{key}]: the environment variable {names} is not set; {mend}"
            raise SettingsError(message)
    return result


def _expand_provider(table: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """A provider whose variable is unset stays, without that value, and remembers what is missing."""
    result: dict[str, Any] = {}
    missing: list[str] = []
    for key, value in table.items():
        replaced, unset = _substitute(value, environment)
        if unset:
            missing.extend(unset)
        else:
            result[key] = replaced
    if missing:
        result["unset_variables"] = tuple(missing)
    return result


def _substitute(value: Any, environment: Mapping[str, str]) -> tuple[Any, list[str]]:
    if isinstance(value, str):
        found = list(_VARIABLE.finditer(value))
        unset = [match["name"] for match in found if not environment.get(match["name"]) and match["default"] is None]
        return _VARIABLE.sub(lambda match: environment.get(match["name"]) or match["default"] or "", value), unset
    if isinstance(value, dict):
        pairs = {key: _substitute(item, environment) for key, item in value.items()}
        return {key: pair[0] for key, pair in pairs.items()}, [name for pair in pairs.values() for name in pair[1]]
    if isinstance(value, list):
        items = [_substitute(item, environment) for item in value]
        return [item[0] for item in items], [name for item in items for name in item[1]]
    return value, []


def _explain(error: ValidationError, text: str, path: Path) -> str:
    problems = [_explain_one(dict(problem), text, path) for problem in error.errors(include_url=False)]
    return "; ".join(problems)


def _explain_one(problem: dict[str, Any], text: str, path: Path) -> str:
    loc = tuple(problem["loc"])
    name = ".".join(str(part) for part in loc) or "the whole"
    what = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        what = f"this key is not known; {_known_keys(loc)}"
    variable = "TIMMY_" + "__".join(str(part) for part in loc).upper()
    if len(loc) > 1 and variable in os.environ:
        return f"environment variable {variable}: {what}"
    line = _line(text, loc)
    where = f"{path}, line {line}" if line else f"{path}"
    return f"{where}: {name}: {what}"


def _known_keys(loc: tuple[Any, ...]) -> str:
    model: type[BaseModel] = Settings
    sections: dict[str, type[BaseModel]] = {
        "server": ServerSettings,
        "router": RouterSettings,
        "agent": AgentSettings,
        "upgrades": UpgradeSettings,
        "providers": ProviderSettings,
    }
    if len(loc) > 1:
        model = sections.get(str(loc[0]), Settings)
    keys = sorted(set(model.model_fields) - {"home", "unset_variables"})
    return "expected one of " + ", ".join(keys)


def _line(text: str, loc: tuple[Any, ...]) -> int | None:
    """The line of a key such as ("providers", 1, "base_url"), or of its table when the key itself is absent."""
    table_line: int | None = None
    for number, table, key in _keys(text):
        if table + ((key,) if key else ()) == loc:
            return number
        # The nearest thing above it: its own table, or a key whose value, an inline table, it lies in.
        if loc[: len(table) + (key is not None)] == (table if key is None else (*table, key)):
            table_line = number
    return table_line


def _keys(text: str) -> Iterator[tuple[int, tuple[Any, ...], str | None]]:
    """Yield (line, table, key) of every table header and key; arrays of tables carry their index."""
    table: tuple[Any, ...] = ()
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = _TABLE.match(line)
        if header:
            names = [part.strip().strip("\"'") for part in header["name"].split(".")]
            if header["open"] == "[[":
                seen[names[0]] = seen.get(names[0], -1) + 1
            table = tuple(x for name in names for x in ((name, seen[name]) if name in seen else (name,)))
            yield number, table, None
            continue
        key = _KEY.match(line)
        if key:
            yield number, table, key["name"].strip("\"'")


TEMPLATE = """\
# Timmy Workbench. Every key with its default is in docs/reference/configuration.md.
# ${NAME} is read from the environment; ${NAME:-other} falls back to `other`.
#
# Without a [[providers]] table Timmy tries Ollama on this machine, then OpenAI and Anthropic
# where OPENAI_API_KEY or ANTHROPIC_API_KEY is set. Uncomment tables to choose for yourself:
# the lowest priority number is asked first, and the offline answer is always last.

# [[providers]]
# name = "ollama"
# kind = "ollama"                       # ollama, openai (any compatible server) or anthropic
# base_url = "http://127.0.0.1:11434"
# models = { default = "llama3.2" }
# priority = 1

# [[providers]]
# name = "local-llama"
# kind = "openai"
# base_url = "http://127.0.0.1:8080/v1"
# api_key = "${LLAMA_KEY:-none}"
# models = { default = "gemma" }
# priority = 2

# [[providers]]
# name = "anthropic"
# kind = "anthropic"
# api_key = "${ANTHROPIC_API_KEY}"
# models = { default = "claude-haiku-4-5" }
# priority = 10

[router]
# deadline_s = 60
# first_token_s = 20
# reset_timeout_s = 60

[server]
# host = "127.0.0.1"                    # anything wider needs a password
# port = 8765
"""
