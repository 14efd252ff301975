"""The one tree of errors: every message says what was wrong, what was expected and what to do."""

from __future__ import annotations


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


class StoreBusyError(StoreError):
    """Writes arrive faster than the disk takes them, and the bounded queue is full."""


class QueryError(StoreError):
    """A query or a frame was asked for in a way that cannot be answered, or took too much; the message says which."""


class HomeInUseError(TimmyError):
    """Another process already serves this home."""


class BlobNotFoundError(StoreError):
    """No blob has that digest: it was never kept, ran out or was redacted."""


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
