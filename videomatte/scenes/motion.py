"""How the camera and the subject move: smooth paths in time, and the maps they make between frame and picture.

All time is in seconds and all lengths are in frame heights, so that a scene moves alike at any size and rate.

Two maps, both from the frame back to what is looked up:

* the camera: frame pixel -> backdrop pixel, a similarity;
* the subject: frame pixel -> place on the subject's canvas, ``q = s + D(s, t)`` with ``s`` the pixel carried back
  through the pose (a similarity) and ``D`` a smooth sway. Its inverse, which the flow needs, is found by fixed-point
  iteration: ``D`` changes by well under its own argument, so a few rounds give a thousandth of a pixel.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from videomatte.scenes.noise import Rng, smoothstep

__all__ = ["Camera", "Pose", "Similarity", "Sway", "Wander"]


@dataclass(frozen=True, slots=True)
class Wander:
    """A smooth, bounded, endless path: a sum of sines, 0 on average."""

    amplitude: tuple[float, ...]
    frequency: tuple[float, ...]
    phase: tuple[float, ...]

    @classmethod
    def draw(cls, rng: Rng, reach: float, low: float, high: float, terms: int = 3) -> "Wander":
        """A path of at most about ``reach`` to either side, of frequencies from ``low`` to ``high`` in hertz."""
        share = rng.dirichlet(np.ones(terms))
        return cls(
            tuple(float(a) for a in reach * share),
            tuple(float(f) for f in np.exp(rng.uniform(np.log(low), np.log(high), terms))),
            tuple(float(p) for p in rng.uniform(0, 2 * np.pi, terms)),
        )

    def __call__(self, seconds: float) -> float:
        """The value at a time."""
        terms = zip(self.amplitude, self.frequency, self.phase, strict=True)
        return float(sum(a * np.sin(2 * np.pi * f * seconds + p) for a, f, p in terms))

    @property
    def reach(self) -> float:
        """A bound of its absolute value."""
        return sum(abs(a) for a in self.amplitude)


@dataclass(frozen=True, slots=True)
class Similarity:
    """``(x, y) -> (a x - b y + c, b x + a y + d)``: a turn, a zoom and a shift."""

    a: float
    b: float
    c: float
    d: float

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Where points go."""
        return self.a * x - self.b * y + self.c, self.b * x + self.a * y + self.d

    def inverse(self) -> "Similarity":
        """The map back."""
        n = self.a * self.a + self.b * self.b
        a, b = self.a / n, -self.b / n
        return Similarity(a, b, -(a * self.c - b * self.d), -(b * self.c + a * self.d))


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera looking at a backdrop: pan and tilt, zoom, roll, and the shake of a hand."""

    pan: Wander
    tilt: Wander
    zoom: Wander
    roll: Wander
    shake_u: Wander
    shake_v: Wander

    @classmethod
    def draw(cls, rng: Rng, move: float, shake: float) -> "Camera":
        """A camera that moves and shakes by the given strengths; both 0 is a tripod."""
        return cls(
            pan=Wander.draw(rng, 0.45 * move, 0.03, 0.15),
            tilt=Wander.draw(rng, 0.12 * move, 0.03, 0.15),
            zoom=Wander.draw(rng, 0.12 * move, 0.03, 0.12),
            roll=Wander.draw(rng, 0.025 * move, 0.05, 0.2),
            shake_u=Wander.draw(rng, 0.014 * shake, 0.6, 6.0, terms=5),
            shake_v=Wander.draw(rng, 0.014 * shake, 0.6, 6.0, terms=5),
        )

    @property
    def locked(self) -> bool:
        """Whether it stands still."""
        return max(w.reach for w in (self.pan, self.tilt, self.zoom, self.roll, self.shake_u, self.shake_v)) == 0

    def margin(self, aspect: float) -> tuple[float, float]:
        """How far beyond the frame, to each side and up and down, the backdrop may be looked at; in frame heights."""
        grow = 1 / (1 - self.zoom.reach)
        turn = self.roll.reach
        u = grow * (aspect / 2 + turn / 2 + self.pan.reach + self.shake_u.reach) - aspect / 2
        v = grow * (0.5 + turn * aspect / 2 + self.tilt.reach + self.shake_v.reach) - 0.5
        return u, v

    def backdrop(self, seconds: float, width: int, height: int, canvas_width: int, canvas_height: int) -> Similarity:
        """The map from frame pixels to backdrop pixels at a time.

        Convention: pixel centres at half-integers in both; a camera at rest maps the frame's middle to the canvas's.
        """
        scale = 1 / (1 + self.zoom(seconds))
        a, b = scale * np.cos(self.roll(seconds)), scale * np.sin(self.roll(seconds))
        pan = height * scale * (self.pan(seconds) + self.shake_u(seconds))
        tilt = height * scale * (self.tilt(seconds) + self.shake_v(seconds))
        c = canvas_width / 2 + pan - (a * width - b * height) / 2
        d = canvas_height / 2 + tilt - (b * width + a * height) / 2
        return Similarity(float(a), float(b), float(c), float(d))


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the subject stands in the frame: its canvas's origin, its size and its turn, all wandering."""

    u: float
    v: float
    size: float
    move_u: Wander
    move_v: Wander
    lean: Wander
    grow: Wander
    camera: Camera

    @classmethod
    def draw(cls, rng: Rng, centre: tuple[float, float], size: float, move: float, camera: Camera) -> "Pose":
        """A subject near ``centre`` (frame heights from the frame's middle) that moves by the given strength."""
        return cls(
            u=centre[0],
            v=centre[1],
            size=size,
            move_u=Wander.draw(rng, 0.15 * move, 0.15, 1.0),
            move_v=Wander.draw(rng, 0.04 * move, 0.3, 1.5),
            lean=Wander.draw(rng, 0.10 * move, 0.15, 1.0),
            grow=Wander.draw(rng, 0.05 * move, 0.1, 0.4),
            camera=camera,
        )

    def to_canvas(self, seconds: float, width: int, height: int) -> Similarity:
        """The map from frame pixels to places on the subject's canvas, in frame heights of the subject."""
        # The camera follows its subject, so of the pan the subject shows a part only; hand shake moves both alike.
        follow = 0.25
        shift_u = -follow * self.camera.pan(seconds) - self.camera.shake_u(seconds)
        shift_v = -follow * self.camera.tilt(seconds) - self.camera.shake_v(seconds)
        size = self.size * (1 + self.grow(seconds)) * (1 + follow * self.camera.zoom(seconds)) * height
        turn = self.lean(seconds)
        x = width / 2 + height * (self.u + self.move_u(seconds) + shift_u)
        y = height / 2 + height * (self.v + self.move_v(seconds) + shift_v)
        # The subject leans about its base, not its head: one frame height below the origin.
        x, y = x + size * np.sin(turn), y + size * (1 - np.cos(turn))
        onto = Similarity(float(size * np.cos(turn)), float(size * np.sin(turn)), float(x), float(y))
        return onto.inverse()


