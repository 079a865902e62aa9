"""A scene on disk: the clip a user would have, and the truth beside it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from videomatte.scenes.scene import SceneSettings, render
from videomatte.scenes.sound import SOUND_RATE, sound
from videomatte.types import Colour

if TYPE_CHECKING:
    from videomatte.io.formats import Content, ImageFormat
    from videomatte.io.image_writer import ImageWriter

__all__ = ["write_clip"]

_VIDEO_COLOUR = Colour(matrix=1, full_range=False, primaries=1, transfer=1)
_IMAGE_COLOUR = Colour(full_range=True)


def write_clip(settings: SceneSettings, folder: Path) -> Path:
    """Render a scene into a folder.

    Args:
        settings: of the scene.
        folder: made where it is not; files of the same names are replaced.

    Returns:
        ``folder/clip.mp4``, H.264 with AAC sound, tagged BT.709. Beside it lie ``alpha/%06d.png`` (16-bit gray),
        ``trimap/%06d.png`` (8-bit gray: 0, 128, 255), ``foreground/%06d.png`` (16-bit, straight, free of spill),
        ``background/%06d.png`` (16-bit, the subject's shadow included), numbered by frame from 0, and, where the camera
        stands still, ``plate.png``: the empty set.

    Raises:
        OutputError: the folder cannot be written.
    """
    # Here and not above: those who only render need no encoder.
    from videomatte.io.choice import choose_format
    from videomatte.io.formats import ImageFormat, VideoFormat
    from videomatte.io.image_writer import ImageWriter
    from videomatte.io.video_writer import VideoWriter

    movie, deep = choose_format("clip.mp4", content="foreground"), choose_format("frames/")
    assert isinstance(movie, VideoFormat)
    assert isinstance(deep, ImageFormat)
    shallow = replace(deep, planes={"alpha": "gray"}, alpha_bits=8)  # a trimap has three values
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:

        def images(name: str, fmt: ImageFormat, content: Content) -> ImageWriter:
            is_folder = not name.endswith(".png")
            writer = ImageWriter(folder / name, fmt, content=content, colour=_IMAGE_COLOUR, folder=is_folder)
            return stack.enter_context(writer)

        alphas, trimaps = images("alpha", deep, "alpha"), images("trimap", shallow, "alpha")
        foregrounds, backgrounds = images("foreground", deep, "foreground"), images("background", deep, "foreground")
        clip = stack.enter_context(
            VideoWriter(
                folder / "clip.mp4",
                movie,
                content="foreground",
                width=settings.width,
                height=settings.height,
                time_base=1 / settings.rate,
                rate=settings.rate,
                colour=_VIDEO_COLOUR,
                sound_rate=SOUND_RATE,
                sound_channels=2,
            )
        )
        clip.write_sound(sound(settings), SOUND_RATE)
        for frame in render(settings):
            clip.write(frame.rgb, None, pts=frame.index, duration=1)
            alphas.write(None, frame.alpha, frame.index)
            trimaps.write(None, frame.trimap, frame.index)
            foregrounds.write(frame.despilled, None, frame.index)
            backgrounds.write(frame.background, None, frame.index)
            if frame.index == 0 and frame.plate is not None:
                images("plate.png", deep, "foreground").write(frame.plate, None, 0)
    return folder / "clip.mp4"
