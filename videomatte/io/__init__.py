"""Clips in and out: the only room that knows PyAV and decord."""

from videomatte.io.describe import describe
from videomatte.io.sink import open_sink
from videomatte.io.source import open_source, probe

__all__ = ["describe", "open_sink", "open_source", "probe"]
