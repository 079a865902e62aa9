"""Trimaps: which pixels are surely subject, which surely background, and which are to be found out."""

from videomatte.trimaps.chroma import ChromaKey
from videomatte.trimaps.files import TrimapFiles

__all__ = ["ChromaKey", "TrimapFiles"]
