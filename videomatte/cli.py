"""The command line. Each command is a dataclass; its flags and help are made from the fields by tyro.

Nothing heavy is imported before a command runs, so that ``videomatte --help`` answers at once.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

import tyro

from videomatte.config import GreenscreenSettings, MatteSettings, TrimapSettings
from videomatte.cores import leave_cores_to_stages
from videomatte.errors import VideomatteError
from videomatte.layers import tuned_preset, with_preset, with_tuned
from videomatte.training.settings import TrainSettings

if TYPE_CHECKING:
    from videomatte.types import RunReport

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
class _Job(_Base):
    clip: tyro.conf.Positional[Path]
    """The clip: a movie, an image, a folder of images or a pattern such as shot.%04d.exr."""
    settings: Repeatable[TrimapSettings]
    report: Path | None = None
    """Write what the run did as JSON."""
    quiet: bool = False
    """No progress, no summary."""
    tuned: tyro.conf.Suppress[Path | None] = None
    """The tuned preset that the settings come from."""

    def _tell(self, report: RunReport, outputs: str) -> None:
        from videomatte.engine.report import summary, write_report

        report = replace(report, tuned=self.tuned)
        if self.report:
            write_report(report, self.report)
        if not self.quiet:
            print(summary(report, outputs))


@dataclass(kw_only=True)
class Matte(_Job):
    """Take the subject out of a clip: alpha video with sound, hair and motion blur."""

    output: Annotated[tyro.conf.UseAppendAction[list[str]], tyro.conf.arg(aliases=["-o"])]
    """Where the matte goes: .mov is ProRes 4444, .webm VP9 with alpha, .png one picture, frames/ a PNG sequence. Words
    in front say what it holds (both, foreground, alpha, composite) and its format by name: alpha:matte.mp4,
    foreground,prores4444-fast:fg.mov. Several outputs are written in one pass."""
    settings: Repeatable[MatteSettings] = field(default_factory=MatteSettings)
    """Each can also stand in a preset file."""
    preset: str | None = None
    """Name of a shipped preset, or path of a YAML file with one setting a line. Flags win over it."""

    def run(self) -> None:
        """Run the pipeline and print its summary."""
        from pipelines.process_clip import process_clip

        report = process_clip(self.clip, self.output, self.settings, progress=not self.quiet)
        self._tell(report, ", ".join(self.output))


@dataclass(kw_only=True)
class Greenscreen(_Job):
    """Put a new background behind the subject: a colour, an image or a clip."""

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

    def run(self) -> None:
        """Run the pipeline and print its summary."""
        from pipelines.greenscreen import greenscreen

        report = greenscreen(self.clip, self.background, self.output, self.settings, progress=not self.quiet)
        self._tell(report, ", ".join(self.output))


@dataclass(kw_only=True)
class Trimap(_Job):
    """Write the trimaps that a matte would be made from, and say which frame to paint next."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Where the trimaps go, as grey: .mkv is FFV1, a folder a PNG sequence. Where they are carried from keyframes, a
    later run with one more does anew only what that changes."""
    settings: Repeatable[TrimapSettings] = field(default_factory=TrimapSettings)
    """Of where the subject is."""
    overlay: Path | None = None
    """Write a movie, too, that shows the trimaps over the frames."""

    def run(self) -> None:
        """Run the pipeline and print its summary."""
        from pipelines.make_trimaps import make_trimaps

        report = make_trimaps(self.clip, self.output, self.settings, look=self.overlay, progress=not self.quiet)
        self._tell(report, str(self.output))


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
class Tune(_Base):
    """Measure what makes clips like this one fastest on this machine, and have later runs use it."""

    clip: tyro.conf.Positional[Path]
    """A clip like those that are to be matted: what is found holds for its size."""
    settings: Repeatable[TrimapSettings] = field(default_factory=TrimapSettings)
    """Of where the subject is."""
    frames: int = 32
    """Frames of the clip to measure on, at most; the more, the surer and the longer."""
    save: Path | None = None
    """Write what was found to this preset file, for --preset, and not where later runs find it by themselves."""
    report: Path | None = None
    """Write all that was measured as JSON."""
    picture: Path | None = None
    """Draw what was measured: frames a second and memory by batch, the stages' shares."""
    quiet: bool = False
    """No progress, no summary."""

    def run(self) -> None:
        """Tune and print what was found."""
        from pipelines.tune_throughput import tune
        from videomatte.engine.tuning import words, write_tuning

        found = tune(self.clip, self.settings, frames=self.frames, save=self.save, progress=not self.quiet)
        if self.report:
            write_tuning(found, self.report)
        if self.picture:
            from videomatte.engine.tuning_picture import draw_tuning

            draw_tuning(found, self.picture)
        if not self.quiet:
            print(words(found))


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
    "tune": Tune,
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
        command = parse(words)
        if isinstance(command, Demo):
            leave_cores_to_stages(MatteSettings.model)
        elif isinstance(command, (_Job, Tune)):
            leave_cores_to_stages(command.settings.model)
        if isinstance(command, _Job) and (tuned := tuned_preset(words[0], command.clip, command.settings)):
            command = parse(words, tuned)
            assert isinstance(command, _Job)
            command.tuned = tuned
        command.run()
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


def parse(words: Sequence[str], tuned: Path | None = None) -> Command:
    """The command that the words ask for, checked but not run.

    Args:
        words: those after ``videomatte``.
        tuned: a preset that stands behind all that the words say.

    Raises:
        SystemExit: the words are wrong (code 2, what is wrong is printed), or ask for help (code 0).
        UsageError: there is no such preset.
        InputError: the preset's file cannot be understood.
    """
    words = with_preset(list(words)) if tuned is None else with_tuned(list(words), tuned)
    command: Command = tyro.extras.subcommand_cli_from_dict(COMMANDS, args=words, prog="videomatte")
    return command


if __name__ == "__main__":
    sys.exit(main())
