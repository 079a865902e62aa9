"""Where the time of a run goes: wall-clock seconds per stage, waits for neighbours and nested stages not counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from videomatte.types import StageReport

__all__ = ["Clock"]

T = TypeVar("T")


class Clock:
    """Adds up each stage's own seconds, over all threads.

    Stages are nested generators: asking the last one for an item runs all of them. Each span therefore takes off what
    the spans inside it took, per thread, so that the stages' seconds add up without counting anything twice.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self._items: dict[str | None, int] = {}
        self._open = threading.local()
        self.marks: list[float] = []
        """When each frame was through, by `time.perf_counter`."""

    @contextmanager
    def span(self, name: str | None) -> Iterator[None]:
        """Count the block's own time for ``name``; with ``None`` it is taken off the enclosing span and dropped."""
        inner: list[float] = self._open.__dict__.setdefault("inner", [])
        inner.append(0.0)
        started = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - started
            own = elapsed - inner.pop()
            if inner:
                inner[-1] += elapsed
            if name is not None:
                self.add(name, own)

    def add(self, name: str, seconds: float) -> None:
        """Count seconds for a stage that were spent elsewhere."""
        with self._lock:
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def stage(self, name: str | None, items: Iterable[T]) -> Iterator[T]:
        """The same items, the time to make each counted for ``name``; ``None`` for a wait that counts for nobody."""
        iterator = iter(items)
        try:
            while True:
                with self.span(name):
                    try:
                        item = next(iterator)
                    except StopIteration:
                        return
                with self._lock:
                    self._items[name] = self._items.get(name, 0) + 1
                yield item
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    def mark(self) -> None:
        """Note that a frame is through the line now."""
        self.marks.append(time.perf_counter())

    def items(self, name: str) -> int:
        """How many items the stage has made."""
        return self._items.get(name, 0)

    def report(self) -> tuple[StageReport, ...]:
        """Seconds and share of each stage, in the order in which they first finished a span."""
        with self._lock:
            seconds = dict(self._seconds)
        total = sum(seconds.values()) or 1.0
        return tuple(StageReport(name, value, value / total) for name, value in seconds.items())
