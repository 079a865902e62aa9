"""Checkpoints of every layout load to the same alpha; what is not whole or not ViTMatte is refused in one line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from vitmatte_reference import SMALL, TINY, ours, picture, reference, reference_alpha

from videomatte.errors import ModelError
from videomatte.models.checkpoint import read_checkpoint, write_checkpoint
from videomatte.models.load import load_model, load_network
from videomatte.models.precision import prepare
from videomatte.models.vitmatte import ViTMatte, ViTMatteConfig

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network as transformers writes it."""
    folder: Path = tmp_path_factory.mktemp("transformers")
    reference(TINY).save_pretrained(folder)
    return folder


def alpha_of(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        alpha: torch.Tensor = model(*picture(1, 64, 96))
    return alpha


def test_the_three_layouts_load_to_the_same_alpha(tmp_path: Path) -> None:
    model = reference(SMALL)
    model.save_pretrained(tmp_path / "transformers")
    (tmp_path / "transformers/preprocessor_config.json").write_text(json.dumps(IMAGENET))
    network = ours(model)
    # The original's training loop keeps more beside the weights.
    original = {
        "model": network.state_dict(),
        "iteration": 12,
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
    }
    torch.save(original, tmp_path / "ViTMatte_S.pth")
    torch.save(network.state_dict(), tmp_path / "bare.pth")
    write_checkpoint(read_checkpoint(tmp_path / "ViTMatte_S.pth"), tmp_path / "ours.safetensors")
    save_file(network.state_dict(), tmp_path / "original.safetensors")
    (tmp_path / "pickled").mkdir()
    torch.save(model.state_dict(), tmp_path / "pickled/pytorch_model.bin")
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / "pickled" / name).write_bytes((tmp_path / "transformers" / name).read_bytes())

    expected = alpha_of(load_model(str(tmp_path / "transformers"), precision="fp32"))
    assert expected.std() > 0.1
    sources = "transformers/model.safetensors", "pickled", "ViTMatte_S.pth", "bare.pth", "original.safetensors"
    for source in (*sources, "ours.safetensors"):
        torch.testing.assert_close(alpha_of(load_model(str(tmp_path / source), precision="fp32")), expected)


def test_names_are_the_originals() -> None:
    # As listed by the original repository's modules and the seed.
    published = {
        "backbone.pos_embed",
        "backbone.patch_embed.proj.bias",
        "backbone.blocks.0.norm1.weight",
        "backbone.blocks.0.attn.rel_pos_h",
        "backbone.blocks.0.attn.qkv.weight",
        "backbone.blocks.11.mlp.fc2.bias",
        "backbone.blocks.2.residual.conv1.weight",
        "backbone.blocks.2.residual.norm3.bias",
        "decoder.convstream.convs.2.bn.running_var",
        "decoder.fusion_blks.3.conv.conv.weight",
        "decoder.matting_head.matting_convs.3.bias",
    }
    assert published <= ViTMatte().state_dict().keys()
    mask = ViTMatte(ViTMatteConfig(decoder="mask")).state_dict()
    assert {"decoder.output_upscaling.3.weight", "decoder.output_upscaling.4.running_mean"} <= mask.keys()


def test_normalisation_belongs_to_the_checkpoint(folder: Path, tmp_path: Path) -> None:
    # Without a preprocessor_config.json the image processor's default counts, which is not the original's.
    model = reference(TINY)
    torch.testing.assert_close(
        alpha_of(load_model(str(folder), precision="fp32")),
        reference_alpha(model, *picture(1, 64, 96)),
        atol=1e-4,
        rtol=0,
    )
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    for settings, mean, std in (
        (IMAGENET, IMAGENET["image_mean"], IMAGENET["image_std"]),
        ({"do_normalize": False}, [0, 0, 0], [1, 1, 1]),
        ({}, [0.5] * 3, [0.5] * 3),
    ):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
        network = read_checkpoint(tmp_path)
        torch.testing.assert_close(network.mean.flatten(), torch.tensor(mean).float())
        torch.testing.assert_close(network.std.flatten(), torch.tensor(std).float())


