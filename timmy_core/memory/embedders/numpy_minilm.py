"""all-MiniLM-L6-v2 in NumPy: the same weights and the same vectors as with torch, without its gigabyte.

A batch is one long row of tokens. Every matrix product runs over all of it, and only attention, which is a small part
of the work, looks at texts one by one, so nothing is padded and a vector does not depend on its neighbours.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from timmy_core.errors import ModelFilesError
from timmy_core.memory.embed import EmbeddingModel, normalised
from timmy_core.memory.embedders.blas import one_thread
from timmy_core.memory.embedders.gelu import gelu
from timmy_core.memory.embedders.safetensors import read_tensors
from timmy_core.memory.model_files import MINILM, TOKENIZER, WEIGHTS, ModelFolder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from timmy_core.memory.embed import Floats

MAX_TOKENS: Final = 256  # what sentence-transformers gives this model
_LAYERS: Final = 6
_HEADS: Final = 12
_WIDTH: Final = 384
_HEAD_WIDTH: Final = _WIDTH // _HEADS
_INNER: Final = 1536
_EMBEDDINGS: Final = ("word", "position", "token_type")
_EPSILON: Final = np.float32(1e-12)
_PACK: Final = 256  # tokens in one pass: enough for the matrix products, little enough for the cache
_FIRST_LOOK: Final = 4096  # characters of a long text that are read first
_LONGEST_WORD: Final = 128  # more tokens than one word can become

Run = tuple[int, int, int]  # first token, number of texts, tokens of each


class NumpyMiniLM:
    """The default embedder; loaded in a tenth of a second, safe to use from several threads.

    Args:
        folder: where the weights and the tokenizer were installed.
    """

    kind = "minilm"
    local = True

    def __init__(self, folder: ModelFolder) -> None:
        self._folder = folder
        self._model: _Model | None = None

    def prepare(self) -> EmbeddingModel:
        """Load the weights.

        Raises:
            ModelFilesError: they are not there, or damaged.
        """
        self._loaded()
        return EmbeddingModel(MINILM.name, MINILM.version, _WIDTH)

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Floats:
        """Return one normalised row a text; what lies behind 256 tokens plays no part."""
        del query
        model = self._loaded()
        tokens = [model.tokens(text) for text in texts]
        order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
        vectors = np.empty((len(tokens), _WIDTH), np.float32)
        for pack in _packs(order, tokens):
            vectors[pack] = model.forward([tokens[index] for index in pack])
        return normalised(vectors)

    def close(self) -> None:
        """Let go of the weights."""
        self._model = None

    def _loaded(self) -> _Model:
        # Two threads that come first at once load twice, which costs memory for a moment and nothing else.
        model = self._model
        if model is None:
            model = self._model = _Model.load(self._folder)
        return model


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer's weights, laid out for `rows @ weight`."""

    qkv: Floats
    qkv_bias: Floats
    mixed: Floats
    mixed_bias: Floats
    mixed_norm: tuple[Floats, Floats]
    inner: Floats
    inner_bias: Floats
    outer: Floats
    outer_bias: Floats
    outer_norm: tuple[Floats, Floats]


@dataclass(frozen=True, slots=True)
class _Model:
    tokenizer: Tokenizer
    words: Floats  # of half the file, mapped: only the rows of words that occur are ever read
    places: Floats
    norm: tuple[Floats, Floats]
    layers: tuple[_Layer, ...]

    @classmethod
    def load(cls, folder: ModelFolder) -> _Model:
        from tokenizers import Tokenizer

        # The library's own error over a damaged file has no name of its own, so none shall come so far.
        folder.check(TOKENIZER)
        weights = read_tensors(folder.path / WEIGHTS)
        tokenizer = Tokenizer.from_file(str(folder.path / TOKENIZER))
        # We cut by ourselves: the file says 128 tokens and padding, and means another use.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        one_thread()
        try:
            layers = tuple(_layer(weights, number) for number in range(_LAYERS))
            words, places, types = (weights[f"embeddings.{name}_embeddings.weight"] for name in _EMBEDDINGS)
            return cls(tokenizer, words, places + types[0], _pair(weights, "embeddings.LayerNorm"), layers)
        except KeyError as error:
            message = f"{folder.path / WEIGHTS} has no {error}; run `timmy memory model install` to fetch it again"
            raise ModelFilesError(message) from error

    def tokens(self, text: str) -> list[int]:
        """Return a text's tokens, cut behind the last that counts; of a long text only its beginning is read."""
        look = _FIRST_LOOK
        while True:
            # A text without a batch keeps to this thread; a batch would take every processor.
            found: list[int] = self.tokenizer.encode(text[:look]).ids
            if look >= len(text) or len(found) > MAX_TOKENS + _LONGEST_WORD:
                return found if len(found) <= MAX_TOKENS else [*found[: MAX_TOKENS - 1], found[-1]]
            look *= 4

    def forward(self, texts: Sequence[Sequence[int]]) -> Floats:
        """Return the mean of each text's last layer; the texts stand in the order of their lengths."""
        sizes = np.array([len(text) for text in texts])
        ids = np.fromiter(itertools.chain.from_iterable(texts), np.int64, int(sizes.sum()))
        starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        rows = self.words[ids] + self.places[np.arange(len(ids)) - np.repeat(starts, sizes)]
        _normalise(rows, self.norm)
        runs = tuple(_runs(sizes))
        for layer in self.layers:
            rows = _apply(layer, rows, runs)
        return np.asarray(np.add.reduceat(rows, starts, axis=0) / sizes[:, None], np.float32)


