"""Subjects put together from their layers: what hangs behind, the body, what hangs in front."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from videomatte.scenes.arm import ELBOW, paint_arm
from videomatte.scenes.creature import BOUNDS as CREATURE_BOUNDS, paint_creature
from videomatte.scenes.hair import draw_style, grow_hair
from videomatte.scenes.motion import Wander
from videomatte.scenes.noise import Rng, blur, stream
from videomatte.scenes.person import BOUNDS as PERSON_BOUNDS, draw_person, paint_person
from videomatte.scenes.strands import Strands, draw_strands
from videomatte.scenes.surface import Light, Surface
from videomatte.scenes.veil import VEIL_BOUNDS, paint_smoke, paint_veil

__all__ = ["Layer", "SubjectKind", "make_subject"]

SubjectKind = Literal["hair", "fur", "soft", "veil"]

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Layer:
    """One picture of a subject, moved as a whole."""

    picture: Tensor
    """``[4, H, W]`` float32 premultiplied display-encoded RGB and alpha."""
    bounds: Bounds
    """Left, top, right, bottom of the picture on the subject's canvas, in frame heights."""
    loose: float
    """How freely it hangs: 0 moves with the body, 1 sways like long hair."""
    pivot: tuple[float, float] | None = None
    """The joint it turns about, or None."""
    turn: Wander | None = None
    """Angle about the joint over time, in radians, or None."""


def make_subject(
    kind: SubjectKind, scale: float, light: Light, softness: float, gesture: float, seed: int
) -> list[Layer]:
    """The layers of a subject, back to front.

    Args:
        kind: ``hair`` a person with a head of hair, ``fur`` a furry creature, ``soft`` a person with a cap and no loose
            strands, ``veil`` a person behind a veil or in smoke.
        scale: pixels per frame height the layers are drawn at.
        light: what lights it.
        softness: Gaussian blur of all layers, in frame heights: a lens focused elsewhere.
        gesture: strength of a waving arm, 0 for none; creatures have none.
        seed: of the scene.
    """
    rng = stream(seed, "subject", kind)
    if kind == "fur":
        body, surface, fur = paint_creature(scale, light, rng)
        back, front = _strand_layers(fur, scale, light, rng, surface, loose=0.25, sheen=0.25)
        layers = [back, Layer(body, CREATURE_BOUNDS, 0.0), front]
    else:
        layers = _person(kind, scale, light, gesture, rng)
    if softness * scale >= 0.3:
        layers = [_soften(layer, softness, scale) for layer in layers]
    return layers


def _person(kind: SubjectKind, scale: float, light: Light, gesture: float, rng: Rng) -> list[Layer]:
    person, style = draw_person(rng), draw_style(rng)
    body, surface = paint_person(person, scale, light, style.colour, rng, hat=kind == "soft")
    layers = [Layer(body, PERSON_BOUNDS, 0.0)]
    if kind != "soft":
        hair = grow_hair(style, person.head, person.rests, rng)
        back, front = _strand_layers(hair, scale, light, rng, surface, loose=1.0, sheen=float(rng.uniform(0.2, 0.8)))
        layers = [back, *layers, front]
    if kind == "veil":
        if rng.random() < 0.65:
            layers.append(Layer(paint_veil(scale, light, rng), VEIL_BOUNDS, 0.8))
        else:
            layers += [Layer(paint_smoke(scale, light, rng), VEIL_BOUNDS, loose) for loose in (1.3, -1.3)]
    if gesture > 0:
        side = 1 if rng.random() < 0.5 else -1
        arm, bounds = paint_arm(person, side, scale, light, rng)
        wave = Wander.draw(rng, 0.45 * gesture, 0.5, 2.5)
        layers.append(Layer(arm, bounds, 0.0, (side * ELBOW[0], ELBOW[1]), wave))
    return layers


def _strand_layers(
    strands: Strands, scale: float, light: Light, rng: Rng, surface: Surface, *, loose: float, sheen: float
) -> tuple[Layer, Layer]:
    """What hangs behind and before a body, on a canvas that just holds it."""
    reach = strands.points[..., :2].reshape(-1, 2)
    low, high = reach.amin(0).clamp(min=-0.8), reach.amax(0).clamp(max=1.0)
    pad = 2 / scale
    bounds = (float(low[0]) - pad, float(low[1]) - pad, float(high[0]) + pad, float(high[1]) + pad)
    front, back = draw_strands(strands, bounds, scale, light, rng, body=surface, sheen=sheen)
    return Layer(back, bounds, loose), Layer(front, bounds, loose)


def _soften(layer: Layer, softness: float, scale: float) -> Layer:
    """A layer out of focus: premultiplied colour and alpha blurred alike, on a canvas grown to hold it."""
    grow = int(3 * softness * scale) + 1
    # The lower border is a cut through the body, not an edge of it: it is carried on, not faded out.
    padded = torch.nn.functional.pad(layer.picture, (grow, grow, grow, 0))
    left, top, right, bottom = layer.bounds
    bounds = (left - grow / scale, top - grow / scale, right + grow / scale, bottom)
    return Layer(blur(padded, softness * scale), bounds, layer.loose, layer.pivot, layer.turn)
