"""Procedural clips whose truth is known: foreground, background, alpha, trimap and motion of every pixel.

    for frame in render(SceneSettings(subject="hair", backdrop="green", seed=7)):
        frame.rgb, frame.alpha, frame.foreground, frame.background, frame.trimap, frame.flow

``settings -> backdrop + layers of a subject -> camera and sway -> exposure -> shadow, spill -> grain, compression``

Pictures are drawn once per scene (:mod:`backdrops`, :mod:`subjects`); each frame looks them up through the motion of
that time (:mod:`motion`, :mod:`lens`) and puts them together (:mod:`scene`).
"""

from videomatte.scenes.scene import SceneFrame, SceneSettings, render
from videomatte.scenes.sound import SOUND_RATE, click_frames, sound
from videomatte.scenes.variety import random_scene
from videomatte.scenes.write import write_clip

__all__ = ["SOUND_RATE", "SceneFrame", "SceneSettings", "click_frames", "random_scene", "render", "sound", "write_clip"]
