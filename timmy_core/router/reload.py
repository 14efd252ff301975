"""Hot reload: a changed `timmy.toml` takes effect while calls are under way; a wrong one changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from timmy_core.clock import Clock
from timmy_core.errors import SettingsError, StoreClosedError, TimmyError
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.loop import LoopClosedError
from timmy_core.router.shown import hide, shown
from timmy_core.settings import ProviderSettings, Settings, load_settings

_log = logging.getLogger(__name__)

FOLLOW_S: Final = 0.4  # a change is seen by the next look, and obeyed by the one after, once the file is at rest
LIVE: Final = ("router", "budget", "providers")
"""The sections that take effect while Timmy runs; the others need a restart."""

Put = Callable[[Settings], None]
Signature = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the configuration on disk is not the one in force."""

    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Configuration:
    """The configuration in force, and how the file stands to it; `settings` is plain data without secrets."""

    path: Path
    loaded_at: datetime
    problem: Problem | None
    restart: tuple[str, ...]  # sections that were changed and take effect with the next start
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What one reading of the file changed, by key: `router.deadline_s`, `budget`, `providers.local`."""

    changed: tuple[str, ...]
    restart: tuple[str, ...]


class Reloader:
    """Reads the file again and puts what changed into force; for use on Timmy's own loop.

    Args:
        settings: what is in force now.
        events: where it is told.
        clock: where the time is read.
    """

    def __init__(self, settings: Settings, events: EventLog, clock: Clock) -> None:
        self._settings = settings
        self._started = settings
        self._events = events
        self._clock = clock
        self._loaded_at = clock.now()
        self._problem: Problem | None = None
        self._restart: tuple[str, ...] = ()
        self._lock = asyncio.Lock()
        self._read: Signature = None
        self._first = True
        self._seen: Signature = None

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    def configuration(self) -> Configuration:
        """Return what is in force and what is wrong with the file, without any secret; safe from any thread."""
        return Configuration(
            self._settings.toml_path, self._loaded_at, self._problem, self._restart, shown(self._settings)
        )

    async def follow(self, put: Put) -> None:
        """Read the file if it changed and has been at rest since the last look; what is wrong is kept to be shown."""
        signature = await asyncio.to_thread(_signature, self._settings.toml_path)
        at_rest, self._seen = signature == self._seen, signature
        if not at_rest or (signature == self._read and not self._first) or (signature is None and self._first):
            return
        with contextlib.suppress(SettingsError):
            await self.reload(put)

    async def reload(self, put: Put) -> Reloaded:
        """Read the file now.

        Args:
            put: puts new settings into force, at once and as a whole.

        Raises:
            SettingsError: it is wrong; what was in force stays.
        """
        async with self._lock:
            before, self._read = self._read, await asyncio.to_thread(_signature, self._settings.toml_path)
            # The settings were read a moment before the first look, so finding them again is no news.
            first, self._first = self._first, False
            try:
                new = await asyncio.to_thread(self._load, gone=self._read is None and before is not None)
            except SettingsError as error:
                await self._refuse(error)
                raise
            return await self._accept(new, put, quiet=first)

    def _load(self, *, gone: bool) -> Settings:
        path = self._settings.toml_path
        if gone and not path.exists():
            message = f"{path} is gone, so what it said stays in force; put it back, or restart to run without it"
            raise SettingsError(message)
        return load_settings(self._settings.home)

    async def _accept(self, new: Settings, put: Put, *, quiet: bool) -> Reloaded:
        changed = tuple(_changed(self._settings, new))
        restart = tuple(
            name
            for name in Settings.model_fields
            if name not in (*LIVE, "home") and getattr(new, name) != getattr(self._started, name)
        )
        news = bool(changed or restart != self._restart or self._problem)
        if changed:
            self._settings = self._settings.model_copy(update={name: getattr(new, name) for name in LIVE})
            put(self._settings)
        self._loaded_at, self._problem, self._restart = self._clock.now(), None, restart
        if news or not quiet:
            data = {"changed": list(changed), "restart": list(restart)}
            await self._events.aappend(NewEvent("router.reloaded", source="router", data=data))
        return Reloaded(changed, restart)

    async def _refuse(self, error: SettingsError) -> None:
        message = hide(str(error), self._settings)
        self._problem = Problem(message, self._clock.now())
        _log.warning("the changed configuration is not used: %s", message)
        await self._events.aappend(NewEvent("router.reload_failed", source="router", data={"problem": message}))


def _changed(old: Settings, new: Settings) -> Iterator[str]:
    """Yield what differs in the sections that can change, in the order of the file."""
    for name in type(old.router).model_fields:
        if getattr(old.router, name) != getattr(new.router, name):
            yield f"router.{name}"
    if old.budget != new.budget:
        yield "budget"
    before, after = _by_name(old), _by_name(new)
    for name in {**before, **after}:
        if before.get(name) != after.get(name):
            yield f"providers.{name}"
    # The order of the file decides between equal priorities.
    kept = [name for name in before if name in after]
    if kept != [name for name in after if name in before]:
        yield "providers"


def _by_name(settings: Settings) -> dict[str, ProviderSettings]:
    return {table.name: table for table in settings.providers}


def _signature(path: Path) -> Signature:
    """What tells a file from the one before it, without reading it; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class Follower:
    """A thread that looks a few times a second whether something changed; started once, ended by `stop`."""

    def __init__(self, look: Callable[[], None], name: str = "timmy-router") -> None:
        self._look = look
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._name = name

    def start(self) -> None:
        """Begin to follow; harmless when repeated, and after the end."""
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End it and wait until it has ended."""
        with self._lock:
            self._stopping.set()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        told = ""
        while not self._stopping.wait(FOLLOW_S):
            try:
                self._look()
            except (LoopClosedError, StoreClosedError):
                return
            except TimmyError as error:
                # A full disk must not end it, and must not fill the log either.
                if str(error) != told:
                    told = str(error)
                    _log.warning("the changes of other processes could not be followed: %s", told)
