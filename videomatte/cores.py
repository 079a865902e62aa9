"""How many cores one computation gets where several stages share few of them."""

import os
import sys

__all__ = ["IN_SMALL_STEPS", "cores", "leave_cores_to_stages"]

FEW = 4
"""Cores up to which the stages of a run keep all of them busy, one each."""
IN_SMALL_STEPS = ("embedded", "laplacian")
"""Models that are made of thousands of small steps. Split between threads, each step waits for the slowest: on two
cores the embedded model took 1.4 s for a frame of 1280×720 with two threads and 0.9 s with one, and whole runs took a
fifth more. ViTMatte's few large products gain by every core."""


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def leave_cores_to_stages(model: str) -> None:
    """Have torch work on one core at a time, if that serves a run of a model on this machine.

    Of use before torch is first imported, and where the user has not said how many threads OpenMP shall take.

    Args:
        model: its name, or the path of a checkpoint.
    """
    if model in IN_SMALL_STEPS and cores() <= FEW and "torch" not in sys.modules:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
