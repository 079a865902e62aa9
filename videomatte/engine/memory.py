"""How much memory the process has taken."""

from __future__ import annotations

import sys

__all__ = ["peak_memory_bytes"]


def peak_memory_bytes() -> int | None:
    """Largest resident set of this process so far, in bytes; ``None`` where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
