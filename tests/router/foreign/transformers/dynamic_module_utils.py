"""A double of where transformers decides whether a model's own code is run."""

from __future__ import annotations

from typing import Any


def resolve_trust_remote_code(trust: bool, name: str, has_local: bool, has_remote: bool) -> bool:
    if has_remote and not has_local and not trust:
        message = f"{name} contains custom code which must be executed"
        raise ValueError(message)
    return trust


def get_class_in_module(*arguments: Any) -> None:
    raise NotImplementedError(arguments)


def get_class_from_dynamic_module(*arguments: Any) -> None:
    get_class_in_module(*arguments)
