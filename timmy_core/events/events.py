"""Everything about the log behind one name: the log itself, its archive, its retention and its blobs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from timmy_core.clock import Clock
from timmy_core.errors import StoreBusyError, StoreError
from timmy_core.events.blobs import MAX_BLOB_BYTES, PREVIEW_CHARS, Blobs, named_in
from timmy_core.events.findings import Finding
from timmy_core.events.heads import Head, Heads
from timmy_core.events.log import EventLog
from timmy_core.events.model import MAX_DATA_BYTES, Event, encode
from timmy_core.events.proof import prove
from timmy_core.events.redaction import Redacted
from timmy_core.events.redactor import Redactor
from timmy_core.events.retention import Pruned, Retention
from timmy_core.events.rows import StoredRows
from timmy_core.events.segment import Segment
from timmy_core.events.text import TextSearch
from timmy_core.store.engine import Store

TEXT_FILE: Final = "timmy.text.db"


class Events(EventLog):
    """The event log of a home with all that keeps it whole; safe to use from any thread.

    Args:
        store: where the events are.
        clock: stamps events that bring no time.
        home: the folder that holds `archive/` and `blobs/`; the store's own if None.
    """

    def __init__(self, store: Store, clock: Clock | None = None, home: Path | None = None) -> None:
        home = home or store.path.parent
        super().__init__(store, clock, home / "archive")
        self.blobs = Blobs(store, home / "blobs", self.clock)
        self.retention = Retention(store, self, self.blobs)
        self.redactor = Redactor()
        self.clean = self.redactor.clean
        self._stored = StoredRows(store, self.archive.folder)
        self.heads = Heads(self._stored, home, self.clock)
        self.check_heads = self.heads.check
        self.text: TextSearch = TextSearch(store, self._stored, home / TEXT_FILE)
        self.retention.redaction.forgetters.append(self.text)

    def append(
        self,
        type: str,  # noqa: A002 - the field's own name
        *,
        source: str,
        task_id: str | None = None,
        agent_id: str | None = None,
        trace_id: str | None = None,
        data: Mapping[str, Any] | None = None,
        id: str | None = None,  # noqa: A002
        ts: datetime | None = None,
        large: bool = False,
        keep: timedelta | None = None,
    ) -> Event:
        """Do as `EventLog.append`; with `large`, data over 256 KiB goes to a blob, kept for good or for `keep`.

        The event then says `blob` (the digest), `bytes` and `preview`; `content` brings the data back.
        """
        if large and data:
            data = self._into_blob(data, keep)
        return super().append(
            type, source=source, task_id=task_id, agent_id=agent_id, trace_id=trace_id, data=data, id=id, ts=ts
        )

    def _into_blob(self, data: Mapping[str, Any], keep: timedelta | None) -> Mapping[str, Any]:
        # Secrets go before anything is written, and before the digest is taken.
        text = encode(data if self.clean is None else self.clean(data), MAX_BLOB_BYTES)
        content = text.encode()
        if len(content) <= MAX_DATA_BYTES:
            return data
        digest = self.blobs.put(content, "application/json", keep)
        return {"blob": digest, "bytes": len(content), "preview": text[:PREVIEW_CHARS]}

    # Proving -------------------------------------------------------------------------------------------------

    def sign_head(self) -> Head | None:
        """Sign the end of the log into `heads.jsonl`; see `Heads.sign`."""
        return self.heads.sign()

    def prove(self, seq: int) -> dict[str, Any]:
        """Return a proof of an event that anybody can check with the public key alone; see `check_proof`."""
        return prove(self._stored, self.heads, seq)

    def close(self) -> None:
        """Give back what the log keeps open beside the store."""
        self.text.close()

    def content(self, event: Event) -> Mapping[str, Any] | None:
        """Return an event's data, out of its blob where it is there; None once it was redacted.

        Raises:
            BlobNotFoundError: the blob ran out.
            StoreError: the blob is damaged.
        """
        digest = named_in(event.data)
        if digest is None:
            return event.data
        held: Mapping[str, Any] = json.loads(self.blobs.get(digest))
        return held

    # Keeping -------------------------------------------------------------------------------------------------

    def seal(self, *, limit: int | None = None) -> list[Segment]:
        """Archive every closed segment; see `Archive.seal`."""
        return self.archive.seal(limit=limit)

    def prune(self, older_than: timedelta | datetime) -> Pruned:
        """Remove old, archived events from the database; see `Retention.prune`."""
        return self.retention.prune(older_than)

    def redact(
        self,
        *,
        seq: int | Sequence[int] | None = None,
        where: Mapping[str, Any] | None = None,
        reason: str,
        by: str,
    ) -> Redacted:
        """Remove the data of events everywhere; see `Redaction.redact`."""
        return self.retention.redact(seq=seq, where=where, reason=reason, by=by)

    def mend(self, *, thorough: bool = False) -> list[Finding]:
        """Finish what a crash left and make lost segments anew; return what cannot be mended here.

        Quick, and so done at every start; `thorough` reads every segment to see whether its bytes still hold.
        """
        findings = self.archive.recover(thorough=thorough)
        try:
            self.retention.finish()
        except StoreBusyError:
            # Another process is at it, or reads so long that only a later start can finish.
            pass
        except StoreError as error:
            findings.append(Finding("segment_missing", 0, f"a redaction or pruning could not be finished: {error}"))
        return findings
