"""Thread boundaries: the only place where videomatte starts threads.

A boundary runs everything upstream of it in a worker thread and hands the items over through a bounded queue:

    with Threads() as threads:
        frames = threads.boundary(source)            # decode | worker 1
        trimaps = threads.boundary(trim(frames))     # trimap | worker 2
        mattes = threads.boundary(matting(trimaps))  # matte  | worker 3
        for matte in mattes:                         # encode | the caller
            sink.write(matte)

Leaving the block, for whatever reason, stops and joins every worker.

Nothing here changes the number of torch's threads: after ``torch.set_num_threads`` in a process with workers, be it in
the main thread alone, MKL's LAPACK gives wrong pivots now and then, ever after (``linalg.inv`` in float64, torch 2.13
with MKL 2024.2, an AMD processor with AVX2). Who wants fewer sets OMP_NUM_THREADS before torch is
imported, as the command line does (:mod:`videomatte.cores`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from videomatte.errors import VideomatteError

__all__ = ["Threads"]

T = TypeVar("T")

_WAKE_SECONDS = 0.2
"""Longest wait before a waiter looks up: on Windows a wait without limit would not notice Ctrl-C."""


class _Stopped(BaseException):
    """Unwinds a worker that nobody reads from any more. Not an ``Exception``: stages must not swallow it."""


class _Channel(Generic[T]):
    """A bounded queue between one producer and one consumer, sharing one condition with its siblings.

    One condition for all channels of a run lets a single stop wake everybody at once, whatever they wait for.
    """

    def __init__(self, condition: threading.Condition, depth: int) -> None:
        self._condition = condition
        self._depth = depth
        self._items: deque[T] = deque()
        self._error: BaseException | None = None
        self._finished = False
        self._stopped = False

    def put(self, item: T) -> None:
        with self._condition:
            while len(self._items) >= self._depth and not self._stopped:
                self._condition.wait(_WAKE_SECONDS)
            if self._stopped:
                raise _Stopped
            self._items.append(item)
            self._condition.notify_all()

    @property
    def stopped(self) -> bool:
        with self._condition:
            return self._stopped

    def finish(self, error: BaseException | None = None) -> None:
        with self._condition:
            self._finished, self._error = True, error
            self._condition.notify_all()

    def stop(self) -> None:
        with self._condition:
            self._stopped = True
            self._items.clear()
            self._condition.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._condition:
                while not (self._items or self._finished or self._stopped):
                    self._condition.wait(_WAKE_SECONDS)
                if self._stopped:
                    raise _Stopped
                if not self._items:
                    # What the worker raised is raised again here, with the worker's traceback, after the items that
                    # came before it: the consumer sees the same order as without threads.
                    if self._error is not None:
                        raise self._error
                    return
                item = self._items.popleft()
                self._condition.notify_all()
            yield item


class Threads:
    """The worker threads of one run, stopped and joined together on leaving the block."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._channels: list[_Channel[object]] = []
        self._workers: list[threading.Thread] = []

    def boundary(self, items: Iterable[T], *, depth: int = 4) -> Iterator[T]:
        """Iterate ``items`` in a worker thread, at most ``depth`` finished items ahead of the consumer.

        Args:
            items: anything iterable; iterated, and closed if it can be, in the worker alone.
            depth: finished items that may wait, at least 1. Memory is bounded by ``depth`` + 2 items: those waiting,
                one being made and one being used.

        Returns:
            The same items in the same order. An exception raised upstream is raised here, once the items before it
            have been taken.
        """
        if depth < 1:
            raise VideomatteError(f"a thread boundary needs a depth of at least 1, got {depth}")
        channel: _Channel[T] = _Channel(self._condition, depth)
        worker = threading.Thread(target=_pump, args=(items, channel), name="videomatte-boundary", daemon=True)
        self._channels.append(channel)  # type: ignore[arg-type]
        self._workers.append(worker)
        worker.start()
        return iter(channel)

    def finished(self, patience: float) -> bool:
        """Whether every worker comes to its end within so many seconds."""
        until = time.monotonic() + patience
        for worker in self._workers:
            if worker.is_alive():  # see __exit__
                worker.join(max(0.0, until - time.monotonic()))
        return not any(worker.is_alive() for worker in self._workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels:
            channel.stop()
        for worker in self._workers:
            # Ctrl-C may have come while it was being started. It then cannot be joined, and finds its channel stopped.
            if worker.is_alive():
                worker.join()


def _pump(items: Iterable[T], channel: _Channel[T]) -> None:
    """Body of a worker: move items into the channel until they end, fail, or nobody wants them."""
    if channel.stopped:  # before it began: what the items hold on to may be gone
        return
    iterator = iter(items)
    error: BaseException | None = None
    try:
        for item in iterator:
            channel.put(item)
    except BaseException as raised:  # noqa: BLE001 - everything is handed on; a lost error would hang the consumer
        error = raised
    finally:
        # A generator is closed here so that its clean-up runs in the thread that ran it, and before it is joined.
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
        channel.finish(error)