def test_our_layout_keeps_everything(tmp_path: Path) -> None:
    config = ViTMatteConfig(
        mean=(0.1, 0.2, 0.3), in_chans=5, embed_dim=32, depth=2, heads=2, window_blocks=(1,), convstream_out=(8, 8, 8)
    )
    network = ViTMatte(config).eval()
    network.state_dict()["decoder.fusion_blks.0.conv.bn.running_var"].fill_(1e6)  # more than half precision holds
    write_checkpoint(network, tmp_path / "whole.safetensors")
    write_checkpoint(network, tmp_path / "half.safetensors", torch.float16)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half.safetensors", "whole.safetensors"]
    whole, half = (load_network(str(tmp_path / name)) for name in ("whole.safetensors", "half.safetensors"))
    for restored, tolerance in ((whole, 0), (half, 1e-3)):
        assert restored.config == config
        assert not restored.training
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(restored.state_dict()[name], tensor, atol=tolerance, rtol=tolerance)
    with pytest.raises(ValueError, match="prepared for inference"):
        write_checkpoint(prepare(network, torch.device("cpu")), tmp_path / "prepared.safetensors")
    assert not (tmp_path / "prepared.safetensors").exists()


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as error:
        load_network(str(path))
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message.replace(str(path), "PATH")


def test_keys_that_do_not_fit_are_listed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    tensors = load_file(folder / "model.safetensors")
    del tensors["decoder.matting_head.matting_convs.3.bias"]
    tensors["decoder.extra.weight"] = torch.zeros(1)
    tensors["backbone.encoder.layer.1.mlp.fc1.bias"] = torch.zeros(7)
    save_file(tensors, tmp_path / "model.safetensors")
    message = refused(tmp_path)
    assert "1 missing (decoder.matting_head.matting_convs.3.bias)" in message
    assert "1 unexpected (decoder.extra.weight)" in message
    assert "1 misshapen (backbone.blocks.1.mlp.fc1.bias [7] instead of [128])" in message


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", ["truncated", "empty", "page", "pointer", "foreign"])
def test_damaged_and_foreign_files_are_refused(folder: Path, tmp_path: Path, suffix: str, content: str) -> None:
    path = tmp_path / f"weights{suffix}"
    tensors = load_file(folder / "model.safetensors")
    if content == "foreign":
        tensors = {"conv.weight": torch.zeros(3, 3), "fc.bias": torch.zeros(3)}
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    if content == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif content != "foreign":
        text = {"empty": "", "page": "<!DOCTYPE html>", "pointer": "version https://git-lfs.github.com/spec/v1\n"}
        path.write_text(text[content])
    message = refused(path)
    wanted = {"pointer": "git lfs pull", "foreign": "not a checkpoint of ViTMatte"}
    assert wanted.get(content, "download it again") in message


class Harmful:
    """Would create a file if it were unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return subprocess.call, (["touch", str(self.trace)],)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"model": {"a": torch.zeros(1)}, "extra": Harmful(trace)}, tmp_path / "weights.pth")
    assert "could run code" in refused(tmp_path / "weights.pth")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "vit"}, "describes a vit model"),
        ({"backbone_config": {"out_features": ["stage2"]}}, "out_features is ['stage2'], only ['stage4']"),
        ({"backbone_config": {"use_relative_position_embeddings": False}}, "use_relative_position_embeddings is False"),
        ({"backbone_config": {"num_attention_heads": "two"}}, "cannot be built"),
        ({"fusion_hidden_sizes": [8, 8]}, "one entry more"),
    ],
)
def test_other_configurations_are_refused(folder: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    for name, value in change.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ModelError) as error:
        read_checkpoint(tmp_path)
    assert message in str(error.value)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    assert "no checkpoint in this folder" in refused(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_network(str(tmp_path))
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"videomatte": "other"})
    assert "weights of other, not of ViTMatte" in refused(tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="not a network"):
        load_network("closed-form")
