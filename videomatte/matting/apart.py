"""A matting stage in processes of its own, so that stages do not take turns with it at Python's interpreter.

    with MattingApart("embedded", workers=2) as matting:
        mattes = matting(trimap_frames)

On a CPU a frame of the embedded model is some ten thousand short operations. Beside threads that are made of short
operations, too, each of them waits for the interpreter now and then, and takes a fifth longer for it; in a process of
its own the model is as fast as by itself, and several processes are several times as fast, which threads that share
such short operations are not. What it costs is a copy of torch in memory for each, and the time to start them.

Batches go there through pipes, and alphas come back through others: some ten milliseconds a frame of 1280×720, and no
shared memory, of which containers have little.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from traceback import format_exception
from types import TracebackType
from typing import IO, Any, Self

import torch
from numpy.typing import NDArray

from videomatte.cores import cores
from videomatte.engine import Clock, Threads
from videomatte.engine.memory import free_bytes, peak_memory_bytes
from videomatte.errors import ModelError
from videomatte.matting import open_matting
from videomatte.types import Frame, MatteFrame, MattingStage, TrimapFrame

__all__ = ["MattingApart", "serve", "workers_worth"]

_START = "import sys; sys.path[:] = sys.argv[1:]; from videomatte.matting.apart import serve; serve()"
_PROTOCOL = 5
"""Of pickle: the first that does not copy arrays."""
_HEAP = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=33554432"
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GLIBC_TUNABLES": f"{_HEAP}:glibc.malloc.trim_threshold=1073741824"}
"""What a process is started with, where it is not set already. One heap, in large pages, that is not given back between
frames: asking the system for the same memory again each time takes a twentieth longer. Other C libraries don't look."""
_MOST = 4
"""Processes: the stages before and behind do not keep more of them busy."""
_MEMORY, _MEMORY_PIXEL = 400_000_000, 310
"""Bytes that one takes, and further ones a pixel of a batch where all is unknown (:mod:`videomatte.matting.plan`)."""


class MattingApart:
    """Does what the stage of :func:`videomatte.matting.open_matting` does, with the same result. A context manager:
    entering it starts the processes, which get ready while the first frames are, and leaving it ends them.

    Batches are dealt out in turn; one more than there are processes is on its way.

    Args:
        model: as for `open_matting`.
        batch: the same.
        workers: how many processes.
        clock: is told how long the model took, as the stage ``matte``: all processes' seconds together.
        options: further arguments of `open_matting`.
    """

    def __init__(
        self, model: str, batch: int = 1, *, workers: int = 1, clock: Clock | None = None, **options: object
    ) -> None:
        self._batch = batch
        self._clock = clock or Clock()
        self._workers = [_Worker({"model": model, "batch": batch, **options}) for _ in range(workers)]

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """What had to be done otherwise than asked, one sentence each."""
        return tuple(dict.fromkeys(note for worker in self._workers for note in worker.fallbacks))

    @property
    def peak_bytes(self) -> int:
        """Largest resident sets of the processes so far, added up."""
        return sum(worker.peak_bytes for worker in self._workers)

    def __call__(self, frames: Iterator[TrimapFrame]) -> Iterator[MatteFrame]:
        """One matte for each, in order. Who stops asking before the end ends the processes; the next stream starts new
        ones.

        Raises:
            ModelError: what the stage raises; or a process has ended before its time.
        """
        away: deque[tuple[_Worker, list[TrimapFrame]]] = deque()
        turn = cycle(self._workers)
        self._start()
        try:
            while batch := list(islice(frames, self._batch)):
                worker = next(turn)
                worker.send([_packed(item) for item in batch])
                away.append((worker, batch))
                if len(away) > len(self._workers):
                    yield from self._mattes(*away.popleft())
            while away:
                yield from self._mattes(*away.popleft())
        except BaseException:
            self._end()  # what is still answered belongs to nobody
            raise

    def _mattes(self, worker: _Worker, batch: list[TrimapFrame]) -> Iterator[MatteFrame]:
        with self._clock.span(None):
            alphas, seconds = worker.receive()
        self._clock.add("matte", seconds)
        yield from map(MatteFrame, batch, map(torch.from_numpy, alphas))

    def _start(self) -> None:
        try:
            for worker in self._workers:
                worker.start()
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        for worker in self._workers:
            worker.end()


