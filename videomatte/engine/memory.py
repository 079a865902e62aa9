"""How much memory the process has taken."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["peak_memory_bytes"]

_STATUS = Path("/proc/self/status")


def peak_memory_bytes() -> int | None:
    """Largest resident set of this process so far, in bytes; ``None`` where the system does not tell (Windows)."""
    # Before getrusage: on Linux that begins with what the process that started this one had taken by then.
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024  # "VmHWM:    123456 kB"
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
