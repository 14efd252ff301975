"""The program that holds an AirLLM model: a process of its own, so that it can be killed and leaks into nobody.

It stands alone, and needs neither this package nor its dependencies: any interpreter that has `airllm` can run it. It
reads one JSON a line from standard input and writes one a line to the descriptor that its first argument names;
what the libraries print goes to standard error. It ends with its standard input, also in the middle of a token.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

MAX_TEXT: Final = 2000
_NICE: Final = 5
_OOM_SCORE: Final = "500"
_SECRET: Final = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_HUB_TOKENS: Final = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"})

Say = Callable[..., None]


class StoppedError(Exception):
    """Somebody asked that the generation be stopped."""


class RefusedError(Exception):
    """What was asked cannot be done; `kind` is the word for why."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


class Model:
    """A loaded model and how to ask it."""

    def __init__(self, order: dict[str, Any], is_stopped: Callable[[], bool]) -> None:
        began = time.monotonic()
        torch, auto_model = _libraries(trust=bool(order.get("trust")), offline=Path(order["model"]).is_dir())
        self._torch = torch
        self._is_stopped = is_stopped
        self.device = _device(torch, str(order.get("device") or "auto"))
        self._air = _open(auto_model, torch, order, self.device)
        self._tokenizer = self._air.tokenizer
        self.window = _window(self._air.config)
        for layer in getattr(self._air, "layers", ()):
            # A stop is noticed between two layers; a token of a large model may take minutes.
            layer.register_forward_pre_hook(self._check, prepend=True)
        # AirLLM collects garbage after every layer, and a collection walks over all that was ever imported.
        gc.collect()
        if order.get("freeze", True):
            gc.freeze()
        self.frozen = gc.get_freeze_count()
        self.load_s = time.monotonic() - began

    def generate(self, order: dict[str, Any], say: Say) -> None:
        """Answer a question, token by token."""
        inputs = self._encode(order["messages"])
        count = int(inputs.shape[-1])
        room = int(order["max_tokens"])
        window = min(int(order.get("window") or self.window or sys.maxsize), self.window or sys.maxsize)
        if count >= window:
            text = f"the question has {count:,} tokens, and the window is {window:,}"
            raise RefusedError(text, "context")
        room = min(room, window - count)
        say("began", input_tokens=count)
        words = _Words(self._tokenizer, self._ends(), say)
        finish = self._run(inputs, room, order.get("temperature"), words)
        words.flush()
        say("done", finish=finish, input_tokens=count, output_tokens=words.count)

    def _run(self, inputs: Any, room: int, temperature: float | None, words: _Words) -> str:
        sampling: dict[str, Any] = {}  # as the model's own configuration has it
        if temperature is not None:
            sampling = {"do_sample": True, "temperature": float(temperature)}
        if temperature == 0:
            sampling = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        try:
            with self._torch.inference_mode():
                self._air.generate(
                    inputs,
                    attention_mask=self._torch.ones_like(inputs),
                    max_new_tokens=room,
                    use_cache=True,
                    streamer=words,
                    pad_token_id=self._pad(),
                    **sampling,
                )
        except StoppedError:
            return "stopped"
        return "stop" if words.ended else "length"

    def _encode(self, messages: Sequence[dict[str, str]]) -> Any:
        if getattr(self._tokenizer, "chat_template", None):
            text = self._templated(messages)
            encoded = self._tokenizer(text, return_tensors="pt", add_special_tokens=False)
        else:
            # A base model has no form of its own for a conversation.
            lines = [f"{message['role'].capitalize()}: {message['content']}" for message in messages]
            text = messages[0]["content"] if len(messages) == 1 else "\n".join([*lines, "Assistant:"])
            encoded = self._tokenizer(text, return_tensors="pt")
        return encoded["input_ids"].to(self.device)

    def _templated(self, messages: Sequence[dict[str, str]]) -> str:
        def render(said: Sequence[dict[str, str]]) -> str:
            return str(self._tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True))

        try:
            return render(messages)
        except Exception as error:
            # jinja2's own class, which is not imported here; some templates know no system message.
            if type(error).__name__ != "TemplateError" or len(messages) < 2 or messages[0]["role"] != "system":  # noqa: PLR2004
                raise
        first = {**messages[1], "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
        return render([first, *messages[2:]])

    def _ends(self) -> frozenset[int]:
        found = getattr(self._air.generation_config, "eos_token_id", None)
        if found is None:
            found = getattr(self._tokenizer, "eos_token_id", None)
        return frozenset(found if isinstance(found, list) else [] if found is None else [found])

    def _pad(self) -> int:
        pad = getattr(self._tokenizer, "pad_token_id", None)
        return int(pad) if pad is not None else next(iter(self._ends()), 0)

    def _check(self, module: Any, inputs: Any) -> None:
        del module, inputs
        if self._is_stopped():
            raise StoppedError


class _Words:
    """Turns tokens into text as they come; a character that takes several tokens waits for its last one."""

    def __init__(self, tokenizer: Any, ends: frozenset[int], say: Say) -> None:
        self._tokenizer, self._ends, self._say = tokenizer, ends, say
        self._ids: list[int] = []
        self._from = self._shown = 0
        self._prompt = True
        self.count = 0
        self.ended = False

    def put(self, value: Any) -> None:
        """Take the next token; the first that comes is the question itself."""
        if self._prompt:
            self._prompt = False
            return
        for token in value.reshape(-1).tolist():
            self.count += 1
            self.ended = token in self._ends
            self._ids.append(token)
        self._say("text", text=self._new(held="\ufffd"))

    def end(self) -> None:
        """Nothing more comes."""

    def flush(self) -> None:
        """Show what was held back."""
        rest = self._new(held="")
        if rest:
            self._say("text", text=rest)

    def _new(self, held: str) -> str:
        before = self._decode(self._ids[self._from : self._shown])
        whole = self._decode(self._ids[self._from :])
        if len(whole) <= len(before) or (held and whole.endswith(held)):
            return ""
        self._from, self._shown = self._shown, len(self._ids)
        return whole[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)) if ids else ""


