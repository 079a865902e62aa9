"""A scene: settings in, frames out, with everything about them known.

A frame is composited in its display encoding, ``rgb = alpha * foreground + (1 - alpha) * background`` on the encoded
numbers, as the matting benchmarks' composites are; layers are averaged over the exposure premultiplied, each for
itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.errors import UsageError
from videomatte.scenes.backdrops import BackdropKind, make_backdrop
from videomatte.scenes.damage import add_grain, compress
from videomatte.scenes.lens import (
    backdrop_flow,
    expose_backdrop,
    expose_layers,
    fill,
    instants,
    layer_flow,
    layer_travel,
)
from videomatte.scenes.motion import Camera, Pose, Similarity, Sway
from videomatte.scenes.noise import blur, luma, stream
from videomatte.scenes.subjects import SubjectKind, make_subject

__all__ = ["SceneFrame", "SceneSettings", "render"]


@dataclass(frozen=True, slots=True)
class SceneSettings:
    """What one procedural clip shows."""

    width: int = 640
    """Width in pixels, at least 32."""
    height: int = 360
    """Height in pixels, at least 32."""
    frames: int = 48
    """Number of frames, at least 1."""
    rate: Fraction = Fraction(24)
    """Frames per second."""
    seed: int = 0
    """Every random choice hangs on it and on nothing else."""
    subject: SubjectKind = "hair"
    """``hair`` a person, ``fur`` a furry creature, ``soft`` a person with a cap and no loose strands, ``veil`` a person
    behind a veil or in smoke."""
    backdrop: BackdropKind = "place"
    """``place`` a landscape, street, room or the like; ``green`` or ``blue`` a screen."""
    light: float = 1.0
    """How brightly the set is lit: 1 a studio, 0.3 a cellar."""
    centre: tuple[float, float] = (0.0, -0.12)
    """Where the middle of the head is on average, in frame heights right of and below the frame's middle."""
    size: float = 1.0
    """Size of the subject; at 1 a head is a third of the frame high."""
    motion: float = 1.0
    """How much the subject moves: 0 a statue, 1 lively."""
    gesture: float = 0.0
    """How wildly an arm is waved before the body: 0 no arm, 1 briskly. Creatures wave none."""
    camera: float = 0.0
    """How much the camera pans, tilts, zooms and rolls: 0 a locked tripod, 1 strongly."""
    shake: float = 0.0
    """How much the camera shakes in the hand: 0 none, 1 strongly."""
    shutter: float = 0.5
    """Share of the frame's time the shutter is open: 0.5 is the film-maker's 180 degrees, 0 freezes motion."""
    defocus: float = 0.004
    """Gaussian blur of a place, in frame heights."""
    softness: float = 0.0005
    """Gaussian blur of the subject, in frame heights; 0.005 is a subject plainly out of focus."""
    uneven: float = 0.35
    """How much darker the screen's worst-lit place is than its best, 0 to 1."""
    creases: float = 0.4
    """Strength of the screen's folds and wrinkles, 0 to 1."""
    shadow: float = 0.3
    """Darkness of the subject's shadow on the screen, 0 to 1."""
    spill: float = 0.35
    """How much of the screen's light falls on the subject's edges, 0 to 1."""
    grain: float = 0.012
    """Standard deviation of the sensor's noise at mid-grey."""
    compression: int | None = None
    """Quality, 1 to 100, of an intra-frame codec's 4:2:0 block compression, or None for none."""
    trimap_margin: int = 3
    """Pixels the trimap's unknown region goes beyond where alpha is between 0 and 1."""

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 32 or self.frames < 1:
            raise UsageError(
                f"a scene needs at least 32x32 pixels and 1 frame, got {self.width}x{self.height}, {self.frames} frames"
            )
        if self.rate <= 0:
            raise UsageError(f"a scene's rate must be positive, got {self.rate}")
        if self.compression is not None and not 1 <= self.compression <= 100:
            raise UsageError(f"a scene's compression must be a quality from 1 to 100, got {self.compression}")
        for name in ("light", "uneven", "creases", "shadow", "spill", "shutter"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"a scene's {name} must be from 0 to 1, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class SceneFrame:
    """One frame and the truth about it. All float32, display-encoded, in [0, 1] unless said otherwise."""

    index: int
    """Number of the frame, from 0."""
    rgb: Tensor
    """``[3, H, W]`` what the camera recorded, grain and compression included."""
    alpha: Tensor
    """``[1, H, W]`` coverage of the subject."""
    foreground: Tensor
    """``[3, H, W]`` straight colour of the subject as the camera saw it, spill included; defined everywhere. Without
    grain and compression ``rgb`` is ``alpha * foreground + (1 - alpha) * background``."""
    despilled: Tensor
    """``[3, H, W]`` the same without the screen's light on it: what a perfect despill gives back."""
    background: Tensor
    """``[3, H, W]`` what is behind the subject, its shadow included."""
    trimap: Tensor
    """``[1, H, W]`` uint8: 128 where alpha, rounded to 8 bits, is neither 0 nor 255 and for ``trimap_margin`` pixels
    around, else 0 or 255."""
    plate: Tensor | None
    """``[3, H, W]`` the empty set, with neither subject nor shadow, or None where the camera moves."""
    flow: Tensor
    """``[2, H, W]`` pixels (dx, dy) that the surface seen at this frame's middle instant has gone by the next frame's:
    the subject's topmost layer where alpha is above 0.5, else the backdrop's."""


def render(settings: SceneSettings) -> Iterator[SceneFrame]:
    """The frames of a scene, one at a time.

    Same settings, same frames to the bit, whatever the number of threads, the state of global random generators, and
    which other scenes are being rendered. Memory does not grow with the number of frames.

    Convention:
        ``[C, H, W]``, row 0 at the top, pixel centres at half-integers. Frame i is the exposure centred on time
        ``i / rate``.
    """
    scene = _Scene(settings)
    for index in range(settings.frames):
        yield scene.frame(index)


class _Scene:
    """A scene set up: its pictures drawn, its paths laid."""

    def __init__(self, settings: SceneSettings) -> None:
        s = self.settings = settings
        self.camera = Camera.draw(stream(s.seed, "camera"), s.camera, s.shake)
        self.pose = Pose.draw(stream(s.seed, "pose"), s.centre, s.size, s.motion, self.camera)
        self.sway = Sway.draw(stream(s.seed, "sway"), s.motion)
        margin = self.camera.margin(s.width / s.height)
        self.backdrop = make_backdrop(
            s.backdrop, (s.height, s.width), margin, s.light, s.defocus, s.uneven, s.creases, s.seed
        )
        # Layers are drawn finer than they are shown, so that strands stay thin when looked up between pixels.
        scale = s.height * s.size * (2.0 if s.height <= 540 else 1.5 if s.height <= 1080 else 1.0)
        self.layers = make_subject(s.subject, scale / s.size, self.backdrop.light, s.softness, s.gesture, s.seed)
        self.still: Tensor | None = None

    def frame(self, index: int) -> SceneFrame:
        """One frame."""
        s = self.settings
        premultiplied, seen = self._subject(index)
        alpha = premultiplied[3:]
        despilled = fill(premultiplied[:3], alpha)
        # The mean of several instants rounds to 0.99999: alpha that close to 0 or 1 is 0 or 1 by decree, and what is
        # decreed here is the truth.
        alpha = torch.where(alpha > 1 - 1e-3, 1.0, torch.where(alpha < 1e-3, 0.0, alpha))
        plate = self._background(index)
        background, foreground = plate, despilled
        if s.backdrop != "place":
            background = _cast_shadow(plate, alpha, s.shadow)
            foreground = _cast_spill(despilled, alpha, background, s.spill)
        rgb = alpha * foreground + (1 - alpha) * background
        if s.grain > 0:
            rgb = add_grain(rgb, s.grain, stream(s.seed, "grain", index))
        if s.compression is not None:
            rgb = compress(rgb, s.compression)
        return SceneFrame(
            index=index,
            rgb=rgb,
            alpha=alpha,
            foreground=foreground,
            despilled=despilled,
            background=background,
            plate=plate if self.camera.locked else None,
            trimap=_trimap(alpha, s.trimap_margin),
            flow=self._flow(index, alpha, seen),
        )

    def _seconds(self, index: float) -> float:
        return float(index / self.settings.rate)

    def _subject(self, index: int) -> tuple[Tensor, Tensor]:
        s = self.settings
        middle, half = self._seconds(index), self._seconds(s.shutter / 2)
        # There and back within the exposure is travel too: the two halves are taken by themselves.
        travel = max(
            sum(
                layer_travel(layer, self.pose, self.sway, middle, middle + side * half, s.height, s.width)
                for side in (-1, 1)
            )
            for layer in self.layers
        )
        moments = [(self._seconds(index + t), x, y) for t, x, y in instants(travel, s.shutter, least=4)]
        return expose_layers(self.layers, self.pose, self.sway, moments, s.height, s.width)

    def _view(self, index: float) -> Similarity:
        s = self.settings
        rows, columns = self.backdrop.canvas.shape[1:]
        return self.camera.backdrop(self._seconds(index), s.width, s.height, columns, rows)

    def _background(self, index: int) -> Tensor:
        s = self.settings
        if self.camera.locked:
            if self.still is None:
                self.still = expose_backdrop(self.backdrop.canvas, [(self._view(0), 0.0, 0.0)], s.height, s.width)
            return self.still
        half = s.shutter / 2
        swept = backdrop_flow(self._view(index - half), self._view(index + half), s.height, s.width)
        travel = float(swept.square().sum(0).max().sqrt())
        views = [(self._view(index + t), x, y) for t, x, y in instants(travel, s.shutter, least=2)]
        return expose_backdrop(self.backdrop.canvas, views, s.height, s.width)

    def _flow(self, index: int, alpha: Tensor, seen: Tensor) -> Tensor:
        s = self.settings
        now, later = self._seconds(index), self._seconds(index + 1)
        flow = backdrop_flow(self._view(index), self._view(index + 1), s.height, s.width)
        most = seen.amax(0)
        for number, layer in enumerate(self.layers):
            own = (alpha[0] > 0.5) & (seen[number] == most)
            if not bool(own.any()):
                continue
            moved = layer_flow(layer, self.pose, self.sway, now, later, s.height, s.width)
            flow = torch.where(own, moved, flow)
        return flow


def _cast_shadow(background: Tensor, alpha: Tensor, strength: float) -> Tensor:
    """The subject's soft shadow on the screen behind it, thrown aside and down a little."""
    height = background.shape[1]
    shift_x, shift_y = round(0.05 * height), round(0.03 * height)
    thrown = F.pad(alpha[None], (shift_x, -shift_x, shift_y, -shift_y), mode="constant")[0]
    return background * (1 - strength * blur(thrown, 0.035 * height))


def _cast_spill(foreground: Tensor, alpha: Tensor, screen: Tensor, strength: float) -> Tensor:
    """The screen's light on the subject: most at its edges and in loose hair, a little all over.

    It is added to what the surface reflects and takes the place of a part of it, so that spilled pixels are tinted, not
    only brighter.
    """
    height = alpha.shape[1]
    exposed = 0.12 + 0.88 * (1 - blur(alpha, 0.03 * height))
    colour = blur(screen, 0.15 * height)
    amount = strength * exposed
    return (foreground * (1 - 0.3 * amount) + amount * colour * (0.25 + 0.6 * luma(foreground))).clamp(0, 1)


def _trimap(alpha: Tensor, margin: int) -> Tensor:
    """0, 128 and 255 from alpha: unknown where it is fractional and ``margin`` pixels (a square) around."""
    fractional = ((alpha > 0.5 / 255) & (alpha < 1 - 0.5 / 255)).float()
    side = 2 * margin + 1
    rows = F.max_pool2d(fractional[None], (side, 1), stride=1, padding=(margin, 0))
    unknown = F.max_pool2d(rows, (1, side), stride=1, padding=(0, margin))[0] > 0
    return torch.where(unknown, 128, torch.where(alpha > 0.5, 255, 0)).to(torch.uint8)
