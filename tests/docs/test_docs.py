"""The documents say what the code is: types, keys, columns, routes, commands and dependencies."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined
from starlette.routing import Mount, WebSocketRoute

import timmy_core
from timmy_core import errors
from timmy_core.cli import app as command_line
from timmy_core.events import segment
from timmy_core.events.findings import KINDS, Finding
from timmy_core.events.heads import Head
from timmy_core.events.model import EVENT_TYPES
from timmy_core.events.schedule import upkeep
from timmy_core.events.transfer import COLUMNS
from timmy_core.ledger.verify import KINDS as BOOK_KINDS
from timmy_core.router.chat import ErrorClass
from timmy_core.server.app import create_app
from timmy_core.server.pages import find_notebooks
from timmy_core.settings import LogSettings, Settings
from timmy_core.store.engine import Store
from timmy_core.timmy import Timmy

from .documents import DOCS, ROOT, codes, reference, rows, section

# Set by the configuration's reader for itself, not by people.
INTERNAL_KEYS = {"unset_variables"}


# Events and errors -----------------------------------------------------------------------------------------------


def test_every_event_type_is_described_with_its_meaning_and_no_other_is() -> None:
    described = {name: cells[0] for name, cells in rows(section(reference("events"), "Types")).items()}
    assert described == EVENT_TYPES


def test_every_error_class_is_described_and_no_other_is() -> None:
    assert set(rows(section(reference("router"), "Error classes"))) == {str(kind) for kind in ErrorClass}


def test_every_error_of_the_tree_is_described_and_no_other_is() -> None:
    tree = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert set(rows(section(reference("python"), "Errors"))) == tree


# The log ---------------------------------------------------------------------------------------------------------


def test_every_kind_of_finding_is_described_with_its_meaning_and_no_other_is() -> None:
    described = rows(section(reference("events"), "Kinds of findings"))
    faults = {kind: "yes" if Finding(kind, 0, "").fault else "no" for kind in KINDS}
    assert described == {kind: [meaning, faults[kind]] for kind, meaning in KINDS.items()}


def test_every_kind_of_problem_in_the_book_is_described_with_its_meaning_and_no_other_is() -> None:
    described = rows(section(reference("ledger"), "The hash chain"))
    assert described == {kind: [meaning] for kind, meaning in BOOK_KINDS.items()}


def test_every_column_that_is_taken_from_data_is_described_with_its_names() -> None:
    table = rows(section(reference("events"), "Columns that are taken from `data`"))
    described = {name: (cells[0], tuple(codes(cells[1]))) for name, cells in table.items()}
    assert described == dict(segment.PROMOTED)


def test_every_column_of_a_segment_is_described_in_order_and_no_other_is() -> None:
    described = {name: cells[0] for name, cells in rows(section(reference("schema"), "Archive segments")).items()}
    assert list(described.items()) == [(field.name, str(field.type)) for field in segment.schema()]


def test_every_key_of_a_head_is_described_and_no_other_is() -> None:
    described = set(rows(section(reference("events"), "A head")))
    assert described == {field.name for field in dataclasses.fields(Head)}


def test_every_job_of_the_schedule_is_described_with_its_interval_and_its_key(timmy: Timmy) -> None:
    words = {"1:00:00": "hourly", "0:01:00": "every minute", "0:05:00": "every 5 minutes"}
    table = rows(section(reference("events"), "The schedule"))
    jobs = upkeep(timmy.events, LogSettings(prune_after_days=1))
    assert {name: cells[0] for name, cells in table.items()} == {job.name: words[str(job.every)] for job in jobs}
    assert {key for cells in table.values() for key in codes(cells[2])} == set(LogSettings.model_fields)


def test_every_column_of_an_export_is_described_and_no_other_is() -> None:
    text = (DOCS / "how-to" / "search-and-ask-the-log.md").read_text(encoding="utf-8")
    assert set(rows(section(text, "What a file holds"))) == set(COLUMNS)


def test_every_table_of_a_query_is_a_described_frame(timmy: Timmy) -> None:
    described = set(rows(section(reference("python"), "Frames")))
    assert set(timmy.sql("SHOW TABLES")["name"]) == described


def test_what_a_query_sees_of_an_event_is_described(timmy: Timmy) -> None:
    text = reference("python")
    for name in timmy.sql("DESCRIBE events")["column_name"]:
        assert f"`{name}`" in text, f"the column {name} of events is not described"


# Configuration ---------------------------------------------------------------------------------------------------


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield (heading, model) of every section of the settings."""
    for name, field in Settings.model_fields.items():
        if name in ("providers", "nodes"):
            yield f"`[[{name}]]`", next(kind for kind in field.annotation.__args__ if kind is not ...)
            continue
        # A section that need not be there is one of two kinds, the other of which is None.
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield f"`[{name}]`", kind


