"""How much memory there is, and how much the process has taken."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import torch

__all__ = ["PeakMemory", "free_bytes", "peak_memory_bytes", "resident_bytes"]

_CGROUP = Path("/sys/fs/cgroup")
_STATUS = Path("/proc/self/status")


def peak_memory_bytes() -> int | None:
    """Largest resident set of this process so far, in bytes; ``None`` where the system does not tell (Windows)."""
    # Before getrusage: on Linux that begins with what the process that started this one had taken by then.
    if (peak := _status("VmHWM")) is not None:
        return peak
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def resident_bytes() -> int | None:
    """Resident set of this process now, in bytes; ``None`` where it is not told (other than on Linux)."""
    return _status("VmRSS")


def free_bytes() -> int | None:
    """Memory of the machine that a process can still have, in bytes, its container's limit counted; ``None`` where it
    is not told (other than on Linux)."""
    known = []
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        known.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with suppress(OSError, ValueError):  # "max" is no number: then there is no limit
        limit = int((_CGROUP / "memory.max").read_text())
        known.append(max(0, limit - int((_CGROUP / "memory.current").read_text())))
    return min(known, default=None)


class PeakMemory:
    """Measures the most memory that the block took beyond what was taken before it.

    On CUDA what tensors take there, else the resident set of the process. ``bytes`` is ``None`` where the system does
    not tell (a CPU's memory other than on Linux).
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.bytes: int | None = None

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)
            self._before: int | None = torch.cuda.memory_allocated(self._device)
        else:
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # has the kernel count the peak anew
            self._before = resident_bytes()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._device.type == "cuda":
            import torch

            peak: int | None = torch.cuda.max_memory_allocated(self._device)
        else:
            peak = _status("VmHWM")
        if peak is not None and self._before is not None:
            self.bytes = peak - self._before


def _status(name: str) -> int | None:
    with suppress(OSError, StopIteration):
        lines = _STATUS.read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])  # in kB
    return None
