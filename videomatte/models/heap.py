"""Memory that is freed goes back to the system."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["give_back_freed_memory"]

_M_MMAP_THRESHOLD = -3
"""glibc's number for that limit, from malloc.h."""


def give_back_freed_memory(above: int = 2**20) -> bool:
    """Keep glibc from holding on to large freed blocks, for the rest of the process.

    By itself glibc raises its limit for blocks that are mapped one by one to the largest that was ever freed, up to
    32 MiB, and puts what is smaller on a heap that can only shrink from its end: a network that takes and frees
    tensors of many sizes then leaves several times what it uses at a time. Setting the limit, to whatever value, ends
    that (mallopt(3)).

    Args:
        above: allocations of at least so many bytes are mapped from the system one by one, and unmapped when they are
            freed. Each such one costs time: with 1 MiB the stages of a run on 1280×720 take two thirds more, with
            8 MiB a quarter; but a network of many layers then keeps up to four times what it uses.

    Returns:
        Whether there was something to set: only where the C library is glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, above))