def _apply(layer: _Layer, rows: Floats, runs: Sequence[Run]) -> Floats:
    qkv: Floats = rows @ layer.qkv
    qkv += layer.qkv_bias
    mixed: Floats = _attention(qkv, runs) @ layer.mixed
    mixed += layer.mixed_bias
    mixed += rows
    _normalise(mixed, layer.mixed_norm)
    inner: Floats = mixed @ layer.inner
    inner += layer.inner_bias
    gelu(inner)
    outer: Floats = inner @ layer.outer
    outer += layer.outer_bias
    outer += mixed
    _normalise(outer, layer.outer_norm)
    return outer


def _attention(qkv: Floats, runs: Sequence[Run]) -> Floats:
    context = np.empty((len(qkv), _WIDTH), np.float32)
    for first, count, size in runs:
        last = first + count * size
        query, key, value = qkv[first:last].reshape(count, size, 3, _HEADS, _HEAD_WIDTH).transpose(2, 0, 3, 1, 4)
        scores = query @ key.swapaxes(-1, -2)
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        context[first:last].reshape(count, size, _HEADS, _HEAD_WIDTH)[...] = (scores @ value).transpose(0, 2, 1, 3)
    return context


def _normalise(rows: Floats, norm: tuple[Floats, Floats]) -> None:
    """Layer normalisation, in place."""
    rows -= rows.mean(-1, keepdims=True)
    variance = np.einsum("ij,ij->i", rows, rows) / np.float32(_WIDTH)
    rows /= np.sqrt(variance + _EPSILON)[:, None]
    rows *= norm[0]
    rows += norm[1]


def _runs(sizes: Any) -> Iterator[Run]:
    """Yield the texts of equal length together, whose attention is one product."""
    first = 0
    for size, group in itertools.groupby(int(size) for size in sizes):
        count = len(list(group))
        yield first, count, size
        first += count * size


def _packs(order: Sequence[int], tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield the texts in lots of about `_PACK` tokens."""
    pack: list[int] = []
    held = 0
    for index in order:
        if pack and held + len(tokens[index]) > _PACK:
            yield pack
            pack, held = [], 0
        pack.append(index)
        held += len(tokens[index])
    if pack:
        yield pack


def _layer(weights: Mapping[str, Floats], number: int) -> _Layer:
    """Copy a layer's weights, turned so that products over few rows are quick too."""
    base = f"encoder.layer.{number}."
    scale = np.float32(_HEAD_WIDTH**-0.5)  # of attention, put into the weights once
    parts = [_pair(weights, f"{base}attention.self.{name}") for name in ("query", "key", "value")]
    parts[0] = (parts[0][0] * scale, parts[0][1] * scale)
    mixed, mixed_bias = _pair(weights, f"{base}attention.output.dense")
    inner, inner_bias = _pair(weights, f"{base}intermediate.dense")
    outer, outer_bias = _pair(weights, f"{base}output.dense")
    return _Layer(
        np.ascontiguousarray(np.concatenate([weight for weight, _ in parts]).T),
        np.concatenate([bias for _, bias in parts]),
        np.ascontiguousarray(mixed.T),
        np.array(mixed_bias),
        _pair(weights, f"{base}attention.output.LayerNorm"),
        np.ascontiguousarray(inner.T),
        np.array(inner_bias),
        np.ascontiguousarray(outer.T),
        np.array(outer_bias),
        _pair(weights, f"{base}output.LayerNorm"),
    )


def _pair(weights: Mapping[str, Floats], name: str) -> tuple[Floats, Floats]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]
