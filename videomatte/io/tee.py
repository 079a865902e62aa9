"""Several outputs of one run: every matte goes to each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from videomatte.engine.clock import Clock
from videomatte.io.audio import Soundtrack
from videomatte.io.file_sink import FileSink
from videomatte.io.output import Output, check_apart
from videomatte.io.sink import open_sink
from videomatte.types import ClipInfo, MatteFrame

__all__ = ["Tee", "open_tee"]


def open_tee(
    outputs: Sequence[Output],
    info: ClipInfo,
    *,
    overwrite: bool = False,
    premultiplied: bool = False,
    audio: bool = True,
    soundtrack: Soundtrack | None = None,
    verify: bool = True,
    job: Mapping[str, object] | None = None,
    batch: int = 1,
    threads: int = 0,
    clock: Clock | None = None,
) -> Tee:
    """One sink that writes all the outputs. Nothing is made before it is entered.

    Args:
        outputs: each with what it holds.
        info: the clip the mattes come from.
        overwrite: whether existing outputs may be replaced.
        premultiplied: write colour times alpha, in those outputs that hold both.
        audio: carry the clip's sound into the movies.
        soundtrack: sound to carry instead of the clip's own.
        verify, job, batch, threads, clock: as for `open_sink`.

    Raises:
        UsageError: two outputs are one, or a single one cannot be what it is asked to be.
        OutputError: an output cannot be made where it is to go.
    """
    check_apart(outputs)
    holds_both = any(output.content == "both" for output in outputs)
    return Tee(
        [
            open_sink(
                output.path,
                info,
                format=output.format,
                overwrite=overwrite,
                content=output.content,
                premultiplied=premultiplied and (output.content == "both" or not holds_both),
                audio=audio,
                soundtrack=soundtrack,
                verify=verify,
                job=job,
                batch=batch,
                threads=threads,
                clock=clock,
            )
            for output in outputs
        ]
    )


class Tee:
    """Sinks as one sink: each is published whole or not at all, and none where one of them fails before its end."""

    def __init__(self, sinks: Sequence[FileSink]) -> None:
        self._sinks = sinks

    @property
    def resume_at(self) -> int | None:
        """Number of the first frame that any of them lacks, or ``None`` where all have all."""
        lacking = [sink.resume_at for sink in self._sinks if sink.resume_at is not None]
        return min(lacking, default=None)

    @property
    def finished(self) -> int:
        """Frames that all of them have."""
        return min(sink.finished for sink in self._sinks)

    @property
    def can_go_on(self) -> bool:
        """Whether a later run will find all of what is finished."""
        return all(sink.can_go_on for sink in self._sinks)

    @property
    def notes(self) -> list[str]:
        """The notes of all, complete once it is left."""
        return [note for sink in self._sinks for note in sink.notes]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.enter_context(sink)
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.complete()
        except BaseException as failed:
            self._close(failed)
            raise
        self._close(error)

    def complete(self) -> None:
        """Finish all but the names of all: no output is published before every one of them is whole."""
        for sink in self._sinks:
            sink.complete()

    def write(self, matte: MatteFrame) -> None:
        """Give the next frame to each."""
        for sink in self._sinks:
            sink.write(matte)

    def _close(self, error: BaseException | None) -> None:
        stack = ExitStack()  # leaves every one of them, whatever happens to another
        for sink in reversed(self._sinks):
            stack.push(sink)
        stack.__exit__(None if error is None else type(error), error, None if error is None else error.__traceback__)
        if error is not None and self.can_go_on:
            where = "to its end" if self.resume_at is None else f"from frame {self.resume_at}"
            error.add_note(f"the same command goes on {where}")
