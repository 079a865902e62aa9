"""Several outputs of one run: every matte goes to each of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from videomatte.io.output import Output, check_apart
from videomatte.io.sink import open_sink
from videomatte.types import ClipInfo, MatteFrame, Sink

__all__ = ["Tee", "open_tee"]


def open_tee(
    outputs: Sequence[Output],
    info: ClipInfo,
    *,
    overwrite: bool = False,
    premultiplied: bool = False,
    audio: bool = True,
) -> Tee:
    """One sink that writes all the outputs. Nothing is made before it is entered.

    Args:
        outputs: each with what it holds.
        info: the clip the mattes come from.
        overwrite: whether existing outputs may be replaced.
        premultiplied: write colour times alpha, in those outputs that hold both.
        audio: carry the clip's sound into the movies.

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
            )
            for output in outputs
        ]
    )


class Tee:
    """Sinks as one sink: each is published whole or not at all, and none where one of them fails before its end."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._stack = ExitStack()

    @property
    def notes(self) -> list[str]:
        """The notes of all, complete once it is left."""
        return [note for sink in self._sinks for note in sink.notes]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.enter_context(sink)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, matte: MatteFrame) -> None:
        """Give the next frame to each."""
        for sink in self._sinks:
            sink.write(matte)
