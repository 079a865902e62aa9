"""An output as people write it: ``matte.mov``, ``alpha:matte.mp4``, ``composite,hevc:over.mp4``."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast, get_args

from videomatte.errors import UsageError
from videomatte.io.formats import FORMATS, Holding

__all__ = ["Output", "check_apart"]

_PREFIX = re.compile(r"([a-z0-9,-]{2,}):(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Output:
    """Where one of the outputs of a run goes, and what it holds."""

    path: str
    """As typed: a slash at its end makes it a folder."""
    content: Holding = "both"
    """What it holds."""
    format: str | None = None
    """Name of a row of the table of formats; without it the extension chooses."""

    @classmethod
    def parse(cls, text: str | Path, *, content: Holding = "both", format: str | None = None) -> Self:  # noqa: A002
        """An output from what people write: a path, with what it holds and its format in front where need be.

        Args:
            text: ``[WORD[,WORD]:]PATH``. A word is both, foreground, alpha or composite, or the name of a format.
                A file whose own name begins like that is written with ``./`` in front.
            content: what it holds where no word says so.
            format: its format where no word says so.

        Raises:
            UsageError: a word is none of these, or two of them say the same thing twice.
        """
        match = _PREFIX.fullmatch(str(text))
        if not match:
            return cls(str(text), content, format)
        contents, formats = get_args(Holding), [f.name for f in FORMATS]
        words = match[1].split(",")
        known = [word for word in words if word in contents or word in formats]
        for word in words:
            if word not in known:
                close = difflib.get_close_matches(word, [*contents, *formats], n=1, cutoff=0.7)
                if not known and not close:
                    return cls(str(text), content, format)  # a name with a colon in it
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join([*contents, *formats])}"
                raise UsageError(f"{text}: {word!r} is neither a content nor a format: {hint}")
        said = [w for w in words if w in contents], [w for w in words if w in formats]
        if max(len(part) for part in said) > 1:
            raise UsageError(f"{text}: one content and one format at most")
        return cls(match[2], cast("Holding", said[0][0]) if said[0] else content, said[1][0] if said[1] else format)


def check_apart(outputs: Sequence[Output]) -> None:
    """Refuse outputs that would overwrite each other.

    Raises:
        UsageError: none is given, two have one name, or one lies in another's folder.
    """
    if not outputs:
        raise UsageError("no output is given: name one with -o")
    places = [Path(os.path.normcase(os.path.realpath(output.path))) for output in outputs]
    for number, place in enumerate(places):
        for other, output in zip(places[:number], outputs, strict=False):
            if place == other:
                raise UsageError(f"{outputs[number].path}: is given twice: each output needs a name of its own")
            if other in place.parents or place in other.parents:
                inner, outer = (outputs[number], output) if other in place.parents else (output, outputs[number])
                raise UsageError(f"{inner.path}: lies in {outer.path}, another output: choose another folder")
