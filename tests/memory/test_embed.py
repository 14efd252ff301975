"""Choosing an embedder, doing without one, and the arithmetic underneath."""

from __future__ import annotations

import json
import math
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from timmy_core.errors import EmbeddingError, ModelFilesError, SettingsError
from timmy_core.loop import LoopThread
from timmy_core.memory.embed import REMEMBERED, RETRY_S, Embeddings, normalised
from timmy_core.memory.embedders import build_embedder
from timmy_core.memory.embedders.gelu import gelu
from timmy_core.memory.embedders.safetensors import read_tensors
from timmy_core.settings import load_settings
from timmy_core.settings_memory import MemorySettings
from timmy_core.testing import FakeClock, WordEmbedder


def made_by(settings: MemorySettings, models: Path) -> Embeddings:
    return Embeddings(lambda: build_embedder(settings, models, LoopThread()))


# Without one -----------------------------------------------------------------------------------------------------


def test_no_model_is_a_normal_state_that_says_what_to_do(tmp_path: Path) -> None:
    without = made_by(MemorySettings(), tmp_path)
    assert without.current() is None
    assert without.model is None
    assert without.embed_query("anything") is None
    assert without.problem == "the model all-MiniLM-L6-v2 is not installed; run `timmy memory model install`"


def test_a_model_that_is_installed_meanwhile_is_used_without_a_restart(tmp_path: Path) -> None:
    there: list[WordEmbedder] = []

    def build() -> WordEmbedder:
        if not there:
            message = "not installed"
            raise ModelFilesError(message)
        return there[0]

    embeddings = Embeddings(build)
    assert embeddings.current() is None
    there.append(WordEmbedder())
    assert embeddings.embed_query("now") is not None
    assert embeddings.problem == ""


def test_none_at_all_can_be_chosen(tmp_path: Path) -> None:
    without = made_by(MemorySettings(embedder="none"), tmp_path)
    assert without.current() is None
    assert without.problem.startswith('embedder = "none"')


def test_sentence_transformers_that_is_not_there_is_said_and_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.setattr("timmy_core.memory.model_files.ModelFolder.check", lambda *_: None)
    without = made_by(MemorySettings(embedder="sentence-transformers"), tmp_path)
    assert without.current() is None
    assert "pip install 'timmy-workbench[embeddings]'" in without.problem


