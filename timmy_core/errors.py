"""The one tree of errors: every message says what was wrong, what was expected and what to do."""

from __future__ import annotations

from typing import Literal


class TimmyError(Exception):
    """The root of every error that Timmy Workbench raises on purpose."""


class SettingsError(TimmyError):
    """The configuration is wrong; the message names the file, the line and the key."""


class StoreError(TimmyError):
    """The store refused or could not do what was asked; nothing was changed."""


class StoreClosedError(StoreError):
    """The store was used after it was closed, or from a process that inherited it by fork."""


class StoreFullError(StoreError):
    """The disk has no room; nothing of the refused write was kept."""


class StoreReadOnlyError(StoreError):
    """This process opened the home to read it only."""


class StoreBusyError(StoreError):
    """Writes arrive faster than the disk takes them, and the bounded queue is full."""


class QueryError(StoreError):
    """A query or a frame was asked for in a way that cannot be answered, or took too much; the message says which."""


class HomeInUseError(TimmyError):
    """Another process already serves this home."""


class BlobNotFoundError(StoreError):
    """No blob has that digest: it was never kept, ran out or was redacted."""


class BackupError(TimmyError):
    """A backup could not be made, is not whole, or cannot be put there; the home is as it was."""


class AlertError(TimmyError):
    """Alerts were asked for something they cannot do, such as telling somebody where no address is named."""


class EventError(TimmyError):
    """An event was refused; the log is as it was."""


class UnknownEventTypeError(EventError):
    """The event type is not declared; the message names the nearest declared ones."""


class EventDataError(EventError):
    """The event's data or its fields cannot be written as they are."""


class EventConflictError(EventError):
    """The id is already in the log with other content."""


class EventNotFoundError(EventError):
    """No event has that seq or id."""


class RouterError(TimmyError):
    """The router was asked for something it cannot do."""


class ProviderError(RouterError):
    """One attempt at one provider failed.

    Args:
        error_class: one of the values of `timmy_core.router.chat.ErrorClass`.
        message: what happened, in words a person can act on; never a secret.
        advice: the exact thing to do about it, or an empty string.
        retry_after_s: how long the provider asked to be left alone, in seconds, if it said so.
    """

    def __init__(self, error_class: str, message: str, *, advice: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.message = message
        self.advice = advice
        self.retry_after_s = retry_after_s


class StreamBrokenError(RouterError):
    """A stream broke after a tool call had been passed on, so no other provider may answer instead."""


class UnknownProviderError(RouterError):
    """No provider has that name; the message names those that there are."""


class ControlError(RouterError):
    """A provider cannot be steered like that; the message names the choices."""


class ReplayError(RouterError):
    """What was recorded cannot be replayed like that; the message says what would do."""


class QuestionError(TimmyError):
    """The question or the session's name cannot be used."""


class ModelFilesError(TimmyError):
    """The files of the embedding model are not there, are damaged, or could not be fetched."""


class EmbeddingError(TimmyError):
    """A text has no vector: no embedder can be used, or it failed.

    Args:
        message: what happened and what to do, never a secret.
        refused: it is about this very text; others may have vectors all the same.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class EntryError(TimmyError):
    """An entry of the memory was refused, or asked for in a way that cannot be answered; nothing was changed."""


class EntryNotFoundError(EntryError):
    """No entry has that id: it was never remembered, or was forgotten."""


class EntryConflictError(EntryError):
    """The id, or the very same text in that scope, belongs to another entry."""


class LedgerError(TimmyError):
    """The ledger, a node or an invoice was used in a way that cannot be; nothing was changed."""


class Bolt11Error(LedgerError):
    """A text is no invoice of BOLT #11 that may be paid, or cannot be made into one; the message says why."""


class MoneyError(LedgerError):
    """An amount cannot be one: it is no whole number of msat, negative, or more than there will ever be."""


class AccountError(LedgerError):
    """An account, a period or a filter of the ledger was named that there is not."""


class EntryUnknownError(LedgerError):
    """The ledger has no invoice, payment or intent of that id or payment hash."""


class EntryStateError(LedgerError):
    """An invoice or payment cannot go from the state that it is in to the one asked for."""


class InsufficientFundsError(LedgerError):
    """The node does not hold what the payment and its fee limit need, after what is set aside for others."""


class BudgetExceededError(LedgerError):
    """An agent's budget has no room for the payment and its fee limit."""


class IdempotencyConflictError(LedgerError):
    """The idempotency key was used before, for something else."""


class AlreadyPaidError(LedgerError):
    """This invoice was paid already, or a payment of it is under way."""


class PreimageError(LedgerError):
    """The preimage does not belong to the payment hash, so it proves nothing."""


class HoldExceededError(LedgerError):
    """Amount and fee together are more than what was set aside for the payment."""


class BookError(LedgerError):
    """The book refused a transfer: it would break what always has to hold."""


NodeErrorKind = Literal["unreachable", "timeout", "refused", "rejected", "misconfigured", "protocol"]


class NodeError(LedgerError):
    """A Lightning node did not do what was asked.

    Args:
        kind: `unreachable` no connection; `timeout` no answer in time; `refused` the key or the right is missing;
            `rejected` the node will not do it; `misconfigured` the settings are wrong; `protocol` no sensible answer.
        message: what happened and what to do, never a secret.
        sure: the node certainly did not act on the call, and will not.
    """

    def __init__(self, kind: NodeErrorKind, message: str, *, sure: bool) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.sure = sure


class SwarmError(TimmyError):
    """The swarm was asked for something it cannot do; nothing was changed."""


class AgentUnknownError(SwarmError):
    """No agent of the swarm has that name."""


class AgentTokenError(SwarmError):
    """The token is not one of an agent's, or was revoked."""


class TaskNotFoundError(SwarmError):
    """No task has that id."""


class TaskStateError(SwarmError):
    """The task is in a state in which this cannot be done, or it belongs to somebody else by now."""


class BidError(SwarmError):
    """The bid was refused: the auction is over, or the bid does not fit the task."""


class UpgradeError(TimmyError):
    """The upgrade queue was asked for something it cannot do; the repository is as it was."""


class ProposalError(UpgradeError):
    """A proposal was refused: its change is empty, too large or not allowed; nothing of it was kept."""


class ProposalNotFoundError(UpgradeError):
    """No proposal has that id: it never had, or its history was pruned."""


class UpgradeStateError(UpgradeError):
    """The proposal is in a state in which this cannot be done; somebody else may have been first."""


class ApprovalError(UpgradeError):
    """A decision was refused: who asks may not decide it, or it is not what was shown."""


class PinError(ApprovalError):
    """The PIN is wrong, is not set, or is locked for a while."""


class GitError(UpgradeError):
    """Git could not be run, or refused what it was asked; the message holds what it said."""


class MergeConflictError(UpgradeError):
    """The change and the branch touch the same lines."""


class BaseMovedError(UpgradeError):
    """The branch moved between the test and the landing; nothing landed."""


class DirtyTreeError(UpgradeError):
    """The work tree is not as it has to be; the message says what is in the way and what to do."""


class UpgradeBusyError(UpgradeError):
    """Another process applies, or git itself is at work, and did not end in time."""


class SandboxError(UpgradeError):
    """Tests could not be shut in, or could not be started."""


class RecoveryError(UpgradeError):
    """What a crash left cannot be mended without a person; the message says what to look at."""
