"""How cores are shared between torch's own threads and those of the line."""

import threading
from collections.abc import Iterator

import pytest
import torch

from videomatte.engine import cores_shared
from videomatte.matting import NetworkMatting
from videomatte.models.laplacian import LaplacianMatting
from videomatte.models.vitmatte import ViTMatte, ViTMatteConfig


@pytest.fixture
def six_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(6)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("six_threads")
def test_stages_of_small_loops_share_cores_and_large_networks_have_them_all() -> None:
    vitmatte = NetworkMatting(ViTMatte(ViTMatteConfig(embed_dim=48, depth=1, heads=3, residual_blocks=())))
    for matting, threads in ((NetworkMatting(LaplacianMatting()), 2), (vitmatte, 6)):
        with cores_shared(matting):
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 6


@pytest.mark.usefixtures("six_threads")
def test_threads_are_restored_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="boom"), cores_shared(NetworkMatting(LaplacianMatting())):
        raise RuntimeError("boom")
    assert torch.get_num_threads() == 6


@pytest.mark.usefixtures("six_threads")
def test_workers_leave_the_number_alone_and_their_linear_algebra_is_right() -> None:
    seen: list[object] = []
    matrix = torch.rand(64, 64, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def work() -> None:
        with cores_shared(NetworkMatting(LaplacianMatting())):
            product = torch.linalg.inv(matrix) @ matrix
            # Random matrices of this size have condition numbers up to some 1e6.
            seen.extend([torch.get_num_threads(), float((product - torch.eye(9)).abs().max()) < 1e-6])

    def run() -> list[object]:
        seen.clear()
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        return list(seen)

    assert run() == [6, True]
    with cores_shared(NetworkMatting(LaplacianMatting())):
        assert run() == [2, True]
