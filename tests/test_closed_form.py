"""Closed-form matting against PyMatting called directly, and what the stage adds to it."""

import logging
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pymatting
import pytest
import torch

from videomatte.errors import ModelError
from videomatte.matting import closed_form
from videomatte.matting.closed_form import ClosedFormMatting
from videomatte.types import Frame, TrimapFrame


def still(data: Path, name: str) -> TrimapFrame:
    """A quarter-size crop around the subject's hair, so that each test solves in well under a second."""
    folder = data / "01_stills/alphamatting"
    rgb = pymatting.load_image(str(folder / f"input/{name}.png"), "RGB", 0.4, "box")
    trimap = pymatting.load_image(str(folder / f"trimap1/{name}.png"), "GRAY", 0.4, "nearest")
    trimap = pymatting.fix_trimap(trimap)
    return TrimapFrame(
        Frame(0, 0, Fraction(1, 25), torch.from_numpy(np.round(rgb * 255).astype(np.uint8)).permute(2, 0, 1)),
        torch.from_numpy(np.ceil(trimap * 255).astype(np.uint8))[None],
        "generated",
    )


@pytest.mark.parametrize("name", ["GT04", "GT18"])
def test_equals_pymatting_on_real_stills(data: Path, name: str) -> None:
    item = still(data, name)
    (matte,) = ClosedFormMatting()(iter([item]))
    expected = pymatting.estimate_alpha_cf(item.frame.rgb.permute(1, 2, 0).numpy() / 255, item.trimap[0].numpy() / 255)
    # Both stop at a residual of 1e-7, at different iterates because the crop orders the unknowns alike but the known
    # part differently; float32 output.
    assert np.abs(matte.alpha[0].numpy() - expected).max() < 1e-3


def ramp() -> TrimapFrame:
    """A grey ramp: so smooth that the incomplete factorisation fails without a shift."""
    rgb = torch.linspace(0, 1, 60).expand(3, 60, 60)
    trimap = torch.full((1, 60, 60), 128, dtype=torch.uint8)
    trimap[..., :5], trimap[..., -5:] = 0, 255
    return TrimapFrame(Frame(0, 0, Fraction(1, 25), rgb), trimap, "generated")


def test_retries_of_the_factorisation_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    (matte,) = ClosedFormMatting()(iter([ramp()]))
    assert capsys.readouterr() == ("", "")
    # The retries end in a good answer: it rises throughout, and swapping foreground and background swaps it.
    row = matte.alpha[0, 30]
    assert (row.diff() >= 0).all()
    assert torch.allclose(row + row.flip(0), torch.ones(60), atol=1e-3)


def test_a_solver_that_gives_up_leaves_its_last_iterate_and_a_log_line(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    item = still(data, "GT04")
    (exact,) = ClosedFormMatting()(iter([item]))
    monkeypatch.setattr(closed_form, "_MAX_ITERATIONS", 5)
    with caplog.at_level(logging.WARNING):
        (matte,) = ClosedFormMatting()(iter([item]))
    assert "frame 0 is not exact" in caplog.text
    # Five preconditioned steps are already much nearer the solution than no step at all.
    unknown = item.trimap == 128
    assert (matte.alpha - exact.alpha)[unknown].abs().mean() < 0.5 * exact.alpha[unknown].mean()


def test_torch_keeps_its_number_of_threads() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_NUM_THREADS"}
    script = (
        "import torch; from videomatte.matting import ClosedFormMatting\n"
        "ClosedFormMatting(); print(torch.get_num_threads())"
    )
    asked = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.strip() == "1"


def test_without_pymatting_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymatting", None)
    with pytest.raises(ModelError, match=r'pip install "videomatte\[classic\]"'):
        ClosedFormMatting()
