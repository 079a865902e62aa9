"""Still images and sequences: every kind and depth, which way up, in which order, and what is refused."""

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import coded_picture, number_in
from test_sources import write_image
from torch import Tensor

from videomatte.errors import InputError
from videomatte.io import open_source, probe
from videomatte.io.orientation import upright
from videomatte.types import Frame

NOISE = torch.randint(0, 65536, (3, 33, 47), generator=torch.Generator().manual_seed(5)).to(torch.uint16)


def read_one(path: Path) -> Frame:
    with open_source(path) as source:
        (frame,) = source
    return frame


def rows(channels: Tensor) -> np.ndarray:
    """``[H, W, C]``, as `write_image` takes pictures."""
    return np.ascontiguousarray(channels.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(("suffix", "codec"), [(".png", "png"), (".tif", "tiff")])
@pytest.mark.parametrize("pix_fmt", ["rgb24", "rgba", "gray", "rgb48", "rgba64", "gray16"])
def test_exact_formats_are_exact(pix_fmt: str, suffix: str, codec: str, tmp_path: Path) -> None:
    deep = pix_fmt.endswith(("48", "64", "16"))
    stored = pix_fmt + ("" if not deep else "be" if codec == "png" else "le")
    channels = 1 if "gray" in pix_fmt else 4 if pix_fmt.startswith("rgba") else 3
    pixels = torch.cat([NOISE, NOISE.flip(1)])[:channels]
    pixels = pixels if deep else (pixels.int() >> 8).to(torch.uint8)
    array = rows(pixels)[..., 0] if channels == 1 else rows(pixels)
    frame = read_one(write_image(tmp_path / f"a{suffix}", array, stored, codec))
    assert torch.equal(frame.rgb, pixels[:1].expand(3, -1, -1) if channels == 1 else pixels[:3])
    assert (frame.alpha is not None) == (channels == 4)
    if channels == 4:
        assert frame.alpha is not None
        assert torch.equal(frame.alpha[0], pixels[3])


@pytest.mark.parametrize(("kind", "step"), [("float", 0.0), ("half", 2**-10)])
def test_exr_keeps_scene_linear_floats(kind: str, step: float, tmp_path: Path) -> None:
    values = torch.rand(4, 33, 47, generator=torch.Generator().manual_seed(5)) * 30 - 1
    path = write_image(tmp_path / "a.exr", rows(values), "gbrapf32le", "exr", format=kind, compression="zip16")
    frame = read_one(path)
    assert frame.rgb.dtype == torch.float32
    assert frame.alpha is not None
    read = torch.cat([frame.rgb, frame.alpha])
    assert ((read - values).abs() <= values.abs() * step + step * 2**-13).all()  # 11 bits of mantissa, cut
    assert probe(path).colour.transfer == 8


@pytest.mark.parametrize("part", [0.03, 0.2, 0.6, 0.98])
@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt", "options"),
    [
        (".png", "png", "rgb24", {}),
        (".tif", "tiff", "rgb24", {"compression_algo": "lzw"}),
        (".jpg", "mjpeg", "yuvj444p", {}),
        *((".exr", "exr", "gbrpf32le", {"compression": name}) for name in ("none", "rle", "zip1", "zip16")),
    ],
)
def test_an_image_cut_short_is_refused(
    suffix: str, codec: str, pix_fmt: str, options: dict[str, str], part: float, tmp_path: Path
) -> None:
    noise = rows((torch.cat([NOISE] * 3, dim=1).int() >> 8).to(torch.uint8))
    if codec == "mjpeg":
        noise = noise.transpose(2, 0, 1)
    whole = write_image(
        tmp_path / f"whole{suffix}", noise / np.float32(255) if codec == "exr" else noise, pix_fmt, codec, **options
    )
    assert read_one(whole).rgb.shape == (3, 99, 47)
    data = whole.read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InputError, match=rf"cut{suffix}: (damaged or cut short|cannot be decoded|not readable)"):
        read_one(tmp_path / f"cut{suffix}")


