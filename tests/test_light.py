"""Code values and light, against an independent implementation (scikit-image, colour tables) and printed values."""

import itertools

import pytest
import skimage.color
import torch

from videomatte.errors import UsageError
from videomatte.light import convert, from_light, to_light
from videomatte.types import Colour

SDR, P3, LINEAR, PQ, HLG = Colour(1, False, 1, 1), Colour(0, True, 12, 13), Colour(0, True, 1, 8), 16, 18


@pytest.mark.parametrize("transfer", [None, 1, 4, 5, 6, 7, 8, 13, 14, 15, 16, 18])
def test_there_and_back_is_the_identity(transfer: int | None) -> None:
    values = torch.linspace(0, 1, 4097, dtype=torch.float64)
    torch.testing.assert_close(from_light(to_light(values, transfer), transfer), values, rtol=0, atol=1e-6)
    light = to_light(values, transfer)
    assert light[0] == pytest.approx(0, abs=1e-9)
    assert light[-1] == pytest.approx(1, abs=1e-6)
    assert (light.diff() >= 0).all()


def test_srgb_is_scikit_images() -> None:
    """Through its XYZ: grey has a luminance that is its light."""
    grey = torch.linspace(0, 1, 256, dtype=torch.float64)
    wanted = skimage.color.rgb2xyz(grey[:, None].expand(-1, 3).numpy())[:, 1]
    # Its luminance of white is 1 to three more digits than this.
    torch.testing.assert_close(to_light(grey, 13), torch.from_numpy(wanted), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("transfer", "value", "light"),
    [
        (1, 0.409, 0.18),  # 18 % grey in BT.709
        (13, 0.5, 0.2140),
        (16, 0.508, 0.01),  # BT.2100: 100 cd/m² of 10000
        (16, 0.581, 0.0203),  # BT.2408, table 1: white of 203 cd/m² at 58 %
        (18, 0.5, 1 / 12),  # BT.2100: where its two parts meet
        (18, 0.75, 0.265),  # BT.2408: 75 % is 26.5 % of the scene's peak
    ],
)
def test_printed_values(transfer: int, value: float, light: float) -> None:
    assert float(to_light(torch.tensor(value), transfer)) == pytest.approx(light, rel=0.01)


def test_what_lies_beyond_goes_on() -> None:
    for transfer in (1, 8, 13):
        values = torch.tensor([-0.3, -0.01, 1.7])
        light = to_light(values, transfer)
        assert light[0] < light[1] < 0
        assert light[2] > 1
        torch.testing.assert_close(from_light(light, transfer), values)


def test_between_encodings_of_standard_range_code_values_stay() -> None:
    picture = torch.rand(3, 4, 5)
    kinds = [Colour(1, False, 1, 1), Colour(0, True, None, 13), Colour(6, False, 6, 6), Colour()]
    for source, target in itertools.product(kinds, kinds):
        assert convert(picture, source, target) is picture


@pytest.mark.parametrize(("transfer", "white"), [(PQ, 0.58), (HLG, 0.75)])
def test_white_lands_where_bt2408_puts_it(transfer: int, white: float) -> None:
    hdr = Colour(9, False, 9, transfer)
    made = convert(torch.ones(3, 1, 1), SDR, hdr)
    assert made.flatten().tolist() == pytest.approx([white] * 3, abs=0.003)  # printed as whole percents
    picture = torch.rand(3, 40, 50) * 0.9 + 0.05
    torch.testing.assert_close(convert(convert(picture, SDR, hdr), hdr, SDR), picture, rtol=0, atol=2e-3)


def test_primaries_are_scikit_images() -> None:
    """Display P3 to sRGB, of colours that sRGB has: there and back by CIE XYZ."""
    srgb = torch.rand(3, 20, 20, dtype=torch.float64) * 0.6 + 0.2
    p3 = convert(srgb, Colour(0, True, 1, 13), P3)
    # Rows are P3's own luminances and chromaticities (SMPTE EG 432-1): red, green and blue to XYZ.
    to_xyz = torch.tensor([[0.48657, 0.26567, 0.19822], [0.22897, 0.69174, 0.07929], [0, 0.04511, 1.04394]]).double()
    xyz = torch.tensordot(to_xyz, to_light(p3, 13), 1)
    wanted = skimage.color.rgb2xyz(srgb.permute(1, 2, 0).numpy())
    # The white of scikit-image's matrix has four digits.
    torch.testing.assert_close(xyz.permute(1, 2, 0), torch.from_numpy(wanted), rtol=0, atol=1e-3)
    white = torch.ones(3, 1, 1)
    torch.testing.assert_close(convert(white, P3, SDR), white)


def test_linear_pictures_are_encoded_and_lose_what_is_above_white() -> None:
    made = convert(torch.tensor([0.2140, 1.0, 7.0]).view(3, 1, 1), LINEAR, SDR)
    assert made.flatten().tolist() == pytest.approx([0.5, 1, 1], abs=1e-3)
    assert convert(torch.full((3, 1, 1), 0.5), SDR, LINEAR).flatten().tolist() == pytest.approx([0.2140] * 3, abs=1e-3)


def test_an_unknown_transfer_is_refused() -> None:
    with pytest.raises(UsageError, match=r"transfer 9 .*--no-linear"):
        to_light(torch.ones(1), 9)
    with pytest.raises(UsageError, match="transfer 9"):
        convert(torch.ones(3, 1, 1), Colour(transfer=9), LINEAR)
