"""Finding a fast setting among many by measurement, without measuring all of them for long.

Successive halving: all candidates on a few frames, the better half again on twice as many, and so on. Between the last
rival and the default a duel decides: both in turn, round by round, and the default stays unless it is beaten by more
than the rounds differ.

Sources: Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016;
Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR 2018.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Duel", "Trial", "duel", "successive_halving"]

C = TypeVar("C")


@dataclass(frozen=True)
class Trial(Generic[C]):
    """What was measured of a candidate in one round."""

    candidate: C
    """What was measured."""
    frames: int
    """Frames of each measurement."""
    seconds: tuple[float, ...]
    """Seconds a frame, measurement by measurement; infinite where it failed."""

    @property
    def median(self) -> float:
        """Seconds a frame."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """How far the measurements lie apart, as a share of their median."""
        return (max(self.seconds) - min(self.seconds)) / self.median if math.isfinite(self.median) else 0.0


@dataclass(frozen=True)
class Duel(Generic[C]):
    """A rival measured against the default, in turn."""

    default: Trial[C]
    """What is used if nothing is better."""
    rival: Trial[C]
    """What was best otherwise."""

    @property
    def gains(self) -> tuple[float, ...]:
        """How many times as fast as the default the rival was, round against round."""
        pairs = zip(self.default.seconds, self.rival.seconds, strict=True)
        return tuple(a / b if math.isfinite(b) else 0.0 for a, b in pairs)

    @property
    def gain(self) -> float:
        """The gains' median."""
        return statistics.median(self.gains)

    @property
    def won(self) -> bool:
        """Whether the rival gains more than the rounds differ: even in its worst round it is the faster one."""
        return min(self.gains) > 1

    @property
    def chosen(self) -> C:
        """The rival if it won, else the default."""
        return self.rival.candidate if self.won else self.default.candidate


def successive_halving(
    candidates: Sequence[C],
    measure: Callable[[C, int], float],
    *,
    first: int,
    last: int,
    repeats: int = 2,
) -> tuple[list[Trial[C]], C | None]:
    """Halve candidates until one is left beside the default.

    Args:
        candidates: without duplicates. The first is the default and is measured to the end.
        measure: seconds a frame of a candidate over a number of frames; infinite where it cannot run.
        first: frames of the first round; each round doubles them.
        last: most frames of a measurement.
        repeats: measurements of each candidate in a round, all candidates in turn so that what else the machine does
            falls on all alike.

    Returns:
        All trials, round by round, and the rival: what is left beside the default, ``None`` where nothing else runs.
        Of two candidates nothing is measured.
    """
    default, rivals, frames = candidates[0], list(candidates[1:]), first
    trials: list[Trial[C]] = []
    while len(rivals) > 1:
        seconds: dict[C, list[float]] = {candidate: [] for candidate in (default, *rivals)}
        for _ in range(repeats):
            for candidate, values in seconds.items():
                values.append(measure(candidate, frames))
        ranked = sorted(
            (Trial(candidate, frames, tuple(values)) for candidate, values in seconds.items()),
            key=lambda trial: trial.median,
        )
        trials += ranked
        better = [trial.candidate for trial in ranked if trial.candidate != default and math.isfinite(trial.median)]
        rivals = better[: len(rivals) // 2]
        frames = min(last, 2 * frames)
    return trials, rivals[0] if rivals else None


def duel(default: C, rival: C, measure: Callable[[C, int], float], *, frames: int, rounds: int = 5) -> Duel[C]:
    """Measure two in turn. Of two that are equally fast the rival wins one duel in two to the power of the rounds."""
    seconds: dict[C, list[float]] = {default: [], rival: []}
    for turn in range(rounds):
        for candidate in (default, rival) if turn % 2 else (rival, default):
            seconds[candidate].append(measure(candidate, frames))
    return Duel(*(Trial(candidate, frames, tuple(seconds[candidate])) for candidate in (default, rival)))
