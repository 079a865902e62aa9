"""Trimaps: which pixels are surely subject, which surely background, and which are to be found out."""

from videomatte.trimaps.chroma import ChromaKey
from videomatte.trimaps.files import TrimapFiles
from videomatte.trimaps.holdout import Holdout
from videomatte.trimaps.masks import Masks
from videomatte.trimaps.plate import CleanPlate
from videomatte.trimaps.propagate import Propagate

__all__ = ["ChromaKey", "CleanPlate", "Holdout", "Masks", "Propagate", "TrimapFiles"]
