"""The background of memory: new entries get their vectors, one process at a time, and a killed one loses nothing."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from timmy_core.errors import EmbeddingError, ModelFilesError, StoreClosedError, StoreError
from timmy_core.memory.embed import Embeddings, Opened
from timmy_core.memory.embedding_rows import (
    Cursor,
    Lacking,
    Made,
    counts,
    delete_others,
    heads,
    lacking,
    load,
    save,
    take_over,
)
from timmy_core.store.engine import Store
from timmy_core.store.lock import take

if TYPE_CHECKING:
    from timmy_core.memory.embed import Floats

BATCH: Final = 64  # entries in one transaction
TEXTS: Final = 32  # texts in one call, so that closing waits for a moment only
REMEMBERED: Final = 4096  # vectors of texts that may come again, such as the passages of an edited document
_NICENESS: Final = 5  # the server's own threads go first; more would have it wait long while it holds the interpreter
_GAP_S: Final = 0.05  # how long commits may gather before they are looked at
_LOOK_S: Final = 2.0  # how often a model that is not there, or a process that embeds, is looked at
_MAX_PAUSE_S: Final = 60.0

State = Literal["off", "idle", "working", "elsewhere", "superseded", "failing"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EmbeddingStatus:
    """How far the vectors are.

    Args:
        state: off (no model; words alone), idle, working, elsewhere (another process does it), superseded (another
            process uses another model; start this one again) or failing.
        model: name and version of the model; None without one.
        done: entries that have vectors of this model.
        total: entries that are to have some.
        per_second: entries embedded a second, when it last worked; None if it never did.
        problem: what is wrong and what to do, or an empty string.
    """

    state: State
    model: str | None
    done: int
    total: int
    per_second: float | None
    problem: str

    def as_dict(self) -> dict[str, Any]:
        """Return the status as JSON can carry it."""
        return asdict(self)


class _SupersededError(Exception):
    """Another process took over with another model."""


class EmbeddingWorker:
    """Gives every entry its vectors, on a daemon thread that `start` begins.

    Whoever holds the lock beside the database embeds; the kernel gives it back when a process dies, and the next one
    goes on behind what was written. Vectors are written only if the entry still says what was read.

    Args:
        store: where entries and vectors are.
        embeddings: the embedder, which may come and go.
    """

    def __init__(self, store: Store, embeddings: Embeddings) -> None:
        self._store = store
        self._embeddings = embeddings
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._state: State = "off"
        self._problem = ""
        self._per_second: float | None = None
        self._known = _Known()

    def start(self) -> None:
        """Begin, unless it runs already or was closed."""
        with self._starting:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="timmy-embedding", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End, after the texts that are under way; call it before the store is closed."""
        with self._starting:
            self._stop.set()
        if self._thread is not None:
            self._store.ring()
            self._thread.join()

    def forget(self, seqs: Sequence[int], /) -> None:
        """Drop the vectors that are kept in memory, because some may be of forgotten texts."""
        del seqs
        self._known.clear()

    def status(self) -> EmbeddingStatus:
        """Return how far it is; reads the store, and loads no model."""
        opened = self._embeddings.opened
        problem = self._problem or self._embeddings.problem
        if opened is None:
            return EmbeddingStatus(self._state, None, 0, 0, None, problem)
        done, total, figures = counts(self._store, opened.model.key)
        rate = self._per_second if self._per_second is not None else figures.get("per_second")
        return EmbeddingStatus(self._state, opened.model.key, done, total, rate, problem)

    def wait(self, timeout_s: float) -> bool:
        """Wait until every entry of now has vectors; False if that takes longer, or cannot be."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = self.status()
            if found.model is not None and found.done == found.total:
                return True
            if self._stop.wait(0.02):
                return False
        return False

    # The thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        _go_behind()
        pause_s = 1.0
        while not self._stop.is_set():
            try:
                self._follow()
                pause_s = 1.0
            except StoreClosedError:
                return
            except _SupersededError:
                self._say("superseded", "another process embeds with another model; start this one again")
                return
            except (EmbeddingError, ModelFilesError, StoreError, OSError) as error:
                if self._problem != str(error):
                    _log.warning("memories get no vectors for now: %s", error)
                self._say("failing", str(error))
                self._stop.wait(pause_s)
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)

    def _say(self, state: State, problem: str = "") -> None:
        self._state, self._problem = state, problem

    def _follow(self) -> None:
        """Embed what there is and what comes, until the end or an error."""
        opened = self._embeddings.current()
        if opened is None:
            self._say("off")
            self._stop.wait(_LOOK_S)
            return
        lock = os.open(f"{self._store.path}.embedding.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            if not self._locked(lock):
                return
            model = opened.model.key
            self._store.write(lambda connection: take_over(connection, model))
            with self._store.watch() as bell:
                cursor = load(self._store, model)
                while not self._stop.is_set():
                    cursor = self._catch_up(opened, cursor)
                    self._say("idle")
                    bell.wait(_LOOK_S)
                    self._stop.wait(_GAP_S)
        finally:
            os.close(lock)

    def _locked(self, lock: int) -> bool:
        """Wait for the lock, which another process may hold as long as it lives; False at the end."""
        while not self._stop.is_set():
            if take(lock):
                return True
            self._say("elsewhere")
            self._stop.wait(_LOOK_S)
        return False

    def _catch_up(self, opened: Opened, cursor: Cursor) -> Cursor:
        """Embed until nothing is left; one batch is one transaction."""
        rate = _Rate()
        model, local = opened.model.key, opened.embedder.local
        while not self._stop.is_set():
            end = heads(self._store)
            if cursor.through >= end.through and cursor.rewritten == end.rewritten:
                self._tidy(model, rate)
                return cursor
            entries, after = lacking(self._store, model, cursor, local=local, limit=BATCH)
            if entries:
                self._say("working")
                if not self._embed_and_save(opened, entries, after, rate):
                    return cursor
            cursor = after
        return cursor

    def _embed_and_save(self, opened: Opened, entries: list[Lacking], after: Cursor, rate: _Rate) -> bool:
        """Embed one batch and write it with the cursor behind it; False if it was stopped before."""
        made = self._embed(opened, entries)
        if made is None:
            return False
        self._per_second = rate.add(len(entries))
        figures = {"per_second": self._per_second}
        model = opened.model.key
        if not self._store.write(lambda connection: save(connection, model, made, after, figures)):
            raise _SupersededError
        return True

    def _embed(self, opened: Opened, entries: Sequence[Lacking]) -> list[Made] | None:
        """Return the vectors of entries; None if it was stopped. What the embedder refuses stays without."""
        texts = list(dict.fromkeys(text for entry in entries for _, text in entry.parts))
        vectors = {text: known for text in texts if (known := self._known.get(opened.model.key, text)) is not None}
        new = [text for text in texts if text not in vectors]
        new.sort(key=len)  # neighbours of one length are quicker
        for first in range(0, len(new), TEXTS):
            if self._stop.is_set():
                return None
            for text, vector in _vectors(opened, new[first : first + TEXTS]):
                vectors[text] = vector
                self._known.put(opened.model.key, text, vector)
        return [
            Made(entry, tuple((part, vectors[text]) for part, text in entry.parts if text in vectors))
            for entry in entries
        ]

    def _tidy(self, model: str, rate: _Rate) -> None:
        """Delete the vectors of former models, now that every entry has new ones."""
        if rate.total or not self._known.tidied:
            while not self._stop.is_set() and self._store.write(lambda connection: delete_others(connection, model)):
                pass
            self._known.tidied = True


class _Rate:
    """Entries a second since the work began."""

    def __init__(self) -> None:
        self.total = 0
        self._began = time.monotonic()

    def add(self, entries: int) -> float:
        """Count some and return the rate."""
        self.total += entries
        return round(self.total / max(time.monotonic() - self._began, 1e-3), 1)


class _Known:
    """Vectors of the latest texts, by their hash; none of the texts themselves."""

    def __init__(self) -> None:
        self.tidied = False
        self._lock = threading.Lock()
        self._vectors: OrderedDict[bytes, bytes] = OrderedDict()

    def get(self, model: str, text: str) -> bytes | None:
        """Return the vector of a text, if it was embedded lately."""
        with self._lock:
            return self._vectors.get(_digest(model, text))

    def put(self, model: str, text: str, vector: bytes) -> None:
        """Keep the vector of a text for a while."""
        with self._lock:
            self._vectors[_digest(model, text)] = vector
            while len(self._vectors) > REMEMBERED:
                self._vectors.popitem(last=False)

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._vectors.clear()


def _vectors(opened: Opened, texts: Sequence[str]) -> list[tuple[str, bytes]]:
    """Return each text with its vector; one that the embedder refuses is left out, and the others are not."""
    try:
        rows: Floats = opened.embedder.embed(texts)
    except EmbeddingError as error:
        if not error.refused:
            raise
        if len(texts) == 1:
            _log.warning("one text of memory gets no vector: %s", error)
            return []
        half = len(texts) // 2
        return [*_vectors(opened, texts[:half]), *_vectors(opened, texts[half:])]
    halves = rows.astype("<f2")
    return [(text, row.tobytes()) for text, row in zip(texts, halves, strict=True)]


def _digest(model: str, text: str) -> bytes:
    return hashlib.blake2b(f"{model}\0{text}".encode(errors="surrogatepass"), digest_size=16).digest()


def _go_behind() -> None:
    """Let every other thread of the machine go first, where threads have a niceness of their own."""
    if sys.platform.startswith("linux"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
