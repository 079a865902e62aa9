"""Unmixing from a known background: exact on exact plates, sound on wrong ones, better than estimating both layers."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from videomatte.errors import ShapeError
from videomatte.refine.foreground import estimate_foreground
from videomatte.refine.unmix import unmix
from videomatte.scenes import SceneSettings, render

HEIGHT, WIDTH = 96, 128


def smooth(channels: int, coarse: int = 16) -> Tensor:
    values = torch.rand(1, channels, HEIGHT // coarse, WIDTH // coarse)
    return F.interpolate(values, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)


def mixture() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Alpha, foreground, background and the picture they make; the background is full of detail."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    distance = torch.hypot(rows - HEIGHT / 2, columns - WIDTH / 2)
    alpha = ((30 - distance) / 20 + 0.5).clamp(0, 1)[None, None]
    front, back = 0.2 + 0.5 * smooth(3), torch.rand(1, 3, HEIGHT, WIDTH)
    return alpha, front, back, alpha * front + (1 - alpha) * back


def error(ours: Tensor, truth: Tensor, share: Tensor) -> float:
    """Mean error of what a composite shows of a layer, where it shows through."""
    soft = ((share > 0) & (share < 1)).expand_as(truth)
    return float((share * (ours - truth)).abs()[soft].mean())


def test_a_true_plate_gives_the_true_foreground() -> None:
    """Against the formula (I - (1 - alpha) B) / alpha, which is exact here, and where alpha is small as well."""
    alpha, front, back, image = mixture()
    foreground = unmix(image, alpha, back)
    # What is left is the smoothness asked of the foreground, which this one does not quite have.
    assert error(foreground, front, alpha) < 0.016
    formula = (image - (1 - alpha) * back) / alpha
    assert (foreground - formula).abs()[(alpha > 0.5).expand_as(image)].mean() < 0.01
    # Two layers alone cannot tell a background full of detail from the foreground's own.
    assert error(estimate_foreground(image, alpha)[0], front, alpha) > 2.5 * error(foreground, front, alpha)


@pytest.mark.parametrize("light", [0.7, 1.25])
def test_a_shadow_or_a_lamp_over_the_plate_does_little_harm(light: float) -> None:
    """A third of the light gone is a plate wrong by up to 0.3: the formula hands that on, the unmixing hardly does."""
    alpha, front, _, _ = mixture()
    back = 0.3 + 0.4 * smooth(3, coarse=48)
    image = alpha * front + (1 - alpha) * back * light
    formula = ((image - (1 - alpha) * back) / alpha.clamp(min=0.05)).clamp(0, 1)
    assert error(unmix(image, alpha, back), front, alpha) < 0.3 * error(formula, front, alpha)


def test_beats_the_formula_and_the_source_before_a_screen() -> None:
    """Hair before a creased screen with a shadow, its matte slightly wrong and its plate without the shadow."""
    (frame,) = render(SceneSettings(width=240, height=136, frames=1, seed=5, backdrop="green"))
    assert frame.plate is not None
    alpha = (frame.alpha + 0.03 * torch.randn(frame.alpha.shape)).clamp(0, 1).where(frame.trimap == 128, frame.alpha)
    image, plate = frame.rgb[None], frame.plate[None]
    formula = ((image - (1 - alpha) * plate) / alpha.clamp(min=0.05)).clamp(0, 1)
    errors = [error(f[0], frame.foreground, frame.alpha) for f in (unmix(image, alpha[None], plate), formula, image)]
    assert errors[0] < 0.6 * errors[1]
    assert errors[0] < 0.6 * errors[2]


def test_says_what_is_wrong_with_shapes() -> None:
    with pytest.raises(ShapeError, match="plate"):
        unmix(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 4, 5))
