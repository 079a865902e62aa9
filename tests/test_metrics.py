import math

import numpy as np
import pytest
import scipy.ndimage
import skimage.measure
import torch

from videomatte import metrics
from videomatte.errors import ShapeError
from videomatte.types import UNKNOWN

# Sums of some thousand float32 terms against float64.
RELATIVE = 2e-5


def soft_mattes(seed, frames=1, size=(61, 83)):
    """Blobs with soft edges, holes and islands, and a damaged copy, at 8 bits as mattes come from files."""
    random = np.random.default_rng(seed)
    noise = scipy.ndimage.gaussian_filter(random.standard_normal((frames, *size)), (0.5, 4, 4))
    true = np.clip(noise / noise.std() * 0.8 + 0.5, 0, 1)
    damage = scipy.ndimage.gaussian_filter(random.standard_normal((frames, *size)), (0, 2, 2))
    predicted = np.clip(true + 0.3 * damage / damage.std(), 0, 1)
    trimap = np.where(scipy.ndimage.binary_dilation(np.abs(true - 0.5) < 0.45, iterations=1), UNKNOWN, 0)
    return np.round(predicted * 255) / 255, np.round(true * 255) / 255, trimap.astype(np.uint8)


def tensors(*arrays):
    return [
        torch.from_numpy(a)[:, None] if a.dtype == np.uint8 else torch.from_numpy(a).float()[:, None] for a in arrays
    ]


def reference_grad(predicted, true, region):
    def magnitude(alpha):
        x = np.arange(-4, 5)
        gauss = np.exp(-(x**2) / (2 * 1.4**2)) / (1.4 * np.sqrt(2 * np.pi))
        kernel = np.outer(gauss, -x * gauss / 1.4**2)
        kernel /= np.sqrt((kernel**2).sum())
        along_x = scipy.ndimage.convolve(alpha, kernel, mode="nearest")
        along_y = scipy.ndimage.convolve(alpha, kernel.T, mode="nearest")
        return np.sqrt(along_x**2 + along_y**2)

    return ((magnitude(predicted) - magnitude(true)) ** 2)[region].sum() / 1000


def reference_conn(predicted, true, region):
    level = np.full(true.shape, -1.0)
    for step in range(1, 11):
        labels = skimage.measure.label((predicted >= step / 10) & (true >= step / 10), connectivity=1)
        areas = np.bincount(labels.ravel())[1:]
        omega = labels == areas.argmax() + 1 if areas.size else np.zeros(true.shape, bool)
        level[(level == -1) & ~omega] = (step - 1) / 10
    level[level == -1] = 1
    excess_predicted, excess_true = predicted - level, true - level
    phi_predicted = 1 - excess_predicted * (excess_predicted >= 0.15)
    phi_true = 1 - excess_true * (excess_true >= 0.15)
    return np.abs(phi_predicted - phi_true)[region].sum() / 1000


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("with_trimap", [False, True])
def test_spatial_errors_equal_float64_references(seed, with_trimap) -> None:
    predicted, true, trimap = soft_mattes(seed, frames=2)
    p, t, tri = tensors(predicted, true, trimap)
    tri = tri if with_trimap else None
    got = {name: getattr(metrics, name)(p, t, tri) for name in ("mad", "mse", "sad", "grad", "conn")}
    for frame in range(2):
        region = trimap[frame] == UNKNOWN if with_trimap else np.ones(trimap[frame].shape, bool)
        error = (predicted[frame] - true[frame])[region]
        expected = {
            "mad": np.abs(error).mean(),
            "mse": (error**2).mean(),
            "sad": np.abs(error).sum() / 1000,
            "grad": reference_grad(predicted[frame], true[frame], region),
            "conn": reference_conn(predicted[frame], true[frame], region),
        }
        assert min(expected.values()) > 0
        for name, value in expected.items():
            assert float(got[name][frame]) == pytest.approx(value, rel=RELATIVE), name


