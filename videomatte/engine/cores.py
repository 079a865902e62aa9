"""Torch's own threads, beside the threads of the line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from videomatte.types import MattingStage

__all__ = ["cores_shared"]

_AT_ONCE = 3
"""Stages of the line that compute at the same time: trimaps, mattes, and what refines them."""


@contextmanager
def cores_shared(matting: MattingStage) -> Iterator[None]:
    """While it lasts each stage's loops have a part of the cores, so that stages do not wait for one another's.

    Many small loops cost more to share out among threads than that gains: on two cores the embedded model took 1.4 s a
    frame of 1280×720 with two threads and 1.0 s with one, and whole runs took a sixth less.

    In threads other than the main one nothing is changed, for torch's number of threads must be left alone there (see
    :mod:`videomatte.engine.threads`).

    Args:
        matting: the line's; one with a true ``wants_all_cores`` gets them all.
    """
    before = torch.get_num_threads()
    if getattr(matting, "wants_all_cores", False) or threading.current_thread() is not threading.main_thread():
        yield
        return
    torch.set_num_threads(max(1, before // _AT_ONCE))
    try:
        yield
    finally:
        torch.set_num_threads(before)
