"""The schema as an append-only list: a migration that was released is never edited, only followed."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from timmy_core.errors import StoreError
from timmy_core.store.schema_alerts import ALERTS
from timmy_core.store.schema_ledger import LEDGER
from timmy_core.store.schema_log import ARCHIVE, EVENTS, VIEWS
from timmy_core.store.schema_memory import MEMORY, RECALL
from timmy_core.store.schema_reconcile import RECONCILE
from timmy_core.store.schema_router import CONVERSATION, MONEY, ROUTER
from timmy_core.store.schema_swarm import SWARM
from timmy_core.store.schema_upgrades import UPGRADES

# The number of a migration is its place here, from 1; new ones come last.
MIGRATIONS: Final[tuple[str, ...]] = (
    EVENTS, ROUTER, CONVERSATION, ARCHIVE, VIEWS, MONEY, MEMORY, RECALL, LEDGER, RECONCILE,
    UPGRADES, SWARM, ALERTS,
)  # fmt: skip


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a database to this version's schema, one migration a transaction.

    Raises:
        StoreError: a later version wrote it.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        message = (
            f"{path} was written by a later version (schema {version}, this one knows {len(MIGRATIONS)}); "
            "upgrade timmy-workbench to open it"
        )
        raise StoreError(message)
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        try:
            connection.executescript(f"BEGIN IMMEDIATE;{script};PRAGMA user_version={number};COMMIT;")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