def test_neither_numpy_nor_tokenizers_is_loaded_where_there_is_no_model(tmp_path: Path) -> None:
    import subprocess

    program = (
        "import sys; from pathlib import Path; from timmy_core.loop import LoopThread\n"
        "from timmy_core.memory.embed import Embeddings; from timmy_core.memory.embedders import build_embedder\n"
        "from timmy_core.memory.embedding_worker import EmbeddingWorker\n"
        "from timmy_core.settings_memory import MemorySettings\n"
        "e = Embeddings(lambda: build_embedder(MemorySettings(), Path(sys.argv[1]), LoopThread()))\n"
        "assert e.current() is None; print({'numpy', 'tokenizers', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# Questions -------------------------------------------------------------------------------------------------------


def test_a_question_is_embedded_once_and_then_known() -> None:
    embedder = WordEmbedder()
    embeddings = Embeddings(lambda: embedder)
    first = embeddings.embed_query("where is the key")
    assert first is not None
    assert embeddings.embed_query("where is the key") is first
    assert embedder.texts == ["where is the key"]
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_what_is_known_of_questions_is_bounded() -> None:
    embedder = WordEmbedder(dimensions=2)
    embeddings = Embeddings(lambda: embedder)
    for number in range(REMEMBERED + 1):
        embeddings.embed_query(f"question {number}")
    assert len(embeddings._vectors) == REMEMBERED
    embeddings.embed_query("question 0")
    assert embedder.texts[-1] == "question 0"


def test_a_question_that_may_not_leave_the_machine_is_not_asked_elsewhere() -> None:
    far = WordEmbedder(local=False)
    embeddings = Embeddings(lambda: far)
    assert embeddings.embed_query("secret", local_only=True) is None
    assert far.texts == []
    assert embeddings.embed_query("public") is not None
    near = Embeddings(WordEmbedder)
    assert near.embed_query("secret", local_only=True) is not None


def test_an_embedder_that_fails_is_left_alone_for_a_while_and_searches_go_on(clock: FakeClock) -> None:
    embedder = WordEmbedder()
    embeddings = Embeddings(lambda: embedder, clock=clock)
    embedder.failure = EmbeddingError("it is down; start it")
    assert embeddings.embed_query("one") is None
    assert embeddings.problem == "it is down; start it"
    embedder.failure = None
    assert embeddings.embed_query("one") is None
    clock.advance(RETRY_S)
    assert embeddings.embed_query("one") is not None
    embedder.failure = EmbeddingError("down again")
    assert embeddings.embed_query("two") is None
    asked = len(embedder.texts)
    assert embeddings.embed_query("one") is not None  # what is known needs nobody
    assert embeddings.embed_query("three") is None
    assert len(embedder.texts) == asked
    embedder.failure = None
    clock.advance(RETRY_S)
    assert embeddings.embed_query("two") is not None
    assert embeddings.problem == ""


def test_after_closing_there_is_none() -> None:
    embedder = WordEmbedder()
    embeddings = Embeddings(lambda: embedder)
    embeddings.current()
    embeddings.close()
    assert embedder.closed
    assert embeddings.current() is None


# Settings --------------------------------------------------------------------------------------------------------


def test_keys_of_servers_are_refused_where_no_server_is_chosen(tmp_path: Path) -> None:
    for line, key in (("model = 'm'", "model"), ("dimensions = 256", "dimensions"), ("local = true", "local")):
        (tmp_path / "timmy.toml").write_text(f"[memory]\n{line}\n")
        with pytest.raises(SettingsError, match=rf"{key} is for embedder"):
            load_settings(tmp_path)


def test_a_server_is_only_asked_when_it_is_named(tmp_path: Path) -> None:
    assert load_settings(tmp_path).memory == MemorySettings()
    (tmp_path / "timmy.toml").write_text('[memory]\nembedder = "openai"\napi_key = "k"\ndimensions = 256\n')
    settings = load_settings(tmp_path).memory
    assert (settings.embedder, settings.dimensions) == ("openai", 256)
    assert "k" not in repr(settings.api_key)
    assert not build_embedder(settings, tmp_path, LoopThread()).local


# Arithmetic ------------------------------------------------------------------------------------------------------


def test_the_activation_is_exact_to_the_precision_of_its_numbers() -> None:
    values = np.concatenate([np.linspace(-12, 12, 40_001), [0.0, -0.0, 1e-30, -1e-30, 80, -80]]).astype(np.float32)
    wanted = np.array([0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in values.tolist()])
    found = values.copy()
    gelu(found)
    assert np.abs(found - wanted).max() < 5e-7
    empty = np.empty((0, 4), np.float32)
    gelu(empty)


def test_rows_are_brought_to_length_one_and_what_is_no_vector_is_refused() -> None:
    rows = normalised(np.array([[3, 4], [0, 2]], np.float32))
    assert np.allclose(rows, [[0.6, 0.8], [0, 1]])
    for broken in ([0, 0], [math.nan, 1], [math.inf, 1]):
        with pytest.raises(EmbeddingError, match="without a length"):
            normalised(np.array([broken], np.float32))


def tensors(path: Path, header: dict[str, object], body: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def test_tensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    body = np.arange(6, dtype="<f4").tobytes() + np.arange(3, dtype="<i8").tobytes()
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "I64", "shape": [3], "data_offsets": [24, 48]},
    }
    found = read_tensors(tensors(tmp_path / "w", header, body))
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["b"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="read-only"):
        found["a"][0, 0] = 1


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 20]},
        {"dtype": "F32", "shape": [2, 3], "data_offsets": [8, 32]},
        {"dtype": "F32", "shape": [2, 3], "data_offsets": [-24, 0]},
        {"dtype": "X1", "shape": [2, 3], "data_offsets": [0, 24]},
        {"shape": [1]},
        7,
    ],
)
def test_a_file_whose_header_lies_is_refused(tmp_path: Path, entry: object) -> None:
    with pytest.raises(ModelFilesError, match="timmy memory model install"):
        read_tensors(tensors(tmp_path / "w", {"a": entry}, bytes(24)))


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 100, struct.pack("<Q", 3) + b"{}}", bytes(64)])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w"
    path.write_bytes(content)
    with pytest.raises(ModelFilesError):
        read_tensors(path)
    with pytest.raises(ModelFilesError):
        read_tensors(tmp_path / "nowhere")
