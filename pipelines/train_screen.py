"""Learn the embedded model's correction before screens anew, and write its weights with it.

    python -m pipelines.train_screen WEIGHTS.safetensors [--samples 1600] [--backdrops FOLDER]

An hour or less on two cores. The network's weights are those of the shipped model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from videomatte.errors import UsageError
from videomatte.models.embedded import load_embedded
from videomatte.training.backdrops import Backdrops
from videomatte.training.folders import read_pictures
from videomatte.training.screen_correction import Pixels, draw_pixels, fit_correction
from videomatte.training.trainable import trainable

__all__ = ["train_screen"]


class _Samples(Dataset[Pixels | None]):
    def __init__(self, count: int, backdrops: Path | None) -> None:
        self.count = count
        self.model = load_embedded()
        self.backdrops = Backdrops(list(read_pictures(backdrops)) if backdrops else [])

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Pixels | None:
        return draw_pixels(self.model, number, self.backdrops)


def train_screen(
    output: Path, *, samples: int = 1600, steps: int = 4000, backdrops: Path | None = None, workers: int = 2
) -> None:
    """Draw samples, fit the correction, write the embedded model with it.

    Args:
        output: file of weights, as ``--model`` takes it.
        samples: how many are drawn; some give nothing to learn from.
        steps: of the optimizer.
        backdrops: folder of photographs to use as textures of composed subjects, beside the made ones.
        workers: processes that draw.

    Raises:
        InputError: pictures cannot be read.
        UsageError: no sample gave anything to learn from.
    """
    drawn = _Samples(samples, backdrops)
    loader = DataLoader(drawn, batch_size=None, num_workers=workers)
    found = [pixels for pixels in tqdm(loader, unit="sample", dynamic_ncols=True) if pixels is not None]
    if not found:
        raise UsageError(f"--samples {samples}: none of them gives anything to learn from, draw more")
    model = drawn.model
    model.screen = fit_correction(found, steps)
    trainable(model).write(model, output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--samples", type=int, default=1600)
    parser.add_argument("--backdrops", type=Path)
    arguments = parser.parse_args()
    train_screen(arguments.output, samples=arguments.samples, backdrops=arguments.backdrops)


if __name__ == "__main__":
    main()
