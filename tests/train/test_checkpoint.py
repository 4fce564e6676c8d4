"""Checkpoints: what comes back, and what a bad file is answered."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from genfuse.errors import CheckpointError
from genfuse.train import checkpoint


def module(width: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(2, width)


def tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {f"ema.{name}": tensor for name, tensor in model.state_dict().items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "a.safetensors", tensors(module()), {"system": "test", "step": 7})
    return tmp_path / "a.safetensors"


def test_round_trip(path: Path) -> None:
    loaded = checkpoint.load(path)
    assert loaded.metadata == {"system": "test", "step": 7, "format_version": 1}
    other = nn.Linear(2, 3)
    loaded.restore(other)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), module().parameters(), strict=True))


def test_export_is_float16(path: Path) -> None:
    checkpoint.export(path, path.with_name("b.safetensors"))
    loaded = checkpoint.load(path.with_name("b.safetensors"))
    assert {tensor.dtype for tensor in loaded.tensors.values()} == {torch.float16}
    assert loaded.metadata == checkpoint.load(path).metadata
    other = nn.Linear(2, 3)
    loaded.restore(other)
    assert other.weight.dtype == torch.float32
    torch.testing.assert_close(other.weight, module().weight, rtol=2**-11, atol=0)


def test_export_refuses_overflow(path: Path) -> None:
    checkpoint.save(path, {"ema.weight": torch.tensor([1e6])}, {})
    with pytest.raises(CheckpointError, match=r"ema\.weight is not finite in float16"):
        checkpoint.export(path, path.with_name("b.safetensors"))
    assert not path.with_name("b.safetensors").exists()


@pytest.mark.parametrize("size", [0, 5, 100, -4])
def test_truncated(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(
        CheckpointError, match=r"a\.safetensors is not a whole safetensors file .*copy it anew"
    ):
        checkpoint.load(path)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("a checkpoint was unpickled",)


def test_nothing_unpickles(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        checkpoint.load(path)
    torch.save({"weight": Bomb()}, path)
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "carries no genfuse metadata"),
        ({"format": "pt"}, "carries no genfuse metadata"),
        ({"genfuse": "{"}, "not JSON"),
        ({"genfuse": "[1]"}, "no JSON object"),
        ({"genfuse": json.dumps({"format_version": 2})}, "format_version 2, this genfuse reads 1"),
        ({"genfuse": "{}"}, "format_version None"),
    ],
)
def test_bad_metadata(path: Path, metadata: dict[str, str] | None, message: str) -> None:
    save_file(tensors(module()), path, metadata)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        checkpoint.load(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (nn.Linear(2, 4), r"tensor ema\.weight has shape \(3, 2\), the network expects \(4, 2\)"),
        (nn.Linear(2, 3, bias=False), r"has an unknown tensor ema\.bias"),
        (nn.Sequential(nn.Linear(2, 3)), r"lacks tensor ema\.0\.bias"),
    ],
)
def test_wrong_network(path: Path, other: nn.Module, message: str) -> None:
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path).restore(other)
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())
