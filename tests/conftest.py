"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

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