def shown_default(field: Any) -> str:
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "none"
    assert not isinstance(default, SecretStr)
    return f"`{json.dumps(default)}`"


def test_the_settings_have_the_sections_that_are_known_here() -> None:
    of_no_section = {"home", "read_only"}
    assert {heading.strip("`[]") for heading, _ in sections()} | of_no_section == set(Settings.model_fields)


@pytest.mark.parametrize(("heading", "model"), list(sections()), ids=[heading for heading, _ in sections()])
def test_every_key_is_described_with_its_default_and_no_other_is(heading: str, model: type[BaseModel]) -> None:
    described = {name: cells[1] for name, cells in rows(section(reference("configuration"), heading)).items()}
    expected = {name: shown_default(field) for name, field in model.model_fields.items() if name not in INTERNAL_KEYS}
    assert described == expected


def test_the_home_is_described() -> None:
    assert {"home", "read_only"} == set(rows(section(reference("configuration"), "The home")))


# Schema ----------------------------------------------------------------------------------------------------------


def test_every_table_and_column_is_described_and_no_other_is(store: Store) -> None:
    with store.read() as connection:
        # What SQLite keeps for itself, and FTS5 for its words, is theirs.
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB ?1 AND name NOT GLOB ?2"
        tables = [row[0] for row in connection.execute(query, ("sqlite_*", "memory_words_*"))]
        found = {
            table: {
                name: [kind, "no" if not_null else "yes"]
                for _, name, kind, not_null, *_ in connection.execute(f"PRAGMA table_info({table})")
            }
            for table in tables
        }
    text = reference("schema")
    headings = re.findall(r"^## `(\w+)`$", text, re.MULTILINE)
    described = {
        table: {name: cells[:2] for name, cells in rows(section(text, f"`{table}`")).items()} for table in headings
    }
    assert described == found


def test_every_column_of_an_attempt_is_described_with_the_router(store: Store) -> None:
    with store.read() as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(provider_metrics)")}
    text = section(reference("router"), "`provider_metrics`")
    assert columns == {name for line in re.findall(r"^\|[^|]*`[^|]*\|", text, re.MULTILINE) for name in codes(line)}


# Server ----------------------------------------------------------------------------------------------------------


def test_every_route_of_the_server_is_described(timmy: Timmy) -> None:
    import marimo

    app = create_app(timmy, password=None, host="127.0.0.1", port=8765, notebooks=find_notebooks())
    text = reference("http-api")
    for route in app.routes:
        path = route.path.replace(marimo.__version__, "VERSION") or "/"
        if isinstance(route, Mount):
            assert f"| `{path}` |" in text, f"the mount {path} is not described"
        elif isinstance(route, WebSocketRoute):
            assert f"WebSocket {path}" in text, f"the WebSocket {path} is not described"
        elif "{rest:path}" in path:
            # What is left over: the reference says in words that any other path or method is refused.
            assert "| 405 |" in text
        elif f"| `{path}` |" not in text:  # a page
            for method in route.methods - {"HEAD"}:
                assert f"`{method} {path}`" in text, f"{method} {path} is not described"


