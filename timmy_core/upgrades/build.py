"""Puts the room together; `timmy.py` calls it, so that it need not know the parts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from timmy_core.clock import Clock
from timmy_core.errors import UpgradeError
from timmy_core.events.log import EventLog
from timmy_core.events.schedule import Job
from timmy_core.store.engine import Store
from timmy_core.upgrades.approval import Approvals
from timmy_core.upgrades.automatic import Automatic
from timmy_core.upgrades.following import Following
from timmy_core.upgrades.model import Proposal
from timmy_core.upgrades.notices import Notices
from timmy_core.upgrades.policy import UpgradePolicy
from timmy_core.upgrades.queue import Upgrades
from timmy_core.upgrades.queue_rows import Rows
from timmy_core.upgrades.sandbox.levels import Sandbox
from timmy_core.upgrades.states import PENDING, WAITING
from timmy_core.upgrades.trials import Trials
from timmy_core.upgrades.worker import Worker

if TYPE_CHECKING:
    from timmy_core.settings import Settings

_log = logging.getLogger(__name__)

KEEP_EVERY: Final = timedelta(minutes=1)
NO_REPO: Final = "no repository is named, so nothing can be proposed; name one as `repo` in [upgrades] and start again"


class UpgradesRoom:
    """The queue of a home, who may decide, and what lands it; safe to use from any thread.

    The repository is opened with the first use, so that a home opens although its repository is not there.

    Args:
        settings: the section `[upgrades]`, the agent's name, and where the home is.
        store: where proposals are kept.
        events: the log.
        clock: the time.
    """

    def __init__(self, settings: Settings, *, store: Store, events: EventLog, clock: Clock) -> None:
        own = settings.upgrades
        self.settings = own
        self._home, self._store, self._events, self._clock = settings.home, store, events, clock
        self._rows = Rows(store, events, clock)
        agents = {"timmy", settings.agent.name}
        self.approvals = Approvals(settings.home, own, store, events, clock, agents=agents)
        self.policy = UpgradePolicy(own, lambda: len(self.approvals.people()))
        self.notices = Notices(own, store, events, clock)
        self.automatic = Automatic(own, self.approvals, self.policy, self.notices, clock)
        self.sandbox = Sandbox(python=own.python, readable=own.readable, hidden=(settings.home,), least=own.sandbox)
        self.trials = Trials(own, self.sandbox, clock=clock, cache=settings.home / "cache" / "trials")
        self.following = Following(clock)
        self._opening = threading.Lock()
        self._queue: Upgrades | None = None
        self._worker: Worker | None = None

    @property
    def configured(self) -> bool:
        """Whether a repository is named."""
        return self.settings.repo is not None

    @property
    def queue(self) -> Upgrades:
        """The queue.

        Raises:
            UpgradeError: no repository is named, or the one that is cannot be used; says what to do.
        """
        with self._opening:
            if self._queue is None:
                self._queue = self._open()
            return self._queue

    def problem(self) -> str:
        """Say why there is no queue; nothing where there is one."""
        try:
            self.queue  # noqa: B018 - it is opened where it was not
        except UpgradeError as error:
            return str(error)
        return ""

    def pending(self) -> int:
        """Return how many proposals a person still has something to do with; the repository is not touched."""
        return self._rows.count(PENDING)

    def waiting(self, limit: int) -> Sequence[Proposal]:
        """Return the proposals that do not go on without a person, the newest first; the repository is not touched."""
        return self._rows.page(WAITING, limit, None).proposals

    def _open(self) -> Upgrades:
        from timmy_core.upgrades.workspace.repository import Repository

        own = self.settings
        if own.repo is None:
            raise UpgradeError(NO_REPO)
        workspace = Repository(
            own.repo.expanduser(),
            own.branch,
            self._clock,
            mode=own.landing,
            releases=(own.release_folder or self._home / "releases").expanduser(),
            release_keep=own.release_keep,
            max_boots=own.max_boots,
            health=own.health_command,
            health_timeout_s=own.health_s,
        )
        return Upgrades(
            self._store, self._events, self._clock, own, workspace, self.trials, self.approvals, self.policy
        )

    # By itself -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Recover, then test and land what waits, on a thread of its own; the serving process calls it.

        In mode `releases` the start is counted first: a release that ends the process each time is left in the end.
        """
        if self.configured and self._worker is None:
            try:
                self.queue.begin()
            except UpgradeError as error:
                _log.warning("the start was not counted: %s", error)  # the worker meets it too, and tells the log
            self._worker = Worker(self, self._events)
            self._worker.start()

    def jobs(self) -> list[Job]:
        """Return what the serving process does by itself about old proposals."""
        return [Job("upgrades", KEEP_EVERY, self._keep)] if self.configured else []

    def _keep(self) -> str:
        expired, gone = len(self.queue.expire_due()), self.queue.prune()
        did = [f"{expired} ran out"] if expired else []
        did += [f"{gone} forgotten"] if gone else []
        return ", ".join(did)

    def close(self) -> None:
        """End tests that run, and the worker; what was under way is taken up by the next start."""
        self.trials.close()
        if self._worker is not None:
            self._worker.close()