def test_jpeg_is_full_range_with_centred_chroma(tmp_path: Path) -> None:
    """libjpeg interpolates chroma by the same triangle, in integers: a level or two. Wrong range would cost 16."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 80), indexing="ij")
    truth = torch.stack([x, 0.3 + 0.5 * y, 1 - x]).mul(255).round().to(torch.uint8)
    image = pytest.importorskip("PIL.Image")
    image.fromarray(rows(truth)).save(tmp_path / "a.jpg", quality=98)
    libjpeg = torch.from_numpy(np.array(image.open(tmp_path / "a.jpg"))).permute(2, 0, 1)
    frame = read_one(tmp_path / "a.jpg")
    assert (frame.rgb.int() - libjpeg.int()).abs().max() <= 3
    drift = (frame.rgb.double() - truth.double())[:, 8:-8, 8:-8].mean(dim=(1, 2))
    assert drift.abs().max() < 0.35  # chroma off by half a pixel: 0.8 on this ramp


ORIENTATIONS = {
    1: (False, 0), 2: (True, 0), 3: (False, 180), 4: (True, 180),
    5: (True, 270), 6: (False, 90), 7: (True, 90), 8: (False, 270),
}  # fmt: skip


def shown(picture: np.ndarray, value: int) -> np.ndarray:
    """CIPA DC-008: where row 0 and column 0 of the stored picture are in the shown one, spelt out."""
    return {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],  # row 0 top, column 0 right
        3: lambda p: p[::-1, ::-1],  # bottom, right
        4: lambda p: p[::-1],  # bottom, left
        5: lambda p: p.transpose(1, 0, 2),  # left, top
        6: lambda p: p.transpose(1, 0, 2)[:, ::-1],  # right, top
        7: lambda p: p.transpose(1, 0, 2)[::-1, ::-1],  # right, bottom
        8: lambda p: p.transpose(1, 0, 2)[::-1],  # left, bottom
    }[value](picture)


@pytest.mark.parametrize("value", sorted(ORIENTATIONS))
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_orientation_is_honoured(value: int, order: str, tmp_path: Path) -> None:
    picture = rows((NOISE.int() >> 8).to(torch.uint8))
    plain = write_image(tmp_path / "plain.png", picture).read_bytes()
    mark = b"II*\0" if order == "<" else b"MM\0*"
    exif = mark + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, value, 0, 0)
    import zlib

    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    path = tmp_path / "turned.png"
    path.write_bytes(plain[:33] + chunk + plain[33:])  # behind the header
    frame = read_one(path)
    expected = torch.from_numpy(shown(picture, value).copy()).permute(2, 0, 1)
    assert torch.equal(frame.rgb, expected)
    info = probe(path)
    assert (info.mirrored, info.rotation_degrees) == ORIENTATIONS[value]
    assert (info.height, info.width) == tuple(expected.shape[1:])


def test_upright_of_an_upright_picture_is_the_picture() -> None:
    assert torch.equal(upright(NOISE, (False, 0)), NOISE)


def test_sequence_takes_numbers_in_order_and_time_from_the_rate(tmp_path: Path) -> None:
    for number in (8, 9, 10, 11):
        write_image(tmp_path / f"shot_{number}.png", coded_picture(number))
    (tmp_path / ".shot_12.png").write_bytes(b"hidden")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "masks").mkdir()
    with open_source(tmp_path, rate=Fraction(30000, 1001)) as source:
        info, frames = source.info, list(source)
    assert [number_in(f.rgb) for f in frames] == [8, 9, 10, 11]
    assert [(f.index, f.pts, f.duration) for f in frames] == [(k, k, 1) for k in range(4)]
    assert {f.time_base for f in frames} == {Fraction(1001, 30000)}
    assert (info.start_number, info.frame_count, info.container) == (8, 4, "images")
    assert info.average_rate == Fraction(30000, 1001)


def test_pattern_takes_one_sequence_of_several(tmp_path: Path) -> None:
    for number in range(998, 1003):
        write_image(tmp_path / f"a.{number:04d}.png", coded_picture(number))
        write_image(tmp_path / f"b.{number:04d}.png", coded_picture(7))
    with open_source(tmp_path / "a.%04d.png", start="1", end="4") as source:
        assert source.info.start_number == 998
        assert [number_in(f.rgb) for f in source] == [999, 1000, 1001]
    with pytest.raises(InputError, match=r"several sequences \(a\.#, b\.#\)"):
        open_source(tmp_path)


def test_one_image_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    path = write_image(tmp_path / "photo_3.png", coded_picture(3))
    with open_source(path) as source:
        info, (frame,) = source.info, list(source)
    assert (info.frame_count, info.start_number, info.average_rate) == (1, None, 24)
    assert (frame.index, frame.pts, number_in(frame.rgb)) == (0, 0, 3)


def test_photos_of_any_name_are_a_clip_too(tmp_path: Path) -> None:
    for number, name in enumerate(["beach.png", "forest.png", "town.png"]):
        write_image(tmp_path / name, coded_picture(number))
    with open_source(tmp_path) as source:
        assert [number_in(f.rgb) for f in source] == [0, 1, 2]
        assert source.info.start_number is None


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    def folder(name: str, *files: tuple[str, np.ndarray, str]) -> Path:
        (tmp_path / name).mkdir()
        for file, pixels, pix_fmt in files:
            write_image(tmp_path / name / file, pixels, pix_fmt)
        return tmp_path / name

    small, large = coded_picture(0), coded_picture(1, 100, 168)
    gap = folder("gap", ("f1.png", small, "rgb24"), ("f2.png", small, "rgb24"), ("f5.png", small, "rgb24"))
    with pytest.raises(InputError, match="after number 2 comes 5"):
        open_source(gap)
    twice = folder("twice", ("f1.png", small, "rgb24"), ("f01.png", small, "rgb24"))
    with pytest.raises(InputError, match="after number 1 comes 1"):
        open_source(twice)
    sizes = folder("sizes", ("f1.png", small, "rgb24"), ("f2.png", large, "rgb24"))
    with pytest.raises(InputError, match=r"f2\.png: height is 100, but 96"), open_source(sizes) as source:
        list(source)
    alpha = np.concatenate([small, small[..., :1]], axis=2)
    mixed = folder("mixed", ("f1.png", small, "rgb24"), ("f2.png", alpha, "rgba"))
    with pytest.raises(InputError, match="has alpha is True, but False"), open_source(mixed) as source:
        list(source)
    kinds = folder("kinds", ("f1.png", small, "rgb24"))
    (kinds / "f2.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"several kinds of images \(\.jpg, \.png\)"):
        open_source(kinds)
    broken = folder("broken", ("f1.png", small, "rgb24"), ("f2.png", small, "rgb24"))
    data = (broken / "f2.png").read_bytes()
    (broken / "f2.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"f2\.png"), open_source(broken) as source:
        list(source)


def test_cmyk_is_refused(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("CMYK", (64, 48), (10, 20, 30, 40)).save(tmp_path / "print.jpg")
    with pytest.raises(InputError, match="CMYK"):
        open_source(tmp_path / "print.jpg")


@pytest.mark.parametrize("mode", ["P", "1", "L"])
def test_palettes_and_bits_are_read(mode: str, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    picture = image.fromarray(coded_picture(1365)).convert(mode)
    picture.save(tmp_path / "a.png")
    truth = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(read_one(tmp_path / "a.png").rgb, truth)
