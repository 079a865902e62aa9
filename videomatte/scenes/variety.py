"""Scenes unlike one another: settings drawn at random over everything a scene can vary."""

from fractions import Fraction

import numpy as np

from videomatte.scenes.noise import stream
from videomatte.scenes.scene import SceneSettings

__all__ = ["random_scene"]


def random_scene(seed: int, width: int, height: int, frames: int) -> SceneSettings:
    """Settings drawn for training and benchmarks: half over places, half over screens; tripods and hand cameras; studio
    and cellar; hair more often than anything else, for it is what matting is about.

    Args:
        seed: the scene's seed; the draw hangs on it alone, not on the size.
        width: columns.
        height: rows.
        frames: number of frames.
    """
    rng = stream(seed, "settings")
    moving = rng.random() < 0.5
    handheld = rng.random() < 0.35
    # Close-ups to half-length shots. The canvas of a subject ends one frame height below its head, so small subjects
    # stand lower.
    size = float(np.exp(rng.uniform(np.log(0.8), np.log(1.7))))
    centre_v = float(rng.uniform(-0.14, 0.04)) + 0.10 * (size - 1)
    reach = max(0.0, width / height / 2 - 0.35 * size)
    return SceneSettings(
        width=width,
        height=height,
        frames=frames,
        rate=Fraction(int(rng.choice([24, 25, 30]))),
        seed=seed,
        subject=str(rng.choice(["hair", "fur", "soft", "veil"], p=[0.48, 0.24, 0.12, 0.16])),  # type: ignore[arg-type]
        backdrop=str(rng.choice(["place", "green", "blue"], p=[0.5, 0.34, 0.16])),  # type: ignore[arg-type]
        light=float(rng.choice([1.0, rng.uniform(0.3, 1.0)])),
        centre=(float(rng.uniform(-1, 1)) * min(reach, 0.45), centre_v),
        size=size,
        motion=float(rng.uniform(0.2, 1.2)),
        gesture=float(rng.choice([0.0, 0.0, rng.uniform(0.5, 1.5)])),
        camera=float(rng.uniform(0.1, 1.0)) if moving else 0.0,
        shake=float(rng.uniform(0.1, 1.0)) if handheld else 0.0,
        shutter=float(rng.choice([0.25, 0.5, 0.5, 0.9])),
        defocus=float(np.exp(rng.uniform(np.log(0.0015), np.log(0.025)))),
        softness=float(np.exp(rng.uniform(np.log(0.0003), np.log(0.004)))),
        uneven=float(rng.uniform(0.05, 0.65)),
        creases=float(rng.uniform(0.0, 1.0)),
        shadow=float(rng.uniform(0.0, 0.6)),
        spill=float(rng.uniform(0.05, 0.7)),
        grain=float(np.exp(rng.uniform(np.log(0.002), np.log(0.03)))),
        compression=int(rng.integers(35, 95)) if rng.random() < 0.4 else None,
    )
