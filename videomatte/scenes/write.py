"""A scene on disk: the clip a user would have, and the truth beside it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from videomatte.scenes.scene import SceneSettings, render
from videomatte.scenes.sound import SOUND_RATE, sound
from videomatte.types import Colour

if TYPE_CHECKING:
    from videomatte.io.formats import ImageFormat
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
    from videomatte.io.formats import VideoFormat, choose_format
    from videomatte.io.image_writer import ImageWriter
    from videomatte.io.video_writer import VideoWriter

    movie = choose_format("clip.mp4")
    assert isinstance(movie, VideoFormat)
    colour, alpha, trimap = _png("rgb48be", 16), _png("gray16be", 16), _png("gray", 8)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:

        def images(name: str, fmt: ImageFormat) -> ImageWriter:
            writer = ImageWriter(folder / name, fmt, colour=_IMAGE_COLOUR, folder=not name.endswith(".png"))
            return stack.enter_context(writer)

        alphas, trimaps = images("alpha", alpha), images("trimap", trimap)
        foregrounds, backgrounds = images("foreground", colour), images("background", colour)
        clip = stack.enter_context(
            VideoWriter(
                folder / "clip.mp4",
                movie,
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
            alphas.write(_gray(frame.alpha), None, frame.index)
            trimaps.write(_gray(frame.trimap), None, frame.index)
            foregrounds.write(frame.despilled, None, frame.index)
            backgrounds.write(frame.background, None, frame.index)
            if frame.index == 0 and frame.plate is not None:
                images("plate.png", colour).write(frame.plate, None, 0)
    return folder / "clip.mp4"


def _png(pixel_format: str, bits: int) -> ImageFormat:
    from videomatte.io.formats import ImageFormat

    return ImageFormat(
        name=f"png-{pixel_format}",
        title=f"PNG, {bits} bits, opaque",
        suffix=".png",
        codec="png",
        pixel_format=pixel_format,
        alpha_bits=0,
        alpha_error=0,
        opens_in="everything",
        options={"pred": "up", "compression_level": "1"},
    )


def _gray(plane: Tensor) -> Tensor:
    return plane.expand(3, -1, -1)
