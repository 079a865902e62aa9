"""A thread of its own for a decoder, so that one that never returns cannot hold up whoever waits for it.

A call into a library cannot be broken off from outside. The thread that made it is left behind, and with it the
decoder's memory, until the process ends; nobody else waits for it. What is stuck in the system (a disk that is gone)
is left in the same way. A decoder that does give frames, but without end or at a crawl, is not told from a long clip.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from videomatte.errors import InputError
from videomatte.io.limits import PATIENCE_SECONDS

__all__ = ["Watchdog"]

P = ParamSpec("P")
T = TypeVar("T")

_WAKE_SECONDS = 0.5
"""Longest wait before a waiter looks up: on Windows a wait without limit would not notice Ctrl-C."""


class Watchdog:
    """One thread that makes all calls for one file, in order; who calls waits for the result, but not for ever.

    Args:
        path: the file, for the message.
        hint: what else to say to people when it is stuck.
    """

    def __init__(self, path: Path, hint: str = "the file is damaged, or its disk does not answer") -> None:
        self._path, self._hint = path, hint
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._alive = 0.0
        self.stuck = False
        """Whether a call has not come back. The thread may still be in it: touch nothing that it uses."""
        # A daemon, for one that never returns must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="videomatte-decoder", daemon=True)
        self._thread.start()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result, or what it raises.

        Raises:
            InputError: it has given no sign of life for ``PATIENCE_SECONDS``, now or before.
        """
        if not self.stuck:
            self.stuck = True  # until it has answered: whoever is interrupted while waiting gives it up as well
            self.alive()
            self._calls.put(lambda: function(*args, **kwargs))
            while time.monotonic() - self._alive < PATIENCE_SECONDS:
                try:
                    result, error = self._results.get(timeout=_WAKE_SECONDS)
                except queue.Empty:
                    continue
                self.stuck = False
                if error is not None:
                    raise error
                return result  # type: ignore[no-any-return]
        raise InputError(f"{self._path}: the decoder has given nothing for {PATIENCE_SECONDS:.0f} s: {self._hint}")

    def alive(self) -> None:
        """Say, from within a call that takes long by right, that it moves."""
        self._alive = time.monotonic()

    def close(self) -> None:
        """End the thread, unless it is stuck. May be called twice."""
        self._calls.put(None)
        if not self.stuck:
            self._thread.join()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                self._results.put((call(), None))
            except BaseException as error:  # noqa: BLE001 - raised again where it was called
                self._results.put((None, error))
            del call  # the decoder must not outlive its source
