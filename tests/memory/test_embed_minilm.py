"""The real all-MiniLM-L6-v2 in NumPy against what torch made of the same texts."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from timmy_core.errors import ModelFilesError
from timmy_core.loop import LoopThread
from timmy_core.memory.embed import Embeddings
from timmy_core.memory.embedders import build_embedder
from timmy_core.memory.embedders.numpy_minilm import MAX_TOKENS, NumpyMiniLM
from timmy_core.memory.model_files import ModelFolder
from timmy_core.settings_memory import MemorySettings

from . import minilm

REFERENCE = json.loads(Path(__file__).with_name("minilm_vectors.json").read_text(encoding="utf-8"))["rows"]
TEXTS = [text for text, _ in REFERENCE]


@pytest.fixture(scope="module")
def model() -> NumpyMiniLM:
    return NumpyMiniLM(ModelFolder(minilm.models()))


def test_every_vector_is_that_of_torch_within_a_hundred_thousandth(model: NumpyMiniLM) -> None:
    wanted = np.array([vector for _, vector in REFERENCE])
    assert np.abs(model.embed(TEXTS) - wanted).max() < 1e-5


def test_a_vector_does_not_depend_on_the_texts_beside_it(model: NumpyMiniLM) -> None:
    alone = np.vstack([model.embed([text]) for text in TEXTS])
    together = model.embed([*reversed(TEXTS), *TEXTS])
    assert np.abs(together[len(TEXTS) :] - alone).max() < 1e-6
    assert np.abs(together[: len(TEXTS)][::-1] - alone).max() < 1e-6


def test_vectors_are_single_precision_and_of_length_one_also_for_texts_without_a_word(model: NumpyMiniLM) -> None:
    vectors = model.embed(["", " ", "\n", "🙂", "\u200b", "a" * 10_000])
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_no_texts_give_no_vectors(model: NumpyMiniLM) -> None:
    assert model.embed([]).shape == (0, 384)


def test_of_a_very_long_text_only_the_beginning_counts_and_the_rest_costs_nothing(model: NumpyMiniLM) -> None:
    book = "A sentence that is said again and again, word for word. " * 200_000
    assert np.array_equal(model.embed([book])[0], model.embed([book[:20_000]])[0])
    loaded = model._loaded()
    assert len(loaded.tokens(book)) == MAX_TOKENS
    # Words that become many tokens, or none, are where a look at the beginning could miss something.
    for word in ("ab" * 49, "\u200b" * 50, "日" * 9, "x" * 300):
        text = f"{word} " * 3000
        whole = loaded.tokenizer.encode(text).ids
        assert loaded.tokens(text) == ([*whole[: MAX_TOKENS - 1], whole[-1]] if len(whole) > MAX_TOKENS else whole)


def test_several_threads_get_the_same_vectors(model: NumpyMiniLM) -> None:
    wanted = model.embed(TEXTS)
    found: list[float] = []

    def ask() -> None:
        found.append(float(np.abs(model.embed(TEXTS) - wanted).max()))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0, 0, 0, 0]


def test_meaning_is_near_where_no_word_is_shared(model: NumpyMiniLM) -> None:
    question, near, far = model.embed(["How old is she?", "Her age is thirty.", "The train was late again."])
    assert question @ near > question @ far + 0.2


def test_what_is_installed_is_used_by_itself_and_named_by_the_hash_of_its_weights() -> None:
    models = minilm.models()
    with_it = Embeddings(lambda: build_embedder(MemorySettings(), models, LoopThread()))
    assert with_it.model is not None
    assert with_it.model.key == "all-MiniLM-L6-v2@53aa51172d14"
    vector = with_it.embed_query("preferences")
    assert vector is not None
    assert vector.shape == (384,)
    with_it.close()


def test_a_damaged_tokenizer_is_said_and_not_loaded(tmp_path: Path) -> None:
    source = ModelFolder(minilm.models())
    folder = ModelFolder(tmp_path)
    folder.path.mkdir()
    for file in folder.spec.files:
        (folder.path / file.name).symlink_to(source.path / file.name)
    broken = bytearray((source.path / "tokenizer.json").read_bytes())
    broken[1000] ^= 1
    (folder.path / "tokenizer.json").unlink()
    (folder.path / "tokenizer.json").write_bytes(broken)
    with pytest.raises(ModelFilesError, match="not the file that it should be"):
        NumpyMiniLM(folder).prepare()
