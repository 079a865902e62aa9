"""Sound for a scene: a soft chord, and a click at known frames so that sync can be heard and measured."""

import numpy as np
from numpy.typing import NDArray

from videomatte.scenes.noise import stream
from videomatte.scenes.scene import SceneSettings

__all__ = ["SOUND_RATE", "click_frames", "sound"]

SOUND_RATE = 48_000
"""Samples per second."""


def click_frames(settings: SceneSettings) -> list[int]:
    """The frames at whose start a click begins: one a second, and frame 0."""
    step = max(1, round(settings.rate))
    return list(range(0, settings.frames, step))


def sound(settings: SceneSettings) -> NDArray[np.float32]:
    """The whole sound track.

    Args:
        settings: of the scene; its seed chooses the chord, its rate and length the time.

    Returns:
        ``[2, n]`` float32 in [-1, 1] at ``SOUND_RATE``, exactly as long as the picture, rounded to a sample. Each click
        is 5 ms of 3 kHz that starts at the sample nearest to its frame's time; nothing else is as loud.
    """
    samples = round(settings.frames / settings.rate * SOUND_RATE)
    time = np.arange(samples) / SOUND_RATE
    root = float(stream(settings.seed, "sound").uniform(110, 220))
    track = np.zeros((2, samples))
    for k, ratio in enumerate((1.0, 1.25, 1.5)):
        swell = 0.6 + 0.4 * np.sin(2 * np.pi * (0.11 + 0.07 * k) * time)
        tone = np.sin(2 * np.pi * root * ratio * time)
        balance = 0.3 + 0.2 * k
        track += 0.03 * swell * tone * np.array([[1 - balance], [balance]])
    length = SOUND_RATE // 200
    click = 0.8 * np.sin(2 * np.pi * 3000 * np.arange(length) / SOUND_RATE) * np.hanning(2 * length)[length:]
    for frame in click_frames(settings):
        start = round(frame / settings.rate * SOUND_RATE)
        end = min(start + length, samples)
        track[:, start:end] += click[: end - start]
    return track.astype(np.float32)
