"""Trimaps painted or made elsewhere: an image for a still, a folder or a movie with one per frame.

    with open_source("clip.mp4") as clip, open_source("trimaps/") as trimaps:
        for item in TrimapFiles(trimaps)(clip):
            ...

Every convention in the wild is read by the thresholds of ViTMatte's and Deep Image Matting's data loaders: on the scale
of 0 to 255, below 85 is background, from 170 on is foreground, between is unknown. So unknown may be 102 or 128,
foreground 254 or 255, one channel or three, and compression may have smeared all of them.
"""

from collections.abc import Iterator

from torch import Tensor

from videomatte.errors import InputError, ShapeError
from videomatte.trimaps.morphology import trimap_of
from videomatte.types import BACKGROUND, FOREGROUND, Frame, Source, TrimapFrame, unit_range

__all__ = ["TrimapFiles", "check_sure", "read_trimap", "trimap_from_picture"]

_BACKGROUND_BELOW, _FOREGROUND_FROM = 85, 170
_COLOURED_SPREAD, _COLOURED_SHARE = 64, 0.01


def trimap_from_picture(rgb: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Read a picture as a trimap.

    Args:
        rgb: ``[3, H, W]`` uint8, uint16 or float32, grey.
        alpha: ``[1, H, W]`` of the same type, or ``None``: where a layer was painted on nothing, nothing is background.

    Returns:
        ``[1, H, W]`` uint8 in {0, 128, 255}.

    Raises:
        ShapeError: the picture is not ``[3, H, W]``.
        InputError: the picture is in colour, so no trimap.

    Convention:
        Every pixel by itself: nothing moves. The grey is the mean of the three channels, times alpha, before the
        thresholds 85 and 170 of 255.
    """
    if rgb.ndim != 3 or rgb.shape[0] != 3:
        raise ShapeError(f"trimap_from_picture: rgb must be [3, H, W], got {list(rgb.shape)}")
    channels = unit_range(rgb) * 255
    # Chroma noise of a JPEG stays well below this; a photograph handed over by mistake does not.
    coloured = (channels.amax(0) - channels.amin(0) > _COLOURED_SPREAD).float().mean()
    if coloured > _COLOURED_SHARE:
        raise InputError(f"is in colour ({coloured:.0%} of its pixels), and a trimap is black, grey and white")
    grey = channels.mean(0, keepdim=True)
    if alpha is not None:
        grey = grey * unit_range(alpha)
    # Half a level of slack: a 16-bit or float file rounds to the level that an 8-bit file would have held.
    return trimap_of(grey >= _FOREGROUND_FROM - 0.5, grey < _BACKGROUND_BELOW - 0.5)


class TrimapFiles:
    """The trimap stage of trimaps from files: frame n of the clip takes the n-th trimap.

    A frame may be all background or all foreground (the subject is out of the picture, or fills it), and one with an
    unknown area may lack one of the two (an arm comes in). Not so the first, from which a wrong file is told: it needs
    both, or to be all background and more to follow.

    Args:
        trimaps: an open source whose pictures are the trimaps, upright and of the clip's size. Read from its first
            picture once, in step with the clip; whoever opened it closes it.
        clip_ends_early: the clip is not taken to its end, so that trimaps may be left over.

    Raises:
        InputError: while running: a trimap is missing or left over, has another size than its frame, is in colour, or
            has no sure foreground or no sure background where it must. The message names the file and the frame.
    """

    def __init__(self, trimaps: Source, *, clip_ends_early: bool = False) -> None:
        self._trimaps = trimaps
        self._clip_ends_early = clip_ends_early

    def __call__(self, frames: Iterator[Frame]) -> Iterator[TrimapFrame]:
        """Give every frame its trimap; none is held back."""
        info = self._trimaps.info
        trimaps = iter(self._trimaps)
        last: Frame | None = None
        first = True
        for frame in frames:
            for last in trimaps:
                if last.index == frame.index:  # a clip that starts late passes over the trimaps of the frames before
                    break
            else:
                held = 0 if last is None else last.index + 1
                raise InputError(
                    f"{info.path}: holds {held} trimap{'s' * (held != 1)}, but the clip goes on with frame "
                    f"{frame.index} (counted from 0): give a folder or a movie with one trimap per frame"
                )
            name = str(info.path) if info.frame_count == 1 else f"{info.path}: trimap {last.index}"
            trimap = read_trimap(last, frame.width, frame.height, name)
            check_sure(trimap, name, needs_both=first, may_be_empty=info.frame_count != 1)
            first = False
            yield TrimapFrame(frame, trimap.to(frame.rgb.device), "key")
        left_over = None if self._clip_ends_early else next(trimaps, None)
        if left_over is not None:
            raise InputError(
                f"{info.path}: holds more than {left_over.index} trimaps, but the clip ends after {left_over.index} "
                f"frames: give exactly one trimap per frame"
            )


def read_trimap(picture: Frame, width: int, height: int, name: str) -> Tensor:
    """The trimap in a picture, ``[1, height, width]`` uint8.

    Raises:
        InputError: the picture has another size, or is in colour.
    """
    if (picture.width, picture.height) != (width, height):
        raise InputError(
            f"{name} is {picture.width}x{picture.height}, but its frame is {width}x{height}: "
            f"make trimaps at the size of the clip"
        )
    try:
        return trimap_from_picture(picture.rgb, picture.alpha)
    except InputError as error:
        raise InputError(f"{name} {error}") from error


def check_sure(trimap: Tensor, name: str, *, needs_both: bool, may_be_empty: bool) -> None:
    """Raise InputError unless a trimap has sure foreground and sure background, or may do without."""
    background, foreground = bool((trimap == BACKGROUND).any()), bool((trimap == FOREGROUND).any())
    empty = bool((trimap == BACKGROUND).all())
    if (background and foreground) or (empty and may_be_empty) or ((background or foreground) and not needs_both):
        return
    missing = [] if foreground else [f"foreground (grey {_FOREGROUND_FROM} to 255)"]
    missing += [] if background else [f"background (grey 0 to {_BACKGROUND_BELOW - 1})"]
    raise InputError(f"{name} has no sure {' and no sure '.join(missing)}: paint some of each")
