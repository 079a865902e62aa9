"""Fixtures shared by all tests."""

import os
import shutil
from pathlib import Path

import av
import pytest
import torch

# Numba's threads, which PyMatting starts when it is imported, would change the number of torch's.
os.environ.setdefault("NUMBA_NUM_THREADS", str(torch.get_num_threads()))

DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of real clips and stills that are measured against but never shipped.

    ``VIDEOMATTE_TEST_DATA`` names it. Where it is absent the tests that need it are skipped, except in CI, where it
    must be present.
    """
    folder = Path(os.environ.get("VIDEOMATTE_TEST_DATA", DEFAULT_DATA))
    if not folder.is_dir():
        reason = f"no test data at {folder}: set VIDEOMATTE_TEST_DATA to the folder that holds it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def green_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short clip of a subject before a green screen, with sound; its truth lies beside it.

    In its folder: ``clip.mp4``, ``alpha/`` and ``trimap/`` (one picture per frame), ``photo.png`` and ``trimap.png``
    (frame 0 and its trimap).
    """
    from videomatte.scenes import SceneSettings, write_clip

    folder = tmp_path_factory.mktemp("green")
    clip = write_clip(SceneSettings(width=320, height=180, frames=8, seed=3, backdrop="green"), folder)
    shutil.copy(min((folder / "trimap").glob("*.png")), folder / "trimap.png")
    with av.open(clip) as container:
        next(container.decode(video=0)).save(folder / "photo.png")
    return clip


@pytest.fixture(autouse=True)
def _restore_random_state() -> None:
    """Every test draws the same random numbers, whatever ran before it."""
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` skip where there is no CUDA device, unless VIDEOMATTE_REQUIRE_GPU says there must be one."""
    if torch.cuda.is_available() or os.environ.get("VIDEOMATTE_REQUIRE_GPU"):
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