@dataclass(frozen=True, slots=True)
class Sway:
    """The subject's own small movements: a head that turns and nods, breath, and hair that trails and ripples."""

    yaw: Wander
    nod: Wander
    breath: Wander
    drift: Wander
    ripple: tuple[float, ...]
    """Angular speed and phases of the waves that run down the hair."""

    @classmethod
    def draw(cls, rng: Rng, move: float) -> "Sway":
        """Movements of the given strength; 0 is a statue."""
        return cls(
            yaw=Wander.draw(rng, 0.036 * move, 0.2, 1.2),
            nod=Wander.draw(rng, 0.018 * move, 0.3, 1.5),
            breath=Wander.draw(rng, 0.004 * move, 0.2, 0.35, terms=1),
            drift=Wander.draw(rng, 0.050 * move, 0.4, 1.8),
            ripple=(float(rng.uniform(2.5, 6.0)), *(float(p) for p in rng.uniform(0, 2 * np.pi, 3))),
        )

    def __call__(self, u: Tensor, v: Tensor, seconds: float, loose: float) -> tuple[Tensor, Tensor]:
        """The displacement ``D`` at places on the canvas.

        Args:
            u: places to the right, in frame heights.
            v: places downward.
            seconds: the time.
            loose: how freely the layer hangs: 0 for a body, 1 for long hair or a veil.

        Returns:
            What is added to u and to v.
        """
        face = torch.exp(-(u.square() + (v - 0.02).square()) / (2 * 0.085**2))
        head = smoothstep(0.42, 0.05, v)
        du = self.yaw(seconds) * face + 0.6 * self.yaw(seconds) * head
        dv = self.nod(seconds) * face + 2.0 * self.breath(seconds) * torch.exp(-(((v - 0.45) / 0.18) ** 2))
        if loose > 0:
            speed, *phase = self.ripple
            away = (u.square() + (v + 0.03).square()).sqrt()
            free = loose * smoothstep(0.10, 0.60, away)
            strength = self.drift.reach
            wave = torch.sin(9 * v - speed * seconds + phase[0]) + 0.7 * torch.sin(
                14 * v + 6 * u - 1.4 * speed * seconds + phase[1]
            )
            du = du + free * (self.drift(seconds) + 0.22 * strength * wave)
            dv = dv + free * 0.25 * strength * torch.sin(8 * u - 0.8 * speed * seconds + phase[2])
        return du, dv

    def undo(self, u: Tensor, v: Tensor, seconds: float, loose: float, rounds: int = 8) -> tuple[Tensor, Tensor]:
        """The places ``s`` with ``s + D(s) = (u, v)``: fixed-point iteration from ``(u, v)``."""
        x, y = u, v
        for _ in range(rounds):
            du, dv = self(x, y, seconds, loose)
            x, y = u - du, v - dv
        return x, y
