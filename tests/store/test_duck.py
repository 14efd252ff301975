"""The engine ends after whatever runs in it, never under it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from timmy_core.errors import StoreClosedError
from timmy_core.settings import Settings
from timmy_core.store.duck import Duck, ask
from timmy_core.store.lake import Lake
from timmy_core.timmy import Timmy

ENDLESS = "SELECT count(*) FROM range(1_000_000) a, range(1_000_000) b"


def test_closing_stops_what_runs_and_waits_for_it(tmp_path: Path) -> None:
    duck, said = Duck(tmp_path), []

    def count() -> None:
        try:
            with duck.cursor() as cursor:
                ask(cursor, ENDLESS, limit=1, timeout_s=60)
        except StoreClosedError as error:
            said.append(str(error))

    asking = [threading.Thread(target=count) for _ in range(3)]
    for thread in asking:
        thread.start()
    time.sleep(0.3)
    duck.close()
    assert duck._open == []
    for thread in asking:
        thread.join(5)
    assert said == ["the store is closed; open it again"] * 3
    with pytest.raises(StoreClosedError), duck.cursor():
        pass


def test_a_lake_that_is_closed_while_it_counts_says_so_to_who_asked(tmp_path: Path) -> None:
    timmy = Timmy(Settings(home=tmp_path, providers=()), providers=[])
    lake: Lake = timmy.lake
    threading.Timer(0.3, lake.close).start()
    with pytest.raises(StoreClosedError):
        lake.answer(ENDLESS, timeout_s=60)
    timmy.shutdown()


def test_closing_at_once_while_the_copy_is_made_is_silent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(10):
        timmy = Timmy(Settings(home=tmp_path, providers=()), providers=[])
        timmy.warm()
        timmy.shutdown()
    assert caplog.records == []
