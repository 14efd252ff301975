"""`ollama-proxy-plus` as a process: it speaks Ollama's wire in front of a server that speaks OpenAI's."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from .served import plain_environment

START_S = 40
MODEL = "llama/gemma"


class OllamaWire:
    """The proxy's process; it asks the model behind `url`.

    Args:
        url: a server with OpenAI's API, with its path.
        log: where the proxy's own log goes.
    """

    def __init__(self, url: str, log: Path) -> None:
        self._log = log
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        names = {"PROVIDERS_LLAMA_API_KEY": "none", "PROVIDERS_LLAMA_BASE_URL": url, "EXTRA_MODELS": MODEL}
        command = [str(Path(sys.executable).parent / "ollama-proxy"), "--host", "127.0.0.1", "--port", str(port)]
        with log.open("ab") as file:
            self._process = subprocess.Popen(command, env=plain_environment(**names), stdout=file, stderr=file)
        self._await()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _await(self) -> None:
        ends = time.monotonic() + START_S
        while time.monotonic() < ends and self._process.poll() is None:
            try:
                httpx.get(f"{self.url}/api/version", timeout=1, trust_env=False)
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return
        self.close()
        message = f"the proxy did not listen within {START_S} s; its log:\n{self._log.read_text(errors='replace')}"
        raise AssertionError(message)