# Loading ----------------------------------------------------------------------------------------------------


def _libraries(*, trust: bool, offline: bool) -> tuple[Any, Any]:
    """Import what is heavy, with the network and foreign code shut out where they are not wanted."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)  # a pickle of weights may hold weights only
    if offline:
        os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    try:
        import torch
        from airllm import AutoModel
    except ImportError as error:
        kind = "package" if (error.name or "").partition(".")[0] in ("torch", "airllm") else "import"
        raise RefusedError(str(error), kind) from None
    if not trust:
        _forbid_code()
    return torch, AutoModel


def _forbid_code() -> None:
    """Undo AirLLM's habit of trusting the code that comes with a model.

    The question whether a model's code is trusted is answered with no, wherever transformers asks it; and the function
    that would run such code refuses, so that a version that asks nobody runs none either.
    """
    dynamic = importlib.import_module("transformers.dynamic_module_utils")
    for name in ("configuration_auto", "auto_factory", "tokenization_auto"):
        importlib.import_module(f"transformers.models.auto.{name}")
    asked = dynamic.resolve_trust_remote_code

    def never(trust: Any, *arguments: Any, **options: Any) -> Any:
        del trust
        try:
            return asked(False, *arguments, **options)  # noqa: FBT003 - transformers' own signature
        except ValueError as error:
            raise RefusedError(str(error), "code") from None

    def refuse(*arguments: Any, **options: Any) -> Any:
        del arguments, options
        text = "the model comes with code of its own"
        raise RefusedError(text, "code")

    for name, module in list(sys.modules.items()):
        if name.startswith("transformers") and vars(module).get("resolve_trust_remote_code") is asked:
            vars(module)["resolve_trust_remote_code"] = never
    for name in ("get_class_in_module", "get_class_from_dynamic_module"):
        if not hasattr(dynamic, name):
            text = f"this version of transformers has no {name} that could be shut off"
            raise RefusedError(text, "code")
        setattr(dynamic, name, refuse)


def _open(auto_model: Any, torch: Any, order: dict[str, Any], device: str) -> Any:
    name = order["model"]
    options: dict[str, Any] = {"device": device}
    if order.get("token"):
        options["hf_token"] = order["token"]
    try:
        air = auto_model.from_pretrained(name, **options)
    except RefusedError:
        raise
    except MemoryError:
        text = "there is not enough memory for it"
        raise RefusedError(text, "memory") from None
    except Exception as error:  # noqa: BLE001 - three foreign libraries; each failure is told, none is lost
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, RefusedError):
                raise RefusedError(str(cause), cause.kind) from None
            cause = cause.__cause__ or cause.__context__
        text = f"{type(error).__name__}: {error}"
        raise RefusedError(text, _kind(error)) from None
    if device == "cpu" and air.running_dtype is torch.float16:
        # Half precision is what processors compute slowest, or not at all.
        del air
        return auto_model.from_pretrained(name, dtype=torch.float32, **options)
    return air


def _kind(error: Exception) -> str:
    name = type(error).__name__
    missing = ("RepositoryNotFoundError", "HFValidationError", "FileNotFoundError", "GatedRepoError")
    if name in missing:
        return "model"
    if name in ("NotEnoughSpaceException", "OutOfMemoryError"):
        return "memory"
    offline = ("LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError")
    return "network" if name in offline else "error"


def _device(torch: Any, wanted: str) -> str:
    if wanted == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        text = "device is cuda, and torch finds no such graphics card"
        raise RefusedError(text, "device")
    return "cuda:0" if wanted == "cuda" else wanted


def _window(config: Any) -> int | None:
    inner = getattr(config, "text_config", None) or config
    found = getattr(inner, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


# The program ------------------------------------------------------------------------------------------------


class Program:
    """Reads orders on one thread, and carries them out one after the other on the main one."""

    def __init__(self, descriptor: int) -> None:
        self._replies = os.fdopen(descriptor, "w", encoding="utf-8", newline="\n")
        self._orders: queue.Queue[dict[str, Any]] = queue.Queue(maxsize=16)
        self._current = 0
        self._stopped = 0  # numbers rise, and one question is answered at a time
        self._model: Model | None = None

    def run(self) -> None:
        """Work until the process ends."""
        threading.Thread(target=self._read, name="orders", daemon=True).start()
        while True:
            order = self._orders.get()
            number = order.get("id")
            try:
                self._carry_out(order)
            except RefusedError as error:
                self._say("failed", id=number, kind=error.kind, text=str(error)[:MAX_TEXT])
            except MemoryError:
                self._say("failed", id=number, kind="memory", text="there is not enough memory")
            except Exception as error:  # noqa: BLE001 - three foreign libraries, and the model shall stay loaded
                memory = type(error).__name__ == "OutOfMemoryError"
                text = f"{type(error).__name__}: {error}"[:MAX_TEXT]
                self._say("failed", id=number, kind="memory" if memory else "error", text=text)

    def _carry_out(self, order: dict[str, Any]) -> None:
        if order["do"] == "load":
            model = self._model = Model(order, self._is_stopped)
            told = {"window": model.window, "frozen": model.frozen, "load_s": round(model.load_s, 3)}
            self._say("loaded", device=model.device, **told)
            return
        if self._model is None:
            text = "no model is loaded"
            raise RefusedError(text, "error")
        number = self._current = order["id"]

        def say(what: str, **more: Any) -> None:
            if what == "text" and self._is_stopped():
                raise StoppedError
            self._say(what, id=number, **more)

        try:
            self._model.generate(order, say)
        except StoppedError:
            self._say("done", id=number, finish="stopped", input_tokens=None, output_tokens=None)

    def _is_stopped(self) -> bool:
        return self._current <= self._stopped

    def _read(self) -> None:
        """Take orders; the end of them, or nonsense, is the end of the process, whatever it computes."""
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
            for line in sys.stdin:
                order = json.loads(line)
                if order["do"] == "stop":
                    self._stopped = int(order["id"])
                else:
                    self._orders.put(order)
        os._exit(0)

    def _say(self, what: str, **more: Any) -> None:
        try:
            self._replies.write(json.dumps({"is": what, **more}) + "\n")
            self._replies.flush()
        except OSError:
            os._exit(0)


def main(descriptor: int) -> None:
    """Become a modest process, then serve."""
    # Whatever a library prints must not be taken for a reply.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for name in [name for name in os.environ if _SECRET.search(name) and name not in _HUB_TOKENS]:
        del os.environ[name]
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    with contextlib.suppress(OSError):
        # When memory ends, this process goes before the one that talks to people.
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    Program(descriptor).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
