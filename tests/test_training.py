"""The loop: a run that was stopped ends bit for bit where one that was not does, and the folder says what happened."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from pipelines.train import train
from videomatte.errors import ModelError, UsageError
from videomatte.models.embedded import EmbeddedMatting, load_embedded
from videomatte.training.backdrops import Backdrops
from videomatte.training.data import Batches, Prepared, ProceduralSamples
from videomatte.training.loop import Trainer, learning_rate
from videomatte.training.settings import TrainSettings
from videomatte.training.trainable import trainable

SETTINGS = TrainSettings(
    steps=4, samples=3, held_out=1, size=192, crop=96, batch=2, warmup=1, validate_every=2, workers=0, precision="fp32"
)


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Batches:
    samples = ProceduralSamples(first=0, count=SETTINGS.samples, size=SETTINGS.size, backdrops=Backdrops())
    prepared = Prepared(samples, tmp_path_factory.mktemp("cache"), EmbeddedMatting().prior)
    return Batches(prepared, seed=0, batch=SETTINGS.batch, crop=SETTINGS.crop)


def trainer(settings: TrainSettings = SETTINGS) -> Trainer:
    torch.manual_seed(settings.seed)
    training = trainable(EmbeddedMatting())
    return Trainer(training.model, training.predict, settings, torch.device("cpu"))


def state(run: Trainer) -> dict[str, torch.Tensor]:
    named = {"model": run.model, "average": run.average}
    return {f"{kind}.{n}": t for kind, module in named.items() for n, t in module.state_dict().items()}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stopped_run_goes_on_exactly(batches: Batches, tmp_path: Path, precision: str) -> None:
    settings = replace(SETTINGS, precision=precision)
    whole = trainer(settings)
    rows = list(whole.run(batches[step] for step in range(4)))

    first = trainer(settings)
    list(first.run(batches[step] for step in range(2)))
    first.save(tmp_path / "checkpoint.pt")
    torch.manual_seed(99)  # another process has another random state
    second = trainer(settings)
    second.load(tmp_path / "checkpoint.pt")
    assert second.step == 2
    rest = list(second.run(batches[step] for step in range(2, 4)))

    assert rest == rows[2:]
    expected = state(whole)
    for name, tensor in state(second).items():
        assert torch.equal(tensor, expected[name]), name


def test_learning_lowers_the_loss_and_moves_the_average(batches: Batches) -> None:
    run = trainer(replace(SETTINGS, steps=1000, decay=0.0, lr=1e-3))
    before = {name: tensor.clone() for name, tensor in state(run).items()}
    batch = batches[0]
    rows = list(run.run(batch for _ in range(25)))
    total = [sum(row[name] for name in ("unknown", "known", "laplacian", "gradient")) for row in rows]
    assert total[-1] < 0.9 * total[0]
    moved = [name for name, tensor in state(run).items() if not torch.equal(tensor, before[name])]
    assert any(name.startswith("average.backbone") for name in moved)
    assert any(name.startswith("average.decoder") and "running_mean" in name for name in moved)


def test_learning_rate_rises_holds_and_falls() -> None:
    settings = TrainSettings(steps=1000, warmup=100, decay=0.4, lr=2.0)
    rates = [learning_rate(step, settings) for step in range(1000)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[99] == rates[600] == 2.0
    assert rates[800] == pytest.approx(1.0)
    assert 0 < rates[999] < 0.01
    assert all(b <= a for a, b in pairwise(rates[100:]))


def test_contradictions_are_refused() -> None:
    for wrong, words in (({"batch": 3}, "even"), ({"crop": 100}, "multiple of 32"), ({"decay": 1.5}, "fraction")):
        with pytest.raises(UsageError, match=words):
            TrainSettings(**wrong)


def test_train_leaves_weights_that_load_and_a_log(tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=2, scratch=True, size=192, crop=192)
    report = train(settings, tmp_path)
    assert report.steps == 2
    assert 0 < report.errors["procedural"]["mad"] < 1
    loaded = load_embedded(report.weights)
    assert not loaded.training
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [2]
    assert entries[0]["validation"] == report.errors
    assert (tmp_path / "curves.png").stat().st_size > 1000

    more = train(replace(settings, steps=4), tmp_path)  # goes on, does not start again
    assert more.steps == 4
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_a_published_network_is_tuned_on_a_folder_and_loads_again(tmp_path: Path) -> None:
    """ViTMatte's code path, on a network small enough for a test."""
    from videomatte.models.checkpoint import write_checkpoint
    from videomatte.models.load import load_network
    from videomatte.models.vitmatte import ViTMatte, ViTMatteConfig

    small = ViTMatteConfig(embed_dim=48, depth=2, heads=2, window_blocks=(0,), residual_blocks=(1,), image_size=96)
    torch.manual_seed(0)
    write_checkpoint(ViTMatte(small), tmp_path / "small.safetensors")
    settings = replace(SETTINGS, model=str(tmp_path / "small.safetensors"), steps=2, lr=1e-4)
    report = train(settings, tmp_path / "run")
    before, after = load_network(settings.model).state_dict(), load_network(str(report.weights)).state_dict()
    assert before.keys() == after.keys()
    assert any(bool((before[name] != after[name]).any()) for name in before)


def test_a_model_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights"):
        train(replace(SETTINGS, model="laplacian"), tmp_path)
