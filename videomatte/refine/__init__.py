"""What follows the matte: the subject's own colour without the background's, and calm over time."""

from videomatte.refine.stage import Foreground
from videomatte.refine.temporal import LEAD, Temporal

__all__ = ["LEAD", "Foreground", "Temporal"]
