"""One frozen `Settings`: defaults, then the home's `timmy.toml`, then the environment; nothing else reads either."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariableError

from timmy_core.errors import SettingsError
from timmy_core.settings_alerts import AlertSettings
from timmy_core.settings_demo import DemoSettings
from timmy_core.settings_file import explain, line_of
from timmy_core.settings_ledger import LedgerSettings, NodeSettings, check_nodes, default_nodes
from timmy_core.settings_memory import MemorySettings
from timmy_core.settings_swarm import SwarmSettings
from timmy_core.settings_upgrades import UpgradeSettings

ProviderKind = Literal["ollama", "airllm", "openai", "anthropic"]
Seconds = Annotated[float, Field(gt=0, le=86_400)]

_TABLES = ("providers", "nodes")  # each is a list of tables, whose keys may come from variables that are not set
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


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
    between_tokens_s: Seconds = 15.0
    body_s: Seconds = 60.0  # from the headers to the end of an answer that is not streamed
    min_chars_per_s: float = Field(default=1.0, ge=0, le=10_000)  # of a stream, after its first token; 0: any
    connect_s: Seconds = 3.0
    load_s: Seconds = 600.0  # a local model's cold load has a budget of its own
    reset_timeout_s: Seconds = 60.0
    max_reset_s: Seconds = 600.0
    failure_threshold: int = Field(default=5, ge=1, le=1000)
    failure_rate: float = Field(default=0.5, gt=0, le=1)  # of the last 20 calls, when there were at least 5
    slow_call_s: Seconds | None = None  # a whole answer slower than this counts as slow; None: none does
    retry_percent: int = Field(default=10, ge=0, le=100)  # how much traffic retries may add
    max_concurrency: int = Field(default=32, ge=1, le=10_000)  # calls at once to one provider
    max_waiting: int = Field(default=64, ge=0, le=100_000)  # callers that may wait for one of these
    hedge: bool = False
    record_content: Literal["off", "hash", "full"] = "off"

    @model_validator(mode="after")
    def _resets_in_order(self) -> RouterSettings:
        if self.max_reset_s >= self.reset_timeout_s:
            return self
        if "max_reset_s" not in self.model_fields_set:
            # The default bound gives way, so that a long reset_timeout_s needs no second key.
            object.__setattr__(self, "max_reset_s", self.reset_timeout_s)
            return self
        text = (
            f"max_reset_s is {self.max_reset_s:g}, less than reset_timeout_s, {self.reset_timeout_s:g}; "
            "it is how far that time may double, so raise it or leave it out"
        )
        raise ValueError(text)


Usd = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=6)]


class Budget(_Section):
    """How much may be spent in one calendar day and month of UTC; None is no limit."""

    day_usd: Usd | None = None
    month_usd: Usd | None = None

    @model_validator(mode="after")
    def _a_month_has_days(self) -> Self:
        if self.day_usd is None or self.month_usd is None or self.day_usd <= self.month_usd:
            return self
        text = (
            f"day_usd is {self.day_usd}, more than month_usd, {self.month_usd}, so the day's limit would never be "
            "reached; lower day_usd, raise month_usd, or leave one out"
        )
        raise ValueError(text)


class BudgetSettings(Budget):
    """What all may spend together, and single agents."""

    agents: dict[str, Budget] = Field(default_factory=dict)


class PriceSettings(_Section):
    """What a provider's tokens cost, in US dollars for a million; it wins over the price file."""

    input: Usd
    output: Usd
    cached_input: Usd | None = None

    @model_validator(mode="after")
    def _the_cache_is_no_dearer(self) -> PriceSettings:
        if self.cached_input is None or self.cached_input <= self.input:
            return self
        text = (
            f"cached_input is {self.cached_input}, more than input, {self.input}; what comes from a provider's cache "
            "is cheaper: exchange the two, or leave cached_input out"
        )
        raise ValueError(text)


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
    context_tokens: int | None = Field(default=None, ge=256, le=100_000_000)
    max_concurrency: int | None = Field(default=None, ge=1, le=10_000)
    local: bool | None = None  # None: it is where base_url is this machine
    price: PriceSettings | None = None
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")  # of airllm
    trust_remote_code: bool = False  # of airllm: run the code that comes with a model
    unset_variables: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> ProviderSettings:
        for key in ("device", "trust_remote_code"):
            if self.kind != "airllm" and key in self.model_fields_set:
                text = f'{key} is for kind = "airllm" alone, and this one is {self.kind!r}; remove it'
                raise ValueError(text)
        return self


