"""The command line. Each command is a dataclass; its flags and help are made from the fields by tyro.

Nothing heavy is imported before a command runs, so that ``videomatte --help`` answers at once.
"""

from __future__ import annotations

import itertools
import json
import logging
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import tyro

from videomatte.config import GreenscreenSettings, MatteSettings, TrimapSettings, preset_values
from videomatte.errors import VideomatteError
from videomatte.training.settings import TrainSettings

__all__ = ["main", "parse"]


S = TypeVar("S")
Repeatable = tyro.conf.UseAppendAction[tyro.conf.OmitArgPrefixes[S]]
"""Settings whose flags stand for themselves; those that hold several values are given once for each."""


class Command(Protocol):
    """What every command can do."""

    debug: bool

    def run(self) -> None:
        """Do it, print what people want to know on standard output."""
        ...


@dataclass(kw_only=True)
class _Base:
    debug: bool = False
    """Show the whole traceback of an error."""


@dataclass(kw_only=True)
class Matte(_Base):
    """Take the subject out of a clip: alpha video with sound, hair and motion blur."""

    clip: tyro.conf.Positional[Path]
    """The clip: a movie, an image, a folder of images or a pattern such as shot.%04d.exr."""
    output: Annotated[tyro.conf.UseAppendAction[list[str]], tyro.conf.arg(aliases=["-o"])]
    """Where the matte goes: .mov is ProRes 4444, .webm VP9 with alpha, .png one picture, frames/ a PNG sequence. Words
    in front say what it holds (both, foreground, alpha, composite) and its format by name: alpha:matte.mp4,
    foreground,prores4444-fast:fg.mov. Several outputs are written in one pass."""
    settings: Repeatable[MatteSettings] = field(default_factory=MatteSettings)
    """Each can also stand in a preset file."""
    preset: str | None = None
    """Name of a shipped preset, or path of a YAML file with one setting a line. Flags win over it."""
    report: Path | None = None
    """Write what the run did as JSON."""
    quiet: bool = False
    """No progress, no summary."""

    def run(self) -> None:
        """Run the pipeline and print its summary."""
        from pipelines.process_clip import process_clip
        from videomatte.engine.report import summary, write_report

        report = process_clip(self.clip, self.output, self.settings, progress=not self.quiet)
        if self.report:
            write_report(report, self.report)
        if not self.quiet:
            print(summary(report, ", ".join(self.output)))


@dataclass(kw_only=True)
class Greenscreen(_Base):
    """Put a new background behind the subject: a colour, an image or a clip."""

    clip: tyro.conf.Positional[Path]
    """The clip: a movie, an image, a folder of images or a pattern such as shot.%04d.exr."""
    background: str
    """An image, a clip, a colour as #RRGGBB or by name, or transparent."""
    output: Annotated[tyro.conf.UseAppendAction[list[str]], tyro.conf.arg(aliases=["-o"])]
    """Where the composite goes, such as out.mp4. Words in front have it hold something else: -o out.mp4 -o
    both:matte.mov writes the matte in the same pass."""
    settings: Repeatable[GreenscreenSettings] = field(default_factory=GreenscreenSettings)
    """Each can also stand in a preset file."""
    preset: str | None = None
    """Name of a shipped preset (draft, balanced, best), or path of a YAML file with one setting a line. Flags win over
    it."""
    report: Path | None = None
    """Write what the run did as JSON."""
    quiet: bool = False
    """No progress, no summary."""

    def run(self) -> None:
        """Run the pipeline and print its summary."""
        from pipelines.greenscreen import greenscreen
        from videomatte.engine.report import summary, write_report

        report = greenscreen(self.clip, self.background, self.output, self.settings, progress=not self.quiet)
        if self.report:
            write_report(report, self.report)
        if not self.quiet:
            print(summary(report, ", ".join(self.output)))


@dataclass(kw_only=True)
class Trimap(_Base):
    """Write the trimaps that a matte would be made from, and say which frame to paint next."""

    clip: tyro.conf.Positional[Path]
    """The clip: a movie, an image, a folder of images or a pattern such as shot.%04d.exr."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Where the trimaps go, as grey: .mkv is FFV1, a folder a PNG sequence. Where they are carried from keyframes, a
    later run with one more does anew only what that changes."""
    settings: Repeatable[TrimapSettings] = field(default_factory=TrimapSettings)
    """Of where the subject is."""
    overlay: Path | None = None
    """Write a movie, too, that shows the trimaps over the frames."""
    report: Path | None = None
    """Write what the run did as JSON."""
    quiet: bool = False
    """No progress, no summary."""

    def run(self) -> None:
        """Run the pipeline and print its summary."""
        from pipelines.make_trimaps import make_trimaps
        from videomatte.engine.report import summary, write_report

        report = make_trimaps(self.clip, self.output, self.settings, look=self.overlay, progress=not self.quiet)
        if self.report:
            write_report(report, self.report)
        if not self.quiet:
            print(summary(report, self.output))


@dataclass(kw_only=True)
class Info(_Base):
    """Tell what videomatte sees in a clip."""

    clip: tyro.conf.Positional[Path]
    """The clip: a movie, an image, a folder of images or a pattern such as shot.%04d.exr."""
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> None:
        """Print the clip's properties."""
        from videomatte.io import describe, probe

        print(describe(probe(self.clip), as_json=self.json))