@pytest.mark.parametrize("with_trimap", [False, True])
def test_temporal_errors_equal_float64_references(with_trimap) -> None:
    predicted, true, trimap = soft_mattes(7, frames=3)
    height, width = trimap.shape[1:]
    flow = np.random.default_rng(1).normal(0, 3, (2, 2, height, width))
    flow[0, :, 10:20, 30:40] = np.nan
    p, t, tri = tensors(predicted, true, trimap)
    tri = tri if with_trimap else None
    got_dtssd = metrics.dtssd(p, t, tri)
    got_messddt = metrics.messddt(p, t, torch.from_numpy(flow).float(), tri)
    rows, columns = np.mgrid[:height, :width]
    for step in range(2):
        region = trimap[step] == UNKNOWN if with_trimap else np.ones((height, width), bool)
        e0, e1 = predicted[step] - true[step], predicted[step + 1] - true[step + 1]
        assert float(got_dtssd[step]) == pytest.approx(np.sqrt(((e1 - e0) ** 2)[region].mean()), rel=RELATIVE)
        x, y = columns + flow[step, 0], rows + flow[step, 1]
        known = region & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        moved = scipy.ndimage.map_coordinates(e1, [np.nan_to_num(y), np.nan_to_num(x)], order=1, mode="nearest")
        expected = np.abs(moved**2 - e0**2)[known].mean()
        # Positions are rounded to float32 twice on the way through grid_sample's [-1, 1].
        assert float(got_messddt[step]) == pytest.approx(expected, rel=1e-3)


def test_a_perfect_matte_has_no_error() -> None:
    _, true, _ = soft_mattes(0, frames=2)
    (alpha,) = tensors(true)
    for metric in (metrics.mad, metrics.mse, metrics.sad, metrics.grad, metrics.conn):
        assert metric(alpha, alpha).tolist() == [0, 0]
    assert metrics.dtssd(alpha, alpha).tolist() == [0]
    assert metrics.messddt(alpha, alpha, torch.rand(1, 2, 61, 83)).tolist() == [0]


def test_values_worked_out_by_hand() -> None:
    predicted = torch.tensor([[[0.0, 0.5], [1.0, 0.25]]])
    true = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    assert float(metrics.mad(predicted, true)) == 0.75 / 4
    assert float(metrics.mse(predicted, true)) == (0.25 + 0.0625) / 4
    assert float(metrics.sad(predicted, true)) == pytest.approx(0.75e-3)
    trimap = torch.tensor([[[0, 128], [255, 255]]], dtype=torch.uint8)
    assert float(metrics.mad(predicted, true, trimap)) == 0.5


def test_grad_of_a_step_edge_by_hand() -> None:
    # Along x a unit step answers with the running sum of the unit-energy derivative kernel, times the sum of the
    # unit-energy smoothing kernel along y; rows are alike.
    taps = np.arange(-4, 5)
    gauss = np.exp(-(taps**2) / (2 * 1.4**2))
    derivative = taps * gauss
    response = np.cumsum(derivative / np.linalg.norm(derivative))[:-1] * (gauss / np.linalg.norm(gauss)).sum()
    step = torch.zeros(1, 20, 30)
    step[..., 15:] = 1
    assert float(metrics.grad(step, torch.zeros_like(step))) == pytest.approx(20 * (response**2).sum() / 1000, rel=1e-5)


def test_conn_punishes_an_island_by_hand() -> None:
    # A 10 x 10 subject in both; a 3 x 3 island at 0.6 in the prediction alone. The island never belongs to the largest
    # piece where both are opaque, so its level is 0: φ is 1 - 0.6 against 1.
    true = torch.zeros(1, 30, 30)
    true[:, :10, :10] = 1
    predicted = true.clone()
    predicted[:, 20:23, 20:23] = 0.6
    assert float(metrics.conn(predicted, true)) == pytest.approx(9 * 0.6 / 1000, rel=1e-5)
    # At 0.1 it stays below θ = 0.15 and counts nothing.
    predicted[:, 20:23, 20:23] = 0.1
    assert float(metrics.conn(predicted, true)) == 0


def test_conn_without_a_common_pixel_is_the_sum_of_both() -> None:
    predicted, true = torch.zeros(1, 4, 8), torch.zeros(1, 4, 8)
    predicted[..., :2], true[..., 6:] = 1, 1
    assert float(metrics.conn(predicted, true)) == pytest.approx(16 / 1000)


def test_an_error_that_rides_along_costs_dtssd_but_not_messddt() -> None:
    true, error = torch.zeros(2, 1, 16, 16), torch.zeros(2, 1, 16, 16)
    error[0, 0, 4:8, 4:8] = 0.5
    error[1, 0, 5:9, 6:10] = 0.5  # two to the right, one down
    flow = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 16, 16)
    assert metrics.messddt(error, true, flow).tolist() == [0]
    assert metrics.messddt(error, true, -flow)[0] > 0
    assert metrics.dtssd(error, true)[0] > 0
    still = torch.stack([error[0], error[0]])
    assert metrics.dtssd(still, true).tolist() == [0]
    assert metrics.messddt(still, true, torch.zeros(1, 2, 16, 16)).tolist() == [0]