class AgentSettings(_Section):
    """Who Timmy is when it answers."""

    name: str = Field(default="timmy", pattern=r"^[a-z0-9][a-z0-9_\-]{0,39}$")
    system_prompt: str = (
        "You are Timmy, an agent that runs on its owner's own machine. Answer plainly and briefly. "
        "Say so when you do not know."
    )
    history_messages: int = Field(default=20, ge=0, le=1000)


class LogSettings(_Section):
    """What `timmy up` does about the event log by itself."""

    seal: bool = True
    prune_after_days: int = Field(default=0, ge=0, le=36_500)  # 0: never
    head_minutes: float = Field(default=5.0, ge=0, le=10_080)  # 0: only on demand
    text: bool = True


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
    return tuple(ProviderSettings.model_validate(_expand_table(table, environment)) for table in tables)


class Settings(BaseSettings):
    """Everything that can be configured; frozen, so a change makes a new one.

    Built by `load_settings`; the fields are described in `docs/reference/configuration.md`.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="TIMMY_", env_nested_delimiter="__", env_ignore_empty=True
    )

    home: Path
    read_only: bool = False  # this process changes nothing in the home; `timmy lab` sets it by the environment
    server: ServerSettings = ServerSettings()
    router: RouterSettings = RouterSettings()
    budget: BudgetSettings = BudgetSettings()
    agent: AgentSettings = AgentSettings()
    log: LogSettings = LogSettings()
    memory: MemorySettings = MemorySettings()
    ledger: LedgerSettings = LedgerSettings()
    upgrades: UpgradeSettings = UpgradeSettings()
    swarm: SwarmSettings = SwarmSettings()
    demo: DemoSettings | None = None  # None: this home is nobody's demonstration
    alerts: AlertSettings = AlertSettings()
    providers: tuple[ProviderSettings, ...] = Field(default_factory=_default_providers)
    nodes: tuple[NodeSettings, ...] = Field(default_factory=default_nodes)

    @property
    def toml_path(self) -> Path:
        """The configuration file, which need not exist."""
        return self.home / "timmy.toml"

    @property
    def database_path(self) -> Path:
        """The SQLite file that holds everything."""
        return self.home / "timmy.db"

    @property
    def models_path(self) -> Path:
        """The folder of installed models."""
        return self.home / "models"

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
        check_nodes(self.nodes)
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
        message = f"{path}, line {line_of(text, ('home',))}: 'home' cannot be set here; use TIMMY_HOME or --home"
        raise SettingsError(message)
    for key in _TABLES:
        if f"TIMMY_{key.upper()}" in os.environ:
            message = f"TIMMY_{key.upper()} is not read; name {key} in {path}, with ${{NAME}} for their keys"
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
        raise SettingsError(explain(error, text, path, Settings, os.environ)) from None
    except UnreadableVariableError as error:
        message = f"{error}; expected JSON, or single keys such as TIMMY_ROUTER__DEADLINE_S=60"
        raise SettingsError(message) from None


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
    """Replace `${NAME}` and `${NAME:-default}`; an unset one is an error except inside a provider or a node."""
    result: dict[str, Any] = {}
    for key, value in data.items():
        if key in _TABLES and isinstance(value, list):
            result[key] = [_expand_table(table, os.environ) if isinstance(table, dict) else table for table in value]
            continue
        result[key], unset = _substitute(value, os.environ)
        if unset:
            names = ", ".join(unset)
            mend = f"set it or give a default as ${{{unset[0]}:-…}}"
            message = f"{path}, [{key}]: the environment variable {names} is not set; {mend}"
            raise SettingsError(message)
    return result


def _expand_table(table: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """A provider or node whose variable is unset stays, without that value, and remembers what is missing."""
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
