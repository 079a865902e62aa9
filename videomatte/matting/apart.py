"""A matting stage in a process of its own, so that the other stages do not take turns with it at Python's interpreter.

    with MattingApart("embedded") as matting:
        mattes = matting(trimap_frames)

On a CPU a frame of the embedded model is some ten thousand short operations. Beside threads that are made of short
operations, too, each of them waits for the interpreter now and then, and takes a fifth longer for it; in a process of
its own the model is as fast as by itself. What it costs is a second copy of torch in memory, and the time to start one.

Frames go there through a pipe, and mattes come back through another: some ten milliseconds a frame of 1280×720, and no
shared memory, of which containers have little.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from traceback import format_exception
from types import TracebackType
from typing import IO, Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor

from videomatte.cores import one_core_serves
from videomatte.engine import Clock, Threads
from videomatte.engine.memory import peak_memory_bytes
from videomatte.errors import ModelError
from videomatte.matting import open_matting
from videomatte.types import Frame, MatteFrame, MattingStage, TrimapFrame

__all__ = ["MattingApart", "can_start_python", "serve"]

_START = "import sys; sys.path[:] = sys.argv[1:]; from videomatte.matting.apart import serve; serve()"
_PROTOCOL = 5
"""Of pickle: the first that does not copy arrays."""


class MattingApart:
    """Does what the stage of :func:`videomatte.matting.open_matting` does, with the same result. A context manager.

    A batch is on its way there while another one is computed.

    Args:
        model: as for `open_matting`.
        batch: the same.
        clock: is told how long the model took, as the stage ``matte``.
        options: further arguments of `open_matting`.
    """

    def __init__(self, model: str, batch: int = 1, *, clock: Clock | None = None, **options: object) -> None:
        self._model = model
        self._batch = batch
        self._clock = clock or Clock()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.fallbacks: list[str] = []
        """What had to be done otherwise than asked, one sentence each; complete when the frames have ended."""
        self.peak_bytes = 0
        """Largest resident set of the process, when the frames have ended."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def __call__(self, frames: Iterator[TrimapFrame]) -> Iterator[MatteFrame]:
        """One matte for each, in order. The first stream of frames starts the process; one that is left before its end
        ends it.

        Raises:
            ModelError: what the stage raises; or the process has ended before its time.
        """
        there: deque[TrimapFrame] = deque()
        if self._process is None:
            self._start()
        try:
            for item in frames:
                self._send(_packed(item))
                there.append(item)
                if len(there) > self._batch:
                    yield MatteFrame(there.popleft(), self._alpha())
            self._send(None)
            while there:
                yield MatteFrame(there.popleft(), self._alpha())
            self.fallbacks, self.peak_bytes, stages = self._receive()
        except BaseException:
            self._end()  # what it still answers belongs to nobody
            raise
        for stage in stages:
            self._clock.add(stage.name, stage.seconds)

    def _start(self) -> None:
        # In a session of its own: Ctrl-C is for this process, which then ends that one.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, *(path or str(Path.cwd()) for path in sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=({"OMP_NUM_THREADS": "1"} if one_core_serves(self._model) else {}) | os.environ,
            start_new_session=True,
        )
        self._send({"model": self._model, "batch": self._batch, **self._options})

    def _alpha(self) -> Tensor:
        with self._clock.span(None):  # the time that counts is told in the end
            return torch.from_numpy(self._receive())

    def _send(self, message: object) -> None:
        pipe = self._pipe("stdin")
        try:
            pickle.dump(message, pipe, _PROTOCOL)
            pipe.flush()
        except OSError:  # a broken pipe
            while True:
                self._receive()  # which says why

    def _receive(self) -> Any:
        try:
            message = pickle.load(self._pipe("stdout"))
        except (EOFError, pickle.UnpicklingError) as error:
            assert self._process is not None
            code = self._process.wait()
            reason = f"was stopped by signal {-code}" if code < 0 else f"ended with code {code}"
            raise ModelError(
                f"the process that computes mattes {reason}: the system may have run out of memory; close other "
                "programs, or make the clip smaller"
            ) from error
        if isinstance(message, _Failure):
            raise message.error from RuntimeError(message.traceback)
        return message

    def _pipe(self, name: str) -> IO[bytes]:
        pipe: IO[bytes] | None = getattr(self._process, name)
        assert pipe is not None
        return pipe

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(OSError):  # what was still to be sent
                    pipe.close()
            process.wait()


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


def can_start_python() -> bool:
    """Whether another Python can be started beside this one: not from within programs that hold Python inside."""
    name = Path(sys.executable or "").stem.lower()
    return name.startswith("python") and not getattr(sys, "frozen", False)


def serve() -> None:
    """Compute mattes of the frames that come in on standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = (os.fdopen(os.dup(number), mode) for number, mode in ((0, "rb"), (1, "wb")))
    os.dup2(2, 1)  # what libraries print does not get in between
    try:
        settings = pickle.load(requests)
        stage = open_matting(**settings)
        while True:
            _serve(stage, settings["batch"], requests, answers)
    except (EOFError, BrokenPipeError):
        pass  # whoever asked is gone
    except Exception as error:  # noqa: BLE001 - told to whoever asked
        with suppress(BrokenPipeError):
            _tell(answers, _Failure.of(error))
    finally:
        os._exit(0)  # nothing is left to be written, and a pipe that is broken would be complained of


def _serve(stage: MattingStage, batch: int, requests: IO[bytes], answers: IO[bytes]) -> None:
    """The frames of one stream."""
    clock = Clock()
    with Threads() as threads:
        # All that can be on its way has room: who sends never waits for what is computed.
        frames = threads.boundary(_received(requests), depth=batch + 1)
        try:
            for matte in clock.stage("matte", stage(clock.stage(None, frames))):
                _tell(answers, matte.alpha.numpy())
        except Exception as error:
            # Before the thread is waited for, which waits for frames.
            _tell(answers, _Failure.of(error))
            raise EOFError from error
        _tell(answers, (list(getattr(stage, "fallbacks", ())), peak_memory_bytes() or 0, clock.report()))


def _received(requests: IO[bytes]) -> Iterator[TrimapFrame]:
    """The frames of one stream."""
    while (message := pickle.load(requests)) is not None:
        rgb, trimap, *plate = map(torch.from_numpy, message)
        yield TrimapFrame(Frame(0, 0, Fraction(1), rgb), trimap, "key", background=plate[0] if plate else None)


def _packed(item: TrimapFrame) -> list[NDArray[Any]]:
    """What a matting needs of a frame."""
    tensors = [item.frame.rgb, item.trimap] + ([] if item.background is None else [item.background])
    return [tensor.contiguous().numpy() for tensor in tensors]


def _tell(answers: IO[bytes], message: object) -> None:
    pickle.dump(message, answers, _PROTOCOL)
    answers.flush()
