"""Memory as predicted, beside what tensors really take and beside plain arithmetic."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from videomatte.config import TrimapSettings, parse_bytes
from videomatte.errors import ModelError, UsageError
from videomatte.matting.network import NetworkMatting
from videomatte.matting.plan import most_frames, peak_bytes
from videomatte.models.embedded import load_embedded
from videomatte.models.laplacian import LaplacianMatting
from videomatte.models.precision import prepare
from videomatte.models.vitmatte import SMALL, ViTMatte, ViTMatteConfig
from videomatte.types import BACKGROUND, FOREGROUND, UNKNOWN, Frame, TrimapFrame

CPU = torch.device("cpu")
SMALLER = ViTMatteConfig(embed_dim=192, depth=3, heads=3, window_blocks=(0,), residual_blocks=(1,))


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors made within that are alive, and the most there ever were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self.known:
                    self.known.add(key)
                    self.now += size
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._free, key, size)
        return out

    def _free(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def frames(height: int, width: int, count: int, unknown: float) -> list[TrimapFrame]:
    trimap = torch.full((1, height, width), UNKNOWN, dtype=torch.uint8)
    side = max(1, round(width * (1 - unknown) / 2))
    trimap[..., :side], trimap[..., width - side :] = BACKGROUND, FOREGROUND
    rgb = [torch.randint(0, 256, (3, height, width), dtype=torch.uint8) for _ in range(count)]
    return [TrimapFrame(Frame(i, i, Fraction(1, 25), one), trimap, "generated") for i, one in enumerate(rgb)]


def live_bytes(model: torch.nn.Module, height: int, width: int, batch: int, unknown: float, regions: str) -> int:
    items = frames(height, width, batch, unknown)
    stage = NetworkMatting(model, CPU, batch, regions=regions)  # type: ignore[arg-type]
    with Live() as live:
        assert len(list(stage(iter(items)))) == batch
    return live.peak


@pytest.mark.parametrize(
    ("height", "width", "batch", "precision"),
    [(256, 320, 1, "fp32"), (256, 320, 3, "fp32"), (360, 500, 2, "fp32"), (160, 192, 1, "bf16")],
)
def test_vitmatte_takes_what_is_predicted(height: int, width: int, batch: int, precision: str) -> None:
    network = prepare(ViTMatte(SMALLER), CPU, precision)  # type: ignore[arg-type]
    taken = live_bytes(network, height, width, batch, 0.8, "full")
    # What the stage promises of its predictions is 20 %.
    assert peak_bytes(network, height, width, batch) == pytest.approx(taken, rel=0.15)


@pytest.mark.parametrize(
    ("make", "height", "width", "batch"),
    [(load_embedded, 360, 500, 2), (load_embedded, 480, 640, 1), (LaplacianMatting, 480, 640, 2)],
)
def test_solver_and_embedded_model_take_what_is_predicted(
    make: Callable[[], torch.nn.Module], height: int, width: int, batch: int
) -> None:
    network = prepare(make(), CPU, "fp32")
    taken = live_bytes(network, height, width, batch, 0.6, "full")
    predicted = peak_bytes(network, height, width, batch, unknown=0.6)
    assert predicted is not None
    # 20 MB of the prediction are libraries' own, which are no tensors.
    assert predicted - 20e6 == pytest.approx(taken, rel=0.2)


@pytest.mark.parametrize("unknown", [0.1, 0.9])
def test_vitmatte_near_unknown_takes_what_is_predicted(unknown: float) -> None:
    network = prepare(ViTMatte(SMALLER), CPU, "fp32")
    taken = live_bytes(network, 360, 500, 2, unknown, "auto")
    # As on CUDA: of a CPU's memory only what is written to is taken, and these are the tensors whole.
    assert peak_bytes(network, 360, 500, 2, near=True, device="cuda") == pytest.approx(taken, rel=0.15)


def test_vitmatte_counted_by_hand() -> None:
    network = prepare(ViTMatte(SMALL), CPU, "fp32")
    pixels = 2 * 2176 * 3840  # two frames of 2160 rows, filled up to a multiple of 32
    inputs = 12 + 12 + 4 + 1 + 4 * 4  # RGB twice, the trimap, as it came, and the network's own four channels
    features = 4 * 384 / 256
    details = 4 * (48 / 4 + 96 / 16 + 192 / 64)
    head = 4 * (32 + 16 + 1)
    at_head = pixels * (inputs + features + details + head)
    # The last fusion: its input and output, and a band of rows of about 2^23 numbers with all that it is made from.
    at_fusion = pixels * (inputs + features + details + 4 * (64 / 4 + 32))
    at_fusion += 4 * (64 + 68 + 32) * 2 * 3840 * (2 * (2**23 // (68 * 2 * 2 * 3840)) + 4)
    assert peak_bytes(network, 2160, 3840, 2) == pytest.approx(max(at_head, at_fusion), rel=1e-3)


@pytest.mark.parametrize("make", [load_embedded, LaplacianMatting, lambda: ViTMatte(SMALLER)])
def test_more_of_anything_never_takes_less(make: Callable[[], torch.nn.Module]) -> None:
    network = prepare(make(), CPU, "fp32")
    sizes = [peak_bytes(network, size, size, 1) or 0 for size in range(32, 2000, 97)]
    batches = [peak_bytes(network, 480, 640, batch) or 0 for batch in range(1, 9)]
    assert all(0 < less < more for needs in (sizes, batches) for less, more in pairwise(needs))
    assert peak_bytes(network, 480, 640, 1, unknown=0.1) <= peak_bytes(network, 480, 640, 1)  # type: ignore[operator]
    rooms = [most_frames(network, 480, 640, 8, room, CPU) for room in range(0, 6 * 10**9, 10**8)]
    assert rooms == sorted(rooms)
    assert rooms[0] == 0
    assert rooms[-1] == 8


def test_batch_is_the_most_that_fits_and_the_report_says_so() -> None:
    network = prepare(ViTMatte(SMALLER), CPU, "fp32")
    for room, expected in ((10**12, 4), (peak_bytes(network, 64, 96, 2), 2)):
        assert most_frames(network, 64, 96, 4, room or 0, CPU) == expected
    assert most_frames(torch.nn.Identity(), 64, 96, 4, 1, CPU) == 4, "of other models nothing is known"
    mattes = list(NetworkMatting(network, CPU, 4, memory=10**15)(iter(frames(64, 96, 5, 0.5))))
    assert [matte.frame.index for matte in mattes] == list(range(5))


def test_a_frame_that_cannot_fit_says_what_it_takes_and_what_to_do() -> None:
    network = prepare(ViTMatte(SMALLER), CPU, "fp32")
    stage = NetworkMatting(network, CPU, 4, regions="full", memory=1)
    with pytest.raises(ModelError, match=r"single frame of 96x64 takes some .* GB.*--memory"):
        list(stage(iter(frames(64, 96, 1, 0.5))))


@pytest.mark.parametrize(
    ("text", "count"),
    [("8GB", 8 * 10**9), ("512mb", 512 * 10**6), ("1.5 GiB", 3 * 2**29), ("1000", 1000), ("2k", 2000)],
)
def test_memory_as_people_write_it(text: str, count: int) -> None:
    assert parse_bytes(text) == count
    assert TrimapSettings(memory=text).memory == text


@pytest.mark.parametrize("text", ["much", "8 apples", "-1GB", "0", "", "GB"])
def test_what_is_no_memory_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--memory .*8GB"):
        TrimapSettings(memory=text)
