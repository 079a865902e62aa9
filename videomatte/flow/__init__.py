"""Dense optical flow: estimated, followed, doubted; and the cuts it must not cross."""

from videomatte.flow.consistency import flow_confidence
from videomatte.flow.cuts import continuity, is_cut
from videomatte.flow.estimate import WORKING_SIDE, estimate_both_flows, estimate_flow
from videomatte.flow.warp import lands_inside, resize_flow, warp, warp_at

__all__ = [
    "WORKING_SIDE",
    "continuity",
    "estimate_both_flows",
    "estimate_flow",
    "flow_confidence",
    "is_cut",
    "lands_inside",
    "resize_flow",
    "warp",
    "warp_at",
]
