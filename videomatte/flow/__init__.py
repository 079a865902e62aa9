"""Dense optical flow: estimated, followed, doubted; and the cuts it must not cross."""

from videomatte.flow.consistency import flow_confidence
from videomatte.flow.cuts import continuity, is_cut
from videomatte.flow.description import WORKING_SIDE, Described, describe
from videomatte.flow.estimate import estimate_both_flows, estimate_flow
from videomatte.flow.warp import Readable, lands_inside, read_at, resize_flow, warp

__all__ = [
    "WORKING_SIDE",
    "Described",
    "Readable",
    "continuity",
    "describe",
    "estimate_both_flows",
    "estimate_flow",
    "flow_confidence",
    "is_cut",
    "lands_inside",
    "read_at",
    "resize_flow",
    "warp",
]
