"""What a pipeline is run with: thread boundaries, shared cores, the clock, memory."""

from videomatte.engine.clock import Clock
from videomatte.engine.cores import cores_shared
from videomatte.engine.memory import peak_memory_bytes
from videomatte.engine.threads import Threads

__all__ = ["Clock", "Threads", "cores_shared", "peak_memory_bytes"]