def test_flow_out_of_the_picture_or_unknown_is_left_out() -> None:
    predicted, true = torch.zeros(2, 1, 1, 4), torch.zeros(2, 1, 1, 4)
    predicted[0] = 0.5
    flow = torch.zeros(1, 2, 1, 4)
    flow[0, 0, 0] = torch.tensor([-1.0, math.nan, 0.0, 0.5])
    predicted[1, 0, 0, 2] = 1.0
    assert metrics.messddt(predicted, true, flow).tolist() == [0.75]


def test_accumulated_means_equal_the_whole_clip_at_once() -> None:
    predicted, true, trimap = soft_mattes(3, frames=5)
    trimap[2] = 0  # nothing unknown: no mean, left out
    p, t, tri = tensors(predicted, true, trimap)
    flow = torch.randn(4, 2, 61, 83)
    clip = metrics.ClipErrors()
    frames = [clip.update(p[i], t[i], tri[i], None if i == 0 else flow[i - 1]) for i in range(5)]
    mean = clip.mean()
    assert frames[0].dtssd is None
    assert frames[0].messddt is None
    assert math.isnan(frames[2].mad)
    assert mean.mad == pytest.approx(float(metrics.mad(p, t, tri).nanmean()), rel=1e-6)
    assert mean.sad == pytest.approx(float(metrics.sad(p, t, tri).mean()), rel=1e-6)
    assert mean.conn == pytest.approx(float(metrics.conn(p, t, tri).mean()), rel=1e-6)
    assert mean.dtssd == pytest.approx(float(metrics.dtssd(p, t, tri).nanmean()), rel=1e-6)
    assert mean.messddt == pytest.approx(float(metrics.messddt(p, t, flow, tri).nanmean()), rel=1e-6)


def test_a_single_frame_has_no_temporal_errors() -> None:
    clip = metrics.ClipErrors()
    clip.update(torch.rand(1, 9, 9), torch.rand(1, 9, 9))
    assert clip.mean().dtssd is None
    assert clip.mean().messddt is None
    assert math.isnan(metrics.ClipErrors().mean().mad)


def test_shapes_that_disagree_are_named() -> None:
    with pytest.raises(ShapeError, match=r"\[1, 4, 4\] and \[1, 4, 5\]"):
        metrics.mad(torch.rand(1, 4, 4), torch.rand(1, 4, 5))
    with pytest.raises(ShapeError, match=r"\[1, 4, 4\] and \[1, 4, 4\] and \[1, 5, 4\]"):
        metrics.conn(torch.rand(1, 4, 4), torch.rand(1, 4, 4), torch.zeros(1, 5, 4, dtype=torch.uint8))
    with pytest.raises(ShapeError, match=r"\[3, 4, 4\]"):
        metrics.grad(torch.rand(3, 4, 4), torch.rand(3, 4, 4))
    with pytest.raises(ShapeError, match=r"flow must be \[1, 2, 4, 4\], got \[1, 4, 4, 2\]"):
        metrics.messddt(torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4), torch.rand(1, 4, 4, 2))
    clip = metrics.ClipErrors()
    clip.update(torch.rand(1, 4, 4), torch.rand(1, 4, 4))
    with pytest.raises(ShapeError, match="before"):
        clip.update(torch.rand(1, 4, 5), torch.rand(1, 4, 5))


@pytest.mark.gpu
def test_the_device_does_not_change_the_errors() -> None:
    p, t, tri = tensors(*soft_mattes(1, frames=3))
    flow = torch.randn(2, 2, 61, 83)
    on_gpu = [x.cuda() for x in (p, t, tri, flow)]
    for name in ("mad", "mse", "sad", "grad", "conn", "dtssd"):
        metric = getattr(metrics, name)
        torch.testing.assert_close(metric(*on_gpu[:3]).cpu(), metric(p, t, tri), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(
        metrics.messddt(on_gpu[0], on_gpu[1], on_gpu[3], on_gpu[2]).cpu(),
        metrics.messddt(p, t, flow, tri),
        rtol=1e-3,
        atol=1e-7,
    )
