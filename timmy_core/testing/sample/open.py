"""Opening a copy of the sample: the home, and a stand-in for the models that its configuration names."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from timmy_core.settings import load_settings
from timmy_core.settings_demo import DemoSettings
from timmy_core.testing.sample.config import NOWHERE, configuration
from timmy_core.testing.sample.pack import ends, find_sample, unpack
from timmy_core.testing.turn import Turn
from timmy_core.testing.wire import WireServer

RECONCILE_MINUTES: Final = 15.0
_SAID: Final = (
    "This is ", "a demonstration: ", "no model ", "was asked. ", "A stand-in on this machine ", "sent this sentence ",
    "in the form in which ", "that provider answers, ", "so what you see of it ", "went the real way.",
)  # fmt: skip
_FIRST_S: Final = 0.4
_PAUSE_S: Final = 0.08


def open_copy(
    home: Path, *, url: str = NOWHERE, now: datetime, packed: Path | None = None, still: bool = False
) -> DemoSettings:
    """Put a copy of the sample into an empty folder, or take up one that was put there before.

    Args:
        home: the folder.
        url: where the stand-in for its models listens; without one none of them answers.
        now: the machine's time.
        packed: the sample; the one that came with this version if None.
        still: its time stands still where the sample ends.

    Raises:
        SettingsError: the folder holds something else, or the sample is not there.
    """
    toml = home / "timmy.toml"
    before = load_settings(home).demo if toml.is_file() else None
    if before is None:
        unpack(packed or find_sample(), home)
    demo = before or DemoSettings(ends_at=ends(home), opened_at=now, still=still)
    section = f"[demo]\nends_at = {demo.ends_at.isoformat()}\nopened_at = {demo.opened_at.isoformat()}\n"
    section += "still = true\n" if demo.still else ""
    head = "# A demonstration: made anew at each start of `timmy demo`.\n\n"
    toml.write_text(f"{head}{section}\n{configuration(home, url=url, reconcile=RECONCILE_MINUTES)}", encoding="utf-8")
    return demo


class StandIn:
    """What answers for every model of a demonstration, by real HTTP on this machine; a context manager."""

    def __init__(self) -> None:
        self._server = WireServer(Turn(_SAID, first_token_s=_FIRST_S, pause_s=_PAUSE_S, usage=(40, 34)))
        self._ready, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="timmy-stand-in", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, whoever is still connected."""
        self._ending.set()
        self._thread.join()

    async def _serve(self) -> None:
        try:
            async with self._server:
                self._ready.set()
                await asyncio.to_thread(self._ending.wait)
        finally:
            self._ready.set()  # whoever waits for it is not kept waiting where it could not begin
