"""One event loop on a thread of its own, and the bridges to it from any other loop or thread.

Connections belong to the loop that opened them, but callers come from everywhere: a server's loop, the loops of
notebook kernels, plain threads. So all of Timmy's network I/O runs here, and cancelling a caller cancels the work.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Final, Generic, TypeVar

from timmy_core.errors import TimmyError

T = TypeVar("T")

_log = logging.getLogger(__name__)
_BOUND: Final = 256
_CLEANUP_S: Final = 10.0


class LoopClosedError(TimmyError):
    """Work was asked of Timmy's event loop after it was closed, or was cut off by its closing."""


class LoopThread:
    """An event loop on its own daemon thread, started by the first use and ended by `close()`."""

    def __init__(self, name: str = "timmy-loop") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._closed = False

    async def call(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on Timmy's loop and await its result on the caller's; cancelling cancels it."""
        if self._is_here():
            return await coro
        future = self._start(coro)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise self._cut_off() from None

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on Timmy's loop and block until it is done.

        Raises:
            LoopClosedError: the loop is closed.
            TimmyError: called on Timmy's own loop, which would wait for itself.
        """
        if self._is_here():
            coro.close()
            message = "a blocking call was made on Timmy's own event loop and would wait for itself; await it instead"
            raise TimmyError(message)
        future = self._start(coro)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise self._cut_off() from None
        finally:
            # An interrupted wait (Ctrl-C) must not leave the work running.
            future.cancel()

    def stream(self, factory: Callable[[], AsyncGenerator[T, None]]) -> BridgedStream[T]:
        """Return what an async generator on Timmy's loop yields, to be iterated on any loop."""
        return BridgedStream(self, factory)

    def stream_sync(self, factory: Callable[[], AsyncGenerator[T, None]]) -> SyncStream[T]:
        """Return what an async generator on Timmy's loop yields, to be iterated by a plain thread."""
        return SyncStream(self, factory)

    def close(self) -> None:
        """Cancel all work, wait until it has ended, and end the thread; harmless when repeated.

        Raises:
            TimmyError: called on Timmy's own loop.
        """
        if self._is_here():
            message = "Timmy's event loop cannot be closed from inside itself; close it from another thread"
            raise TimmyError(message)
        with self._lock:
            self._closed = True
            thread, loop, stop = self._thread, self._loop, self._stop
            if thread is not None and loop is not None and stop is not None and thread.is_alive():
                # Queued behind every piece of work that was accepted, so each of them exists when all are cancelled.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(stop.set)
        if thread is None:
            return
        thread.join(_CLEANUP_S)
        if thread.is_alive():
            _log.warning("work on Timmy's event loop did not end within %s s of being cancelled", _CLEANUP_S)

    def _is_here(self) -> bool:
        return self._thread is threading.current_thread()

    def _cut_off(self) -> LoopClosedError:
        return LoopClosedError("the work was cancelled because Timmy was closed; open it again with open_timmy()")

    def _start(self, coro: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Hand over a coroutine; under the lock, so that none is handed over after the last was cancelled."""
        with self._lock:
            if self._closed:
                coro.close()
                message = "Timmy is closed; open it again with open_timmy()"
                raise LoopClosedError(message)
            return asyncio.run_coroutine_threadsafe(coro, self._running())

    def _spawn(
        self, coro: Coroutine[Any, Any, None], ended: Callable[[asyncio.Task[None]], None]
    ) -> Callable[[], None]:
        """Start a task and return what cancels it; `ended` is called even if it is cancelled before it began."""
        tasks: list[asyncio.Task[None]] = []

        def begin() -> None:
            task = loop.create_task(coro)
            task.add_done_callback(ended)
            tasks.append(task)

        def cancel() -> None:
            for task in tasks:
                task.cancel()

        with self._lock:
            if self._closed:
                coro.close()
                message = "Timmy is closed; open it again with open_timmy()"
                raise LoopClosedError(message)
            loop = self._running()
            loop.call_soon_threadsafe(begin)
        return lambda: _tell(loop, cancel)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            ready = threading.Event()
            self._thread = threading.Thread(target=self._main, args=(ready,), name=self._name, daemon=True)
            self._thread.start()
            ready.wait()
        if self._loop is None:
            message = "Timmy's event loop could not be started; see the log for the reason"
            raise LoopClosedError(message)
        return self._loop

    def _main(self, ready: threading.Event) -> None:
        try:
            # Leaving the runner cancels what still runs, awaits it, and shuts down generators and executor.
            with asyncio.Runner() as runner:
                runner.run(self._serve(ready))
        finally:
            ready.set()

    async def _serve(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        ready.set()
        await self._stop.wait()


class _End:
    """What stands behind the last item: nothing, or the error that ended the work."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Pipe(Generic[T]):
    """A bounded queue from one task on Timmy's loop to one consumer anywhere."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self._lock = threading.Lock()
        self._items: collections.deque[T | _End] = collections.deque()
        self._wake: Callable[[], None] | None = None
        self._room: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def pump(self, factory: Callable[[], AsyncGenerator[T, None]]) -> None:
        """Drive the generator from its first item to its closing in this one task."""
        self._loop, self._room = asyncio.get_running_loop(), asyncio.Event()
        async with contextlib.aclosing(factory()) as items:
            async for item in items:
                await self._put(item)

    def ended(self, task: asyncio.Task[None]) -> None:
        """Tell the consumer how the pump ended."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._push(_End(error))
        self.done.set()

    async def _put(self, item: T) -> None:
        room = self._room
        while room is not None and len(self._items) >= _BOUND:
            room.clear()
            # The consumer may have taken one between the two lines above, and then does not ring again.
            if len(self._items) >= _BOUND:
                await room.wait()
        self._push(item)

    def _push(self, item: T | _End) -> None:
        with self._lock:
            self._items.append(item)
            wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def take(self, wake: Callable[[], None]) -> T | _End | None:
        """Return the next item, or None after remembering whom to wake when there is one."""
        with self._lock:
            if not self._items:
                self._wake = wake
                return None
            item = self._items.popleft()
            left = len(self._items)
        if left == _BOUND - 1 and self._loop is not None and self._room is not None:
            _tell(self._loop, self._room.set)
        return item


class _Bridged(Generic[T]):
    """What both faces of a stream share: the pump, started by the first item asked for."""

    def __init__(self, thread: LoopThread, factory: Callable[[], AsyncGenerator[T, None]]) -> None:
        self._over = False
        self._thread = thread
        self._factory = factory
        self._pipe: _Pipe[T] = _Pipe()
        self._stop: Callable[[], None] | None = None

    def _ensure_pump(self) -> None:
        if self._stop is None:
            pump = self._pipe.pump(self._factory)
            self._stop = self._thread._spawn(pump, self._pipe.ended)  # noqa: SLF001 - one module

    def _cancel(self) -> None:
        self._over = True
        if self._stop is not None:
            self._stop()

    def _ended(self, end: _End) -> BaseException | None:
        self._over = True
        if isinstance(end.error, asyncio.CancelledError):
            return self._thread._cut_off()  # noqa: SLF001 - one module
        return end.error

    def __del__(self) -> None:
        """Dropping a stream half read, as `break` in a loop does, ends its work at once."""
        if not self._over:
            self._cancel()


class BridgedStream(_Bridged[T], AsyncIterator[T]):
    """An async iterator over work on Timmy's loop; `aclose()`, a `break` or a cancellation ends the work."""

    async def __anext__(self) -> T:
        """Return the next item."""
        if self._over:
            raise StopAsyncIteration
        try:
            self._ensure_pump()
            item = await self._next()
        except BaseException:
            self._cancel()
            raise
        if not isinstance(item, _End):
            return item
        error = self._ended(item)
        if error is None:
            raise StopAsyncIteration
        raise error

    async def _next(self) -> T | _End:
        loop = asyncio.get_running_loop()
        while True:
            waiter = loop.create_future()
            item = self._pipe.take(lambda: _ring(loop, waiter))  # noqa: B023 - called for this turn only
            if item is not None:
                return item
            await waiter

    async def aclose(self) -> None:
        """End the work and wait until it has ended."""
        self._cancel()
        if self._stop is not None and not self._pipe.done.is_set():
            await asyncio.to_thread(self._pipe.done.wait, _CLEANUP_S)


class SyncStream(_Bridged[T], Iterator[T]):
    """An iterator over work on Timmy's loop; `close()` or a `break` ends the work."""

    def __next__(self) -> T:
        """Return the next item, waiting for it."""
        if self._over:
            raise StopIteration
        if self._thread._is_here():  # noqa: SLF001 - one module
            message = "a blocking stream was read on Timmy's own event loop and would wait for itself; use `async for`"
            raise TimmyError(message)
        try:
            self._ensure_pump()
            item = self._next()
        except BaseException:
            self._cancel()
            raise
        if not isinstance(item, _End):
            return item
        error = self._ended(item)
        if error is None:
            raise StopIteration
        raise error

    def _next(self) -> T | _End:
        while True:
            bell = threading.Event()
            item = self._pipe.take(bell.set)
            if item is not None:
                return item
            bell.wait()

    def close(self) -> None:
        """End the work and wait until it has ended."""
        self._cancel()
        if self._stop is not None:
            self._pipe.done.wait(_CLEANUP_S)


def _ring(loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
    def ring() -> None:
        if not waiter.done():
            waiter.set_result(None)

    _tell(loop, ring)


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Call back on a loop; one that is closed has nobody left to tell."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)
