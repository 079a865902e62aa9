import json
import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from pipelines.evaluate import evaluate
from videomatte import metrics
from videomatte.errors import InputError


def mattes(seed, frames=4, size=(30, 44)):
    return np.random.default_rng(seed).integers(0, 256, (frames, *size), dtype=np.uint8)


def write(folder: Path, pictures, mode="L") -> Path:
    folder.mkdir()
    for index, picture in enumerate(pictures):
        image = PIL.Image.fromarray(picture)
        if mode == "RGBA":  # the matte in the alpha channel, noise in the colours
            colour = np.random.default_rng(index).integers(0, 256, (*picture.shape, 3), dtype=np.uint8)
            image = PIL.Image.fromarray(np.dstack([colour, picture]))
        image.save(folder / f"{index:04d}.png")
    return folder


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_folders_are_measured_as_the_metrics_measure_tensors(tmp_path, mode) -> None:
    a, b = mattes(1), mattes(2)
    trimap = np.where(mattes(3) < 128, 128, 255).astype(np.uint8)
    report = evaluate(
        write(tmp_path / "pred", a, mode), write(tmp_path / "true", b), write(tmp_path / "trimap", trimap)
    )
    p, t = (torch.from_numpy(x).float()[:, None] / 255 for x in (a, b))
    tri = torch.from_numpy(trimap)[:, None]
    assert report.frames == 4
    for name in ("mad", "mse", "sad", "grad", "conn", "dtssd"):
        expected = float(getattr(metrics, name)(p, t, tri).mean())
        # Files hold the very same 8 bits; means of means differ by float32 rounding.
        assert getattr(report.errors, name) == pytest.approx(expected, rel=1e-5), name
    assert report.errors.messddt is None


def test_images_alone_have_no_temporal_error(tmp_path) -> None:
    write(tmp_path / "pred", mattes(1, 1))
    write(tmp_path / "true", mattes(2, 1))
    report = evaluate(tmp_path / "pred/0000.png", tmp_path / "true/0000.png")
    assert report.frames == 1
    assert report.errors.mad == pytest.approx(np.abs(mattes(1, 1) / 255.0 - mattes(2, 1) / 255.0).mean(), rel=1e-5)
    assert report.errors.dtssd is None
    assert report.table().splitlines()[0].endswith("0000.png: 1 frame, everywhere")
    assert "  dtSSD           -  × 1e2" in report.table().splitlines()


def test_a_lossless_movie_measures_as_its_pictures(data: Path) -> None:
    made = data / "10_awkward/made"
    report = evaluate(made / "alpha_ffv1.mkv", made / "alpha_gt")
    assert report.frames == 8
    assert report.errors.mad == 0
    assert report.errors.dtssd == 0


def test_table_and_dictionary_hold_the_same_numbers(tmp_path) -> None:
    report = evaluate(write(tmp_path / "pred", mattes(1)), write(tmp_path / "true", mattes(2)))
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["frames"] == 4
    assert plain["trimap"] is None
    assert list(plain["errors"]) == ["mad", "mse", "sad", "grad", "conn", "dtssd"]
    rows = dict(line.split(maxsplit=2)[:2] for line in report.table().splitlines()[1:])
    assert float(rows["MAD"]) == pytest.approx(plain["errors"]["mad"] * 1e3, abs=5e-4)
    assert float(rows["SAD"]) == pytest.approx(plain["errors"]["sad"], abs=5e-4)
    assert float(rows["dtSSD"]) == pytest.approx(plain["errors"]["dtssd"] * 1e2, abs=5e-4)


def test_nothing_unknown_is_nothing_measured(tmp_path) -> None:
    sure = np.full((2, 30, 44), 255, dtype=np.uint8)
    report = evaluate(
        write(tmp_path / "pred", mattes(1, 2)), write(tmp_path / "true", mattes(2, 2)), write(tmp_path / "tri", sure)
    )
    assert math.isnan(report.errors.mad)
    assert report.to_dict()["errors"]["mad"] is None
    json.dumps(report.to_dict(), allow_nan=False)
    assert "  MAD             -  × 1e3" in report.table().splitlines()


def test_counts_that_differ_are_named(tmp_path) -> None:
    pred, true = write(tmp_path / "pred", mattes(1, 5)), write(tmp_path / "true", mattes(2, 3))
    with pytest.raises(InputError, match=r"pred has 5 frames, .*true has 3 frames: give as many"):
        evaluate(pred, true)
    with pytest.raises(InputError, match=r"true has 3 frames, .*pred has 5 frames"):
        evaluate(true, pred)
    tri = write(tmp_path / "tri", np.full((1, 30, 44), 128, dtype=np.uint8))
    with pytest.raises(InputError, match=r"true has 3 frames, .*true has 3 frames, .*tri has 1 frame:"):
        evaluate(true, true, tri)


def test_sizes_that_differ_are_named(tmp_path) -> None:
    pred, true = write(tmp_path / "pred", mattes(1, 2)), write(tmp_path / "true", mattes(2, 2, (30, 45)))
    with pytest.raises(InputError, match=r"^frame 0: .*pred has 44x30, .*true has 45x30: "):
        evaluate(pred, true)


def test_a_photograph_is_no_matte_and_no_trimap(tmp_path) -> None:
    photos = np.random.default_rng(0).integers(0, 256, (2, 30, 44, 3), dtype=np.uint8)
    pred, photo = write(tmp_path / "pred", mattes(1, 2)), write(tmp_path / "photo", photos)
    with pytest.raises(InputError, match=r"photo: is in colour and has no alpha channel"):
        evaluate(pred, photo)
    with pytest.raises(InputError, match=r"photo: frame 0 is in colour"):
        evaluate(pred, pred, photo)
    with pytest.raises(InputError, match="missing"):
        evaluate(pred, tmp_path / "missing")
