"""From decoders' frames to tensors: packed formats lose nothing, matrices turn, clocks always rise."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clips import coded_picture

from videomatte.io import open_source, probe
from videomatte.io.planes import frame_tensors
from videomatte.io.presentation import PresentationClock
from videomatte.types import ClipInfo, Colour

PACKED = {
    "yuyv422": "yuv422p", "uyvy422": "yuv422p", "yvyu422": "yuv422p", "vyu444": "yuv444p", "vuyx": "yuv444p",
    "vuya": "yuva444p", "ayuv": "yuva444p", "uyva": "yuva444p", "y210le": "yuv422p10le", "nv20le": "yuv422p10le",
    "y212le": "yuv422p12le", "y216le": "yuv422p16le", "xv30le": "yuv444p10le", "v30xle": "yuv444p10le",
    "xv36le": "yuv444p12le", "xv48be": "yuv444p16le", "ayuv64le": "yuva444p16le", "yuv444p10msbbe": "yuv444p10le",
    "yuv444p12msble": "yuv444p12le", "x2rgb10le": "gbrp10le", "x2bgr10le": "gbrp10le",
}  # fmt: skip


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", PACKED)
def test_packed_formats_lose_nothing(name: str, full: bool) -> None:
    planar = av.VideoFrame(62, 33, PACKED[name])
    bits = planar.format.components[0].bits
    generator = np.random.default_rng(3)
    for plane in planar.planes:
        samples = np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16)
        samples[:] = generator.integers(0, 2**bits, samples.size)
    planar.color_range = swing = 2 if full else 1
    packed = planar.reformat(
        format=name, src_colorspace="ITU709", dst_colorspace="ITU709", src_color_range=swing, dst_color_range=swing
    )
    colour, cpu = Colour(matrix=1, full_range=full), torch.device("cpu")
    rgb, alpha = frame_tensors(planar, colour, "left", cpu)
    packed_rgb, packed_alpha = frame_tensors(packed, colour, "left", cpu)
    assert torch.equal(packed_rgb, rgb)
    assert (alpha is None) == (packed_alpha is None)
    if alpha is not None:
        assert packed_alpha is not None
        assert torch.equal(packed_alpha, alpha)


def test_padded_rows_are_left_out() -> None:
    """Decoders pad rows to their liking: what lies behind the picture must not come in."""
    frame = av.VideoFrame(101, 20, "yuv420p")
    assert frame.planes[0].line_size > 101
    for plane, value in zip(frame.planes, (235, 128, 128), strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
        rows[:] = 0
        rows[:, : plane.width] = value
    rgb, _ = frame_tensors(frame, Colour(6, full_range=False), "left", torch.device("cpu"))
    assert rgb.shape == (3, 20, 101)
    assert (rgb == 255).all()


def test_tensors_do_not_share_the_decoders_memory() -> None:
    for name in ("gbrap", "rgba", "yuva444p", "gray", "gbrapf32le"):
        frame = av.VideoFrame(16, 8, name)
        for plane in frame.planes:
            np.frombuffer(plane, np.uint8)[:] = 60
        rgb, alpha = frame_tensors(frame, Colour(), "left", torch.device("cpu"))
        kept = rgb.clone(), None if alpha is None else alpha.clone()
        for plane in frame.planes:
            np.frombuffer(plane, np.uint8)[:] = 200
        assert torch.equal(rgb, kept[0]), name
        if alpha is not None:
            assert kept[1] is not None
            assert torch.equal(alpha, kept[1]), name


MATRICES = {  # a b c d: column p, row q of the coded picture is shown at x = a p + c q, y = b p + d q
    (1, 0, 0, 1): (False, 0), (-1, 0, 0, 1): (True, 0), (-1, 0, 0, -1): (False, 180), (1, 0, 0, -1): (True, 180),
    (0, 1, 1, 0): (True, 270), (0, 1, -1, 0): (False, 90), (0, -1, -1, 0): (True, 90), (0, -1, 1, 0): (False, 270),
}  # fmt: skip


@pytest.mark.parametrize("matrix", MATRICES)
def test_display_matrices_turn_the_picture(matrix: tuple[int, int, int, int], tmp_path: Path) -> None:
    a, b, c, d = matrix
    coded = coded_picture(1234, 40, 72)
    path = tmp_path / "turned.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("qtrle", rate=24)
        stream.height, stream.width, stream.pix_fmt = 40, 72, "rgb24"
        one = 1 << 16
        stream.set_display_matrix([a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(coded, "rgb24")))
        container.mux(stream.encode())
    # Where every coded pixel is shown, by the definition of the matrix, moved so that the least place is 0.
    q, p = np.mgrid[:40, :72]
    x, y = a * p + c * q, b * p + d * q
    shown = np.empty((np.ptp(y) + 1, np.ptp(x) + 1, 3), np.uint8)
    shown[y - y.min(), x - x.min()] = coded
    info = probe(path)
    assert (info.mirrored, info.rotation_degrees) == MATRICES[matrix]
    with open_source(path) as source:
        (frame,) = source
    assert torch.equal(frame.rgb, torch.from_numpy(shown).permute(2, 0, 1))
    assert (info.height, info.width) == frame.rgb.shape[1:]


def test_clock_always_rises() -> None:
    clock = PresentationClock(INFO)
    assert [clock(pts) for pts in (5007, 5047, 5087)] == [5007, 5047, 5087]  # right ones are kept
    assert clock(None) == 5127  # missing: one frame on
    assert clock(5127) == 5128  # late: one tick on
    assert clock(5207) == 5207
    assert clock(5, 50) == 5257  # begun anew: time runs on ...
    assert clock(55, 50) == 5307  # ... from there
    stored = PresentationClock(INFO, [0, 3, 9])  # as AVI stores them
    assert [stored(pts) for pts in (9, 0, 3)] == [0, 3, 9]


INFO = ClipInfo(
    Path("clip"), "mpegts", "h264", 64, 48, Fraction(1, 1000), Fraction(25), None, None, "yuv420p", 8, Colour(), 0,
    Fraction(1), has_alpha=False,
)  # fmt: skip