class _Worker:
    """One process, from this side of its pipes.

    Args:
        settings: arguments of `open_matting`.
    """

    def __init__(self, settings: dict[str, object]) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self.fallbacks: list[str] = []
        self.peak_bytes = 0

    def start(self) -> None:
        """If it has not been."""
        if self._process is not None:
            return
        # In a session of its own: Ctrl-C is for this process, which then ends that one.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, *(path or str(Path.cwd()) for path in sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_ENVIRONMENT | os.environ,
            start_new_session=True,
        )
        self.send(self._settings)

    def send(self, message: object) -> None:
        pipe = self._pipe("stdin")
        try:
            pickle.dump(message, pipe, _PROTOCOL)
            pipe.flush()
        except OSError:  # a broken pipe
            while True:
                self.receive()  # which says why

    def receive(self) -> tuple[list[NDArray[Any]], float]:
        """The alphas of a batch, and how many seconds they took.

        Raises:
            ModelError: what the stage raises; or the process has ended.
        """
        try:
            answer = pickle.load(self._pipe("stdout"))
        except (EOFError, pickle.UnpicklingError) as error:
            assert self._process is not None
            code = self._process.wait()
            reason = f"was stopped by signal {-code}" if code < 0 else f"ended with code {code}"
            raise ModelError(
                f"a process that computes mattes {reason}: the system may have run out of memory; close other "
                "programs, or make the clip smaller"
            ) from error
        if isinstance(answer, _Failure):
            raise answer.error from RuntimeError(answer.traceback)
        alphas, seconds, self.fallbacks, self.peak_bytes = answer
        return alphas, seconds

    def end(self) -> None:
        """At once, if it has been started."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(OSError):  # what was still to be sent
                    pipe.close()
            process.wait()

    def _pipe(self, name: str) -> IO[bytes]:
        pipe: IO[bytes] | None = getattr(self._process, name)
        assert pipe is not None
        return pipe


@dataclass(frozen=True)
class _Failure:
    """An answer: it went wrong."""

    error: Exception
    traceback: str

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        text = "".join(format_exception(error))
        try:
            return cls(pickle.loads(pickle.dumps(error)), text)
        except Exception:  # noqa: BLE001 - an exception may hold anything
            return cls(RuntimeError(f"{type(error).__name__}: {error}"), text)


def workers_worth(height: int, width: int, batch: int) -> int:
    """How many processes serve a run on this machine's CPU, by its cores and its free memory; 0 where none does."""
    free = free_bytes()
    need = _MEMORY + batch * height * width * _MEMORY_PIXEL
    fit = _MOST if free is None else free // (2 * need)  # half of it is left to the other stages
    return min(_MOST, cores(), fit) if cores() > 1 and _can_start_python() else 0


def _can_start_python() -> bool:
    """Whether another Python can be started beside this one: not from within programs that hold Python inside."""
    name = Path(sys.executable or "").stem.lower()
    return name.startswith("python") and not getattr(sys, "frozen", False)


def serve() -> None:
    """Compute mattes of the batches that come in on standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = (os.fdopen(os.dup(number), mode) for number, mode in ((0, "rb"), (1, "wb")))
    os.dup2(2, 1)  # what libraries print does not get in between
    try:
        stage = open_matting(**pickle.load(requests))
        with Threads() as threads:
            # All that can be on its way has room: who sends never waits for what is computed. And what is computed
            # never waits for who receives.
            batches = threads.boundary(_batches(requests), depth=2)
            for answer in threads.boundary(_answers(stage, batches), depth=2):
                pickle.dump(answer, answers, _PROTOCOL)
                answers.flush()
    except (EOFError, BrokenPipeError):
        pass  # whoever asked is gone
    except Exception as error:  # noqa: BLE001 - told to whoever asked
        with suppress(BrokenPipeError):
            pickle.dump(_Failure.of(error), answers, _PROTOCOL)
            answers.flush()
    finally:
        os._exit(0)  # nothing is left to be written, and a pipe that is broken would be complained of


def _batches(requests: IO[bytes]) -> Iterator[list[TrimapFrame]]:
    while True:
        yield [_unpacked(arrays) for arrays in pickle.load(requests)]


def _answers(stage: MattingStage, batches: Iterator[list[TrimapFrame]]) -> Iterator[object]:
    for batch in batches:
        started = time.perf_counter()
        try:
            alphas = [matte.alpha.numpy() for matte in stage(iter(batch))]
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            yield _Failure.of(error)
            return
        seconds = time.perf_counter() - started
        yield alphas, seconds, list(getattr(stage, "fallbacks", ())), peak_memory_bytes() or 0


def _packed(item: TrimapFrame) -> list[NDArray[Any]]:
    """What a matting needs of a frame."""
    tensors = [item.frame.rgb, item.trimap] + ([] if item.background is None else [item.background])
    return [tensor.contiguous().numpy() for tensor in tensors]


def _unpacked(arrays: list[NDArray[Any]]) -> TrimapFrame:
    rgb, trimap, *plate = map(torch.from_numpy, arrays)
    return TrimapFrame(Frame(0, 0, Fraction(1), rgb), trimap, "key", background=plate[0] if plate else None)
