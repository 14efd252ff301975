"""A double of AirLLM whose models do what their folder's name says, and answer as the question's text says."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers.models.auto import auto_factory

print("airllm prints to stdout as it is imported")
LAYERS = 3


class Layer:
    def __init__(self) -> None:
        self._hooks: list[Any] = []

    def register_forward_pre_hook(self, hook: Any, *, prepend: bool) -> None:
        del prepend
        self._hooks.append(hook)

    def run(self) -> None:
        for hook in self._hooks:
            hook(self, ())


class Tokenizer:
    """A token a byte."""

    eos_token_id, pad_token_id, chat_template = 0, None, None

    def __call__(self, text: str, **options: Any) -> dict[str, Any]:
        del options
        return {"input_ids": torch.Tensor(list(text.encode()))}

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        return bytes(one for one in ids if one or not skip_special_tokens).decode(errors="replace")


class Templated(Tokenizer):
    chat_template = "yes"

    def apply_chat_template(self, messages: list[dict[str, str]], **options: Any) -> str:
        del options
        if messages[0]["role"] == "system":
            raise TemplateError
        return "|".join(f"{one['role']}:{one['content']}" for one in messages)


class TemplateError(Exception):
    pass


class Model:
    def __init__(self, name: str, dtype: str | None) -> None:
        self.tokenizer = Templated() if name == "templated" else Tokenizer()
        self.running_dtype = dtype or (torch.float16 if name == "half" else torch.float32)
        self.config = SimpleNamespace(max_position_embeddings=64 if name == "tiny" else 4096)
        self.generation_config = SimpleNamespace(eos_token_id=None)
        self.layers = [Layer() for _ in range(LAYERS)]
        self.name = name

    def generate(self, inputs: Any, *, max_new_tokens: int, streamer: Any, **options: Any) -> None:
        text = bytes(inputs.tolist()).decode()
        streamer.put(inputs)
        answers = {
            "env": repr(sorted(os.environ)),
            "dtype": self.running_dtype,
            "options": str(sorted(options.items(), key=str)),
        }
        misbehave(text)
        for token in [*answers.get(text, text.upper()).encode(), 0][:max_new_tokens]:
            for layer in self.layers:
                layer.run()
            if text.startswith("slow"):
                time.sleep(0.01)
            streamer.put(torch.Tensor([token]))
        streamer.end()


def misbehave(text: str) -> None:
    replies = int(sys.argv[1])
    if text == "print":
        print('{"is": "done", "id": 1}')
        sys.stdout.flush()
    if text == "crash":
        print("Segmentation fault, or the like", file=sys.stderr)
        os._exit(3)
    if text == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "garbage":
        os.write(replies, b"no JSON\n")
    if text == "huge":
        with os.fdopen(os.dup(replies), "wb") as file:
            file.write(b"x" * (2 << 20))
    if text == "raise":
        message = "the tensors do not fit"
        raise RuntimeError(message)
    if text == "memory":
        raise MemoryError
    if text == "hang":
        time.sleep(600)


class AutoModel:
    @staticmethod
    def from_pretrained(path: str, *, device: str, dtype: str | None = None, hf_token: str | None = None) -> Model:
        name = Path(path).name
        print(f"loading {name} onto {device}")
        if name == "slow":
            time.sleep(1)
        if name == "hanging":
            time.sleep(600)
        if name == "broken":
            message = f"a layer of {path} is missing; hub token {hf_token}"
            raise FileNotFoundError(message)
        if name == "dead":
            os._exit(7)
        if name == "coded":
            print("trusted:", auto_factory.resolve_trust_remote_code(True, path, False, True))
        return Model(name, dtype)
