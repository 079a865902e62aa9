"""Video matting: clips in, alpha video out, with hair, motion blur and translucency.

Three doors, of rising depth:

    videomatte.matte("clip.mp4", "matte.mov", key="green")          # one call
    videomatte.replace_background("clip.mp4", "beach.jpg", "out.mp4")

    with videomatte.open_source("clip.mp4") as source:              # composed
        with videomatte.open_sink("matte.mov", source.info) as sink:
            for matte in Temporal()(Foreground()(open_matting("embedded")(ChromaKey("green")(source)))):
                sink.write(matte)

and by hand, with the tensor functions of each subpackage.

Names are loaded when first used: ``import videomatte`` alone is quick and imports no decoder and no network.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# Torch's threads spin while they wait, and take the cores that other stages need: on two busy cores a frame took 3 to
# 11 seconds instead of half a one. Read by OpenMP when torch is first imported, so of use only where that comes later.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if TYPE_CHECKING:
    from pipelines.greenscreen import replace_background as replace_background
    from pipelines.process_clip import matte as matte
    from videomatte.config import GreenscreenSettings as GreenscreenSettings, MatteSettings as MatteSettings
    from videomatte.errors import (
        InputError as InputError,
        ModelError as ModelError,
        OutputError as OutputError,
        UsageError as UsageError,
        VideomatteError as VideomatteError,
    )
    from videomatte.io import open_sink as open_sink, open_source as open_source, probe as probe
    from videomatte.models.load import load_model as load_model
    from videomatte.types import (
        ClipInfo as ClipInfo,
        Frame as Frame,
        MatteFrame as MatteFrame,
        RunReport as RunReport,
        TrimapFrame as TrimapFrame,
    )

_HOMES = {
    "ClipInfo": "videomatte.types",
    "Frame": "videomatte.types",
    "GreenscreenSettings": "videomatte.config",
    "InputError": "videomatte.errors",
    "MatteFrame": "videomatte.types",
    "MatteSettings": "videomatte.config",
    "ModelError": "videomatte.errors",
    "OutputError": "videomatte.errors",
    "RunReport": "videomatte.types",
    "TrimapFrame": "videomatte.types",
    "UsageError": "videomatte.errors",
    "VideomatteError": "videomatte.errors",
    "load_model": "videomatte.models.load",
    "matte": "pipelines.process_clip",
    "open_sink": "videomatte.io",
    "open_source": "videomatte.io",
    "probe": "videomatte.io",
    "replace_background": "pipelines.greenscreen",
}
"""Where each public name lives."""

__all__ = sorted(_HOMES)  # noqa: PLE0605 - one list of names, not two to keep alike


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'videomatte' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