@dataclass(kw_only=True)
class Models(_Base):
    """List the models that --model takes: licences, size, where they are found."""

    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> None:
        """Print the registry."""
        from videomatte.models.registry import describe, models

        print(describe(models(), as_json=self.json))


@dataclass(kw_only=True)
class Evaluate(_Base):
    """Measure mattes against true ones: MAD, MSE, SAD, Grad, Conn, dtSSD."""

    predicted: tyro.conf.Positional[Path]
    """Mattes to judge: a movie, an image or a folder; its alpha channel, or its grey where it has none."""
    true: tyro.conf.Positional[Path]
    """The true mattes, as many."""
    trimap: Path | None = None
    """Count only pixels that are unknown in these trimaps."""
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> None:
        """Print the metrics."""
        from pipelines.evaluate import evaluate

        report = evaluate(self.predicted, self.true, self.trimap)
        print(json.dumps(report.to_dict(), indent=2) if self.json else report.table())


@dataclass(kw_only=True)
class Train(_Base):
    """Train the embedded model, or fine-tune any on pictures of your own; goes on where it was stopped."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for weights, checkpoint, log and curves."""
    settings: tyro.conf.OmitArgPrefixes[TrainSettings] = field(default_factory=TrainSettings)
    """Of the run."""
    quiet: bool = False
    """No progress, no summary."""

    def run(self) -> None:
        """Train and print the last measurement."""
        from pipelines.train import train

        report = train(self.settings, self.output, progress=not self.quiet)
        if not self.quiet:
            print(f"{report.weights}: {report.steps} steps")
            print(json.dumps(report.errors, indent=2))


@dataclass(kw_only=True)
class Demo(_Base):
    """Render a clip with known truth, matte it, and leave pictures to look at."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("demo")
    """Folder for the results."""
    quiet: bool = False
    """No progress, no summary."""

    def run(self) -> None:
        """Run the demo and print what it left where."""
        from pipelines.demo import demo

        text = demo(self.output, progress=not self.quiet)
        if not self.quiet:
            print(text)


COMMANDS: dict[str, Callable[..., Command]] = {
    "matte": Matte,
    "greenscreen": Greenscreen,
    "trimap": Trimap,
    "info": Info,
    "models": Models,
    "evaluate": Evaluate,
    "demo": Demo,
    "train": Train,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after ``videomatte``; those of the process where left out.

    Returns:
        0 for success, 1 for a failure, 2 for a wrong call, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if hasattr(signal, "SIGTERM"):
        # A polite kill unwinds like an error, so that nothing half-written stays behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that is no text must not fail for being printed
            stream.reconfigure(errors="backslashreplace")
    # What a stage has to say without failing (a screen that leaves the picture) goes where errors go.
    logging.basicConfig(format="videomatte: %(message)s", level=logging.WARNING)
    try:
        parse(words).run()
    except SystemExit as exit_:  # tyro has printed what is wrong, or the help; or a polite kill
        if hasattr(exit_, "__notes__"):
            print(f"videomatte: {_line(exit_, 'stopped')}", file=sys.stderr)
        return exit_.code if isinstance(exit_.code, int) else 1
    except KeyboardInterrupt as error:
        print(f"videomatte: {_line(error, 'interrupted')}", file=sys.stderr)
        return 130
    except VideomatteError as error:
        if debug:
            traceback.print_exc()
        print(f"videomatte: {_line(error, str(error))}", file=sys.stderr)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last line of defence: people get one line, --debug gets all of it
        if debug:
            traceback.print_exc()
        text = f"internal error, {type(error).__name__}: {error} (--debug shows where)"
        print(f"videomatte: {_line(error, text)}", file=sys.stderr)
        return 1
    return 0


def _line(error: BaseException, text: str) -> str:
    """One line about an error, with what the stages that it passed through have added to it.

    What a file's name holds beside letters (line breaks, commands to a terminal, bytes that are no text) is spelt out.
    """
    line = "; ".join([text, *getattr(error, "__notes__", ())])
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def parse(words: Sequence[str]) -> Command:
    """The command that the words ask for, checked but not run.

    Raises:
        SystemExit: the words are wrong (code 2, what is wrong is printed), or ask for help (code 0).
        UsageError: there is no such preset.
        InputError: the preset's file cannot be understood.
    """
    command: Command = tyro.extras.subcommand_cli_from_dict(COMMANDS, args=_with_preset(list(words)), prog="videomatte")
    return command


def _with_preset(words: list[str]) -> list[str]:
    """The words with the preset's settings put in front of the user's flags, so that one parser checks both."""
    preset = None
    for word, following in itertools.pairwise([*words, ""]):
        if word == "--preset":
            preset = following
        elif word.startswith("--preset="):
            preset = word.partition("=")[2]
    settings = {"matte": MatteSettings, "greenscreen": GreenscreenSettings}.get(words[0] if words else "")
    if preset is None or settings is None:
        return words
    flags: list[str] = []
    for name, value in preset_values(words[0], preset, settings).items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{'' if value else 'no-'}{flag}")
        else:
            flags += [f"--{flag}={one}" for one in (value if isinstance(value, list) else [value])]
    return [words[0], *flags, *words[1:]]


if __name__ == "__main__":
    sys.exit(main())
