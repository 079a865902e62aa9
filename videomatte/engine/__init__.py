"""What a pipeline is run with: thread boundaries, the clock, memory."""

from videomatte.engine.clock import Clock
from videomatte.engine.memory import peak_memory_bytes
from videomatte.engine.threads import Threads

__all__ = ["Clock", "Threads", "peak_memory_bytes"]
