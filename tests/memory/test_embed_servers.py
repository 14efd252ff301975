"""Embedders behind a server: Ollama's and OpenAI's API, whole and broken."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from timmy_core.errors import EmbeddingError
from timmy_core.loop import LoopThread
from timmy_core.memory.embed import Embedder
from timmy_core.memory.embedders import build_embedder
from timmy_core.settings_memory import MemorySettings

KEY = "tk-4f8a1c9e7b2d6035"
DIGEST = "0a109f422b47e3a30ba2b10eca18548e944e8a23073ee3f3e947efcf3c45e59f"


class Server(http.server.ThreadingHTTPServer):
    """Speaks both APIs, as far as embeddings go."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, Any], str | None]] = []
        self.status = 200
        self.body: object = None  # instead of what it would say
        self.wait = threading.Event()
        self.wait.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def vectors(self, texts: list[str], dimensions: int) -> list[list[float]]:
        return [[float(len(text)), *(1.0 for _ in range(dimensions - 1))] for text in texts]


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, {}, self.headers["Authorization"]))
        self.say(
            {
                "models": [
                    {"model": "other:latest", "digest": "f" * 64},
                    {"model": "nomic-embed-text:latest", "digest": DIGEST},
                ]
            }
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body, self.headers["Authorization"]))
        self.server.wait.wait()
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        found = self.server.vectors(texts, body.get("dimensions", 3))
        if self.path == "/api/embed":
            self.say({"model": body["model"], "embeddings": found})
        else:
            data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(found)]
            self.say(
                {
                    "object": "list",
                    "model": body["model"],
                    "data": data[::-1],
                    "usage": {"prompt_tokens": 1, "total_tokens": 1},
                }
            )

    def say(self, found: object) -> None:
        said = json.dumps(found if self.server.body is None else self.server.body).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    thread = threading.Thread(target=served.serve_forever, args=(0.01,))
    thread.start()
    yield served
    served.wait.set()
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread("test-loop")
    yield made
    made.close()


def embedder(kind: str, url: str, loop: LoopThread, **more: Any) -> Embedder:
    path = "/v1" if kind == "openai" else ""
    settings = MemorySettings.model_validate({"embedder": kind, "base_url": f"{url}{path}", "api_key": KEY, **more})
    return build_embedder(settings, None, loop)  # type: ignore[arg-type]


def test_ollama_names_its_model_by_the_digest_of_its_files(server: Server, loop: LoopThread) -> None:
    made = embedder("ollama", server.url, loop)
    model = made.prepare()
    assert model.key == f"nomic-embed-text@{DIGEST[:12]}"
    assert server.asked == [("/api/tags", {}, f"Bearer {KEY}")]
    made.close()


def test_ollama_is_told_whether_it_is_a_question(server: Server, loop: LoopThread) -> None:
    made = embedder("ollama", server.url, loop)
    rows = made.embed(["a", "abc"])
    assert np.allclose(np.linalg.norm(rows, axis=1), 1)
    made.embed(["b"], query=True)
    assert [body["input"] for _, body, _ in server.asked] == [
        ["search_document: a", "search_document: abc"],
        ["search_query: b"],
    ]
    made.close()


def test_a_model_that_ollama_does_not_have_is_said_with_how_to_get_it(server: Server, loop: LoopThread) -> None:
    made = embedder("ollama", server.url, loop, model="bge-m3")
    with pytest.raises(EmbeddingError, match="run `ollama pull bge-m3`"):
        made.prepare()
    made.close()


def test_openai_gets_texts_in_order_with_the_key_and_the_wanted_length(server: Server, loop: LoopThread) -> None:
    made = embedder("openai", server.url, loop, dimensions=5)
    assert made.prepare().key == f"text-embedding-3-small@{server.url.removeprefix('http://')}/5"
    rows = made.embed(["abcd", "x"])
    assert rows.shape == (2, 5)
    assert rows[0, 0] > rows[1, 0]
    ((path, body, key),) = server.asked
    assert (path, key) == ("/v1/embeddings", f"Bearer {KEY}")
    assert body == {
        "model": "text-embedding-3-small",
        "input": ["abcd", "x"],
        "dimensions": 5,
        "encoding_format": "float",
    }
    made.close()


