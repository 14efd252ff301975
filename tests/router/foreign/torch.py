"""A double of torch, as far as the program that holds an AirLLM model uses it: tensors of one row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

float16, float32 = "float16", "float32"


class Tensor:
    def __init__(self, row: Sequence[int]) -> None:
        self._row = list(row)
        self.shape = (1, len(self._row))

    def to(self, device: str) -> Tensor:
        del device
        return self

    def reshape(self, *shape: int) -> Tensor:
        del shape
        return self

    def tolist(self) -> list[int]:
        return self._row


def ones_like(tensor: Tensor) -> Tensor:
    return Tensor([1] * tensor.shape[1])


@contextlib.contextmanager
def inference_mode() -> Iterator[None]:
    yield


class cuda:  # noqa: N801 - torch's own name
    @staticmethod
    def is_available() -> bool:
        return False
