"""Clips in and out: the only room that knows PyAV and decord."""

from videomatte.io.describe import describe
from videomatte.io.output import Output
from videomatte.io.sink import open_sink
from videomatte.io.source import open_source, probe
from videomatte.io.tee import open_tee

__all__ = ["Output", "describe", "open_sink", "open_source", "open_tee", "probe"]