def test_no_route_is_described_that_the_server_does_not_have(timmy: Timmy) -> None:
    app = create_app(timmy, password=None, host="127.0.0.1", port=8765, notebooks=find_notebooks())
    known = {(method, route.path) for route in app.routes for method in getattr(route, "methods", None) or ()}
    described = set(re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`]*)`", reference("http-api")))
    assert described <= known


def test_every_parameter_of_the_api_is_described_and_no_other_is() -> None:
    from timmy_core.server import ledger_query, memory_query, query, swarm_query, upgrades_query

    text = reference("http-api")
    assert set(rows(section(text, "`GET /api/v1/events`"))) == set(query.EventsParams.model_fields)
    for address, model in (
        ("GET /api/v1/router/metrics", query.MetricsParams),
        ("POST /api/v1/ask", query.AskBody),
        ("POST /api/v1/router/providers/{name}/control", query.ControlBody),
        ("POST /api/v1/router/health-check", query.HealthCheckBody),
        ("GET /api/v1/memory/search", memory_query.SearchParams),
        ("GET /api/v1/memory/entries", memory_query.EntriesParams),
        ("GET /api/v1/memory/facts", memory_query.FactsParams),
        ("POST /api/v1/memory/entries", memory_query.RememberBody),
        ("POST /api/v1/memory/entries/{key}/edit", memory_query.EditBody),
        ("POST /api/v1/memory/entries/{key}/close", memory_query.CloseBody),
        ("POST /api/v1/memory/forget", memory_query.ForgetBody),
        ("POST /api/v1/memory/sessions/{session}", memory_query.SwitchBody),
        ("GET /api/v1/ledger/balance", ledger_query.BalanceParams),
        ("GET /api/v1/ledger/entries", ledger_query.LedgerEntriesParams),
        ("GET /api/v1/ledger/accounts", ledger_query.AccountsParams),
        ("GET /api/v1/ledger/statement", ledger_query.StatementParams),
        ("GET /api/v1/ledger/stats", ledger_query.StatsParams),
        ("GET /api/v1/ledger/budgets", ledger_query.LedgerBudgetsParams),
        ("GET /api/v1/ledger/findings", ledger_query.FindingsParams),
        ("GET /api/v1/ledger/export", ledger_query.ExportParams),
        ("POST /api/v1/ledger/invoices", ledger_query.InvoiceBody),
        ("POST /api/v1/ledger/decode", ledger_query.DecodeBody),
        ("POST /api/v1/ledger/payments", ledger_query.PayBody),
        ("POST /api/v1/ledger/reconcile", ledger_query.ReconcileBody),
        ("POST /api/v1/ledger/budgets", ledger_query.BudgetBody),
        ("GET /api/v1/swarm/tasks", swarm_query.TasksParams),
        ("POST /api/v1/swarm/agents", swarm_query.RegisterBody),
        ("POST /api/v1/swarm/tasks", swarm_query.OwnerPostBody),
        ("GET /api/v1/upgrades", upgrades_query.UpgradesParams),
        ("POST /api/v1/upgrades", upgrades_query.ProposeBody),
        ("POST /api/v1/upgrades/{key}/test", upgrades_query.TestBody),
        ("POST /api/v1/upgrades/{key}/approve", upgrades_query.ApproveBody),
        ("POST /api/v1/upgrades/{key}/reject", upgrades_query.RejectBody),
        ("POST /api/v1/upgrades/{key}/rollback", upgrades_query.RollbackBody),
    ):
        assert set(rows(section(text, f"`{address}`"))) == set(model.model_fields)
    events = {"delta", "tool_call", "switch", "done", "error"}
    assert set(rows(section(text, "`POST /api/v1/router/complete`"))) == set(query.CompleteBody.model_fields) | events


# Command line ----------------------------------------------------------------------------------------------------


def commands(command: Any, path: tuple[str, ...] = ("timmy",)) -> Iterator[tuple[str, Any]]:
    yield " ".join(path), command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


def test_every_command_with_its_options_is_described_and_no_other_is() -> None:
    text = reference("cli")
    found = {
        path: {option for parameter in command.params for option in parameter.opts}
        for path, command in commands(typer.main.get_command(command_line))
    }
    described = {path: set(rows(section(text, f"`{path}`"))) for path in re.findall(r"^## `(.+)`$", text, re.MULTILINE)}
    assert described == found


# Dependencies ----------------------------------------------------------------------------------------------------


def test_every_dependency_is_defended_and_no_other_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = reference("dependencies")
    extras = {name: names(wanted) for name, wanted in project["optional-dependencies"].items()}
    assert set(rows(section(text, "At run time"))) == names(project["dependencies"])
    assert set(rows(section(text, "Extras"))) == set().union(*(extras[name] for name in extras if name != "test"))
    assert set(rows(section(text, "For tests"))) == extras["test"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in requirements}


# Python ----------------------------------------------------------------------------------------------------------


def test_every_public_name_is_described_and_no_other_is() -> None:
    text = reference("python").partition("\n## ")[0]
    described = {name for line in re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE) for name in codes(line)}
    assert described == set(timmy_core.__all__)


def test_everything_that_timmy_offers_is_described(timmy: Timmy) -> None:
    text = reference("python")
    offered = {name for name in dir(timmy) if not name.startswith("_")}
    assert {name for name in offered if f"`timmy.{name}`" not in text} == set()


def test_the_frames_are_described_with_their_columns(timmy: Timmy) -> None:
    described = {name: codes(cells[0]) for name, cells in rows(section(reference("python"), "Frames")).items()}
    assert described == {name: timmy.frame(name).columns for name in described}
    assert described.keys() == timmy._lake._specs.keys()