def test_a_text_is_cut_to_what_openai_takes(server: Server, loop: LoopThread) -> None:
    made = embedder("openai", server.url, loop)
    made.embed(["x" * 100_000])
    assert len(server.asked[0][1]["input"][0]) == 8000
    made.close()


def test_openai_without_a_key_is_not_asked(loop: LoopThread) -> None:
    made = build_embedder(MemorySettings(embedder="openai"), None, loop)  # type: ignore[arg-type]
    assert not made.local
    with pytest.raises(EmbeddingError, match="set api_key in"):
        made.prepare()
    made.close()


def test_only_a_server_on_this_machine_counts_as_local_unless_its_owner_says_so(loop: LoopThread) -> None:
    assert embedder("ollama", "http://localhost:11434", loop).local
    assert embedder("openai", "http://[::1]:8080", loop).local
    assert not embedder("ollama", "http://192.168.1.7:11434", loop).local
    assert embedder("ollama", "http://192.168.1.7:11434", loop, local=True).local


@pytest.mark.parametrize("kind", ["ollama", "openai"])
@pytest.mark.parametrize(
    ("status", "said", "refused"),
    [
        (400, "HTTP 400", True),
        (401, "the key is not accepted", False),
        (404, "check model and base_url", False),
        (429, "left alone for a while", False),
        (500, "HTTP 500", False),
    ],
)
def test_what_a_server_refuses_is_said_without_the_key(
    server: Server, loop: LoopThread, kind: str, status: int, said: str, *, refused: bool
) -> None:
    server.status = status
    server.body = {"error": {"message": f"wrong: {KEY}"} if kind == "openai" else f"wrong: {KEY}"}
    made = embedder(kind, server.url, loop)
    with pytest.raises(EmbeddingError, match=said) as caught:
        made.embed(["a"])
    assert caught.value.refused == refused
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    made.close()


@pytest.mark.parametrize("kind", ["ollama", "openai"])
@pytest.mark.parametrize(
    "body", [{}, [], {"embeddings": [], "data": []}, {"embeddings": [[1], [1, 2]], "data": 7}, "?"]
)
def test_an_answer_of_another_form_is_said(server: Server, loop: LoopThread, kind: str, body: object) -> None:
    server.body = body
    made = embedder(kind, server.url, loop)
    with pytest.raises(EmbeddingError, match=f"{kind} at http"):
        made.embed(["a"])
    made.close()


@pytest.mark.parametrize("kind", ["ollama", "openai"])
def test_a_server_that_is_silent_is_given_up(server: Server, loop: LoopThread, kind: str) -> None:
    server.wait.clear()
    made = embedder(kind, server.url, loop, timeout_s=0.2)
    with pytest.raises(EmbeddingError, match=r"within 0\.2 s"):
        made.embed(["a"])
    server.wait.set()
    made.close()


@pytest.mark.parametrize("kind", ["ollama", "openai"])
def test_a_server_that_is_not_there_is_said(loop: LoopThread, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    made = embedder(kind, f"http://127.0.0.1:{port}", loop)
    with pytest.raises(EmbeddingError, match=f"{kind} at http://127.0.0.1:{port}.*check that"):
        made.embed(["a"])
    made.close()


def test_once_timmy_is_closed_there_is_no_vector(server: Server) -> None:
    loop = LoopThread("short-loop")
    made = embedder("ollama", server.url, loop)
    loop.close()
    with pytest.raises(EmbeddingError, match="Timmy is closed"):
        made.embed(["a"])
    made.close()
