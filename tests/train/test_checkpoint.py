"""Checkpoints: what comes back, and what a bad file is answered."""

from __future__ import annotations

import json
import math
import pickle
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from genfuse.errors import CheckpointError
from genfuse.train import checkpoint
from genfuse.train.optimizers import STATE


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
        ({"genfuse": "[" * 100_000}, r"a.safetensors carries metadata that is not JSON"),
        ({"genfuse": '{"x":' + "9" * 5000 + "}"}, r"a.safetensors carries metadata that is not JSON"),
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


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.zeros(3, 2, dtype=torch.int32), r"ema\.weight has dtype torch\.int32, expected one like"),
        (torch.full((3, 2), math.nan), r"ema\.weight is not finite"),
        (torch.full((3, 2), math.inf, dtype=torch.float16), r"ema\.weight is not finite"),
    ],
)
def test_weights_that_are_none(path: Path, weight: torch.Tensor, message: str) -> None:
    checkpoint.save(path, tensors(module()) | {"ema.weight": weight}, {})
    other = module()
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path).restore(other)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), module().parameters(), strict=True))


@pytest.mark.parametrize("step", [None, "x", 1.5, -1, True])
def test_a_step_that_is_none(path: Path, step: object) -> None:
    checkpoint.save(path, tensors(module()), {"step": step})
    with pytest.raises(CheckpointError, match="expected a count of steps"):
        checkpoint.load(path).step  # noqa: B018


# --- the optimizer's state ---


def trained() -> tuple[nn.Module, torch.optim.AdamW]:
    """A network three fused AdamW steps from its start."""
    model = module()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for _ in range(3):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    return model, optimizer


@pytest.fixture
def step_folder(tmp_path: Path) -> Path:
    model, optimizer = trained()
    return checkpoint.save_step(tmp_path, 3, tensors(model), {"step": 3}, {"model": optimizer}, keep=1)


def test_folders_of_other_names_are_the_users(tmp_path: Path) -> None:
    """Copies beside the checkpoints are neither loaded nor removed, and 100000000 comes after 99999999."""
    model, optimizer = trained()

    def save_steps(*steps: int) -> None:
        for step in steps:
            checkpoint.save_step(tmp_path, step, tensors(model), {"step": step}, {"model": optimizer}, keep=2)

    save_steps(10, 30)
    own = ["step-00000010-keepme", "step-00000030-backup", "step-5", "step-best"]
    for name in own:
        shutil.copytree(tmp_path / "step-00000010", tmp_path / name)
    assert checkpoint.load(tmp_path).step == 30
    save_steps(99_999_999, 100_000_000)
    assert checkpoint.load(tmp_path).step == 100_000_000
    kept = ["step-99999999", "step-100000000"]
    assert [folder.name for folder in checkpoint.step_folders(tmp_path)] == kept
    assert sorted(folder.name for folder in tmp_path.iterdir()) == sorted(own + kept)
    assert checkpoint.load(tmp_path / own[0]).step == 10


def test_the_optimizer_comes_back(step_folder: Path) -> None:
    _, optimizer = trained()
    fresh = torch.optim.AdamW(module().parameters(), fused=True)
    checkpoint.restore_optimizers(checkpoint.load(step_folder), {"model": fresh})
    saved, restored = (o.state_dict()["state"] for o in (optimizer, fresh))
    assert saved.keys() == restored.keys()
    assert all(
        torch.equal(saved[i][key], restored[i][key]) for i in saved for key in STATE[torch.optim.AdamW]
    )


State = dict[str, torch.Tensor]


def without(names: str) -> Callable[[State], State]:
    return lambda state: {name: tensor for name, tensor in state.items() if names not in name}


def replaced(changed: State) -> Callable[[State], State]:
    return lambda state: state | changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced({"0.exp_avg_sq": torch.zeros(1)}), r"0\.exp_avg_sq has shape \(1,\), the network expects \(3, 2\)"),
        (replaced({"0.exp_avg": torch.zeros(2, 3)}), r"0\.exp_avg has shape \(2, 3\)"),
        (replaced({"1.exp_avg_sq": torch.zeros(3, dtype=torch.int64)}), r"1\.exp_avg_sq has dtype torch\.int64"),
        (replaced({"1.exp_avg": torch.full((3,), math.nan)}), r"1\.exp_avg is not finite"),
        (replaced({"0.step": torch.zeros(2)}), r"0\.step has shape \(2,\), the network expects \(\)"),
        (replaced({"0.step": torch.tensor(math.nan)}), r"0\.step is not finite"),
        (replaced({"0.step": torch.tensor(3)}), r"0\.step has dtype torch\.int64"),
        (replaced({"0.step": torch.tensor(2.0)}), r"0\.step is 2, the weights beside it are of step 3"),
        (replaced({"999.exp_avg": torch.zeros(1)}), r"unknown tensor 999\.exp_avg"),
        (replaced({"0.max_exp_avg_sq": torch.zeros(3, 2)}), r"unknown tensor 0\.max_exp_avg_sq"),
        (replaced({"abc.": torch.zeros(1)}), r"unknown tensor abc\."),
        (replaced({"abc": torch.zeros(1)}), r"unknown tensor abc"),
        (without("exp_avg_sq"), r"lacks tensor 0\.exp_avg_sq"),
        (without("step"), r"lacks tensor 0\.step"),
        (without("1."), r"lacks tensor 1\.exp_avg"),
    ],
)  # fmt: skip
def test_bad_optimizer_state(
    step_folder: Path,
    change: Callable[[State], State],
    message: str,
) -> None:
    """Above all no crash: AdamW's fused kernel reads whatever it is given."""
    file = step_folder / checkpoint.OPTIMIZER_FILE
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    save_file(change(load_file(file)), file, metadata)
    fresh = torch.optim.AdamW(module().parameters(), fused=True)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.restore_optimizers(checkpoint.load(step_folder), {"model": fresh})
    assert not fresh.state_dict()["state"]


def test_a_full_disk_is_an_oserror_and_leaves_what_was_there(path: Path) -> None:
    before, big = path.read_bytes(), {"ema.weight": torch.zeros(1 << 16)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, limits[1]))  # fails as a full disk does
    try:
        with pytest.raises(OSError, match=r"cannot be written .*earlier checkpoints are whole"):
            checkpoint.save(path, big, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before and [each.name for each in path.parent.iterdir()] == [path.name]
