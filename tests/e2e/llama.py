"""llama.cpp's own server with a small real model, as a process that a test can kill.

Run as a program (`python llama.py MODEL PORT`) it is that server: it prints its address, and ends with its standard
input.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from queue import Empty, Queue
from urllib.parse import urlsplit

START_S = 90
ANSWER_TOKENS = 12
MARK = "listens at "


class Llama:
    """The server's process; it comes back on the port that it had first.

    Args:
        model: the GGUF file.
        log: where the server's own log goes.
    """

    def __init__(self, model: Path, log: Path) -> None:
        self._model, self._log = model, log
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        """Start it and wait until the model is loaded."""
        port = str(urlsplit(self.url).port or 0)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(self._model), port],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.url = self._address(self._process)

    def kill(self) -> None:
        """End it as a power cut does; harmless when it has ended."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None

    def _address(self, process: subprocess.Popen[str]) -> str:
        """Wait for the line with the address; what the native library prints itself stands before it."""
        lines: Queue[str] = Queue()

        def read() -> None:
            for line in process.stdout or ():
                lines.put(line)
                if line.startswith(MARK):
                    return
            lines.put("")

        threading.Thread(target=read, name="llama-address", daemon=True).start()
        try:
            while line := lines.get(timeout=START_S):
                if line.startswith(MARK):
                    return line.removeprefix(MARK).strip()
            reason = "ended before it listened"
        except Empty:
            reason = f"did not listen within {START_S} s"
        self.kill()
        message = f"llama.cpp's server {reason}; its log:\n{self._log.read_text(errors='replace')[-2000:]}"
        raise AssertionError(message)


def main(model: str, port: str) -> None:
    """Serve the model until standard input ends, which it also does when the test's process is gone."""
    import xllamacpp

    wanted = xllamacpp.CommonParams()
    wanted.model.path = model
    wanted.model_alias = {"gemma"}
    wanted.hostnames, wanted.port = ["127.0.0.1"], int(port)
    wanted.n_ctx, wanted.n_parallel, wanted.n_predict = 2048, 1, ANSWER_TOKENS
    wanted.warmup, wanted.ui = False, False
    # More threads wait for each other by spinning, which takes many times as long where processors are busy.
    for part in (wanted.cpuparams, wanted.cpuparams_batch):
        part.n_threads = 1
    # A base model may end at once; the tests judge the plumbing, so it has to say something, and the same each time.
    wanted.sampling.temp, wanted.sampling.seed, wanted.sampling.ignore_eos = 0.0, 1, True
    server = xllamacpp.Server(wanted)
    print(f"\n{MARK}{server.listening_address}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
