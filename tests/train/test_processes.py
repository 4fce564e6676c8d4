"""Two processes that share each batch, and parts that share a process's: the curves of one, to rounding."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from genfuse import systems
from genfuse.data import ImageDataset
from genfuse.train import RunConfig, TrainConfig, Trainer, checkpoint, metrics, settings, tensorboard
from nn import two_processes

BATCH, STEPS = 8, 4
UNET = {
    "model.patch_size": 1,
    "model.channels": (8, 16),
    "model.attention_levels": (),
    "model.embedding_channels": 8,
}
CASES: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("dcgan", {"width": 4, "latents": 4, "critic_steps": 2}, 1),  # batch norm, two optimizers
    ("wgan_gp", {"network": "cnn", "width": 4, "latents": 4, "critic_steps": 2}, 1),  # a penalty
    ("ddpm", UNET, 2),  # parts
    ("sngan", {"width": 4, "latents": 4}, 1),  # vectors of power iterations
)
"""A system, its settings, and the parts that each process computes a batch in."""


def noise() -> ImageDataset:
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return ImageDataset("noise", images, torch.arange(20) % 2, ("even", "odd"), torch.arange(20) < 10)


def trainer(name: str, changes: dict[str, Any], accumulate: int, run: Path, resume: bool = False) -> Trainer:
    kind = TrainConfig if name == "ddpm" else RunConfig
    config = kind(
        steps=STEPS,
        batch_size=BATCH,
        accumulate=accumulate,
        warmup_steps=0,
        log_every=1,
        checkpoint_every=2,
        preview_every=100,
    )
    chosen, data = systems.get(name), noise()
    of_system = settings.changed(chosen.defaults(data.image_shape)[0], changes)
    system = chosen(chosen.fitted(of_system, data), data.image_shape, data.class_names)
    return Trainer(system, data, config, run, resume)


def curves(*arguments: Any) -> list[dict[str, float]]:
    """What each step logged."""
    found: list[dict[str, float]] = []
    trainer(*arguments).train(lambda step, numbers: found.append(numbers))
    return found


def nothing_to_look_at() -> None:
    metrics.can_draw = lambda: False
    tensorboard.find_spec = lambda name: None
    systems.get("ddpm").preview = lambda self, model: torch.zeros(1, 1, 8, 8)  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def _nothing_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)  # the networks are too small for more
    monkeypatch.setattr("genfuse.train.metrics.can_draw", lambda: False)
    monkeypatch.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)
    monkeypatch.setattr("genfuse.systems.ddpm.DDPM.preview", lambda self, model: torch.zeros(1, 1, 8, 8))


def shares(folder: str, rank: int) -> list[Any]:
    """The curves of one of two processes, case by case."""
    nothing_to_look_at()
    return [curves(name, changes, parts, Path(folder) / name) for name, changes, parts in CASES]


def assert_close(got: list[dict[str, float]], want: list[dict[str, float]]) -> None:
    assert len(got) == len(want) == STEPS
    for one, other in zip(got, want, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


@two_processes.needs_gloo
def test_two_processes_are_as_one(tmp_path: Path) -> None:
    first, other = two_processes.run(partial(shares, str(tmp_path / "two")), tmp_path)
    assert first == other
    for (name, changes, _), found in zip(CASES, first, strict=True):
        alone = tmp_path / "one" / name
        assert_close(found, curves(name, changes, 1, alone))
        assert [row["step"] for row in metrics.rows(tmp_path / "two" / name)] == [1, 2, 3, 4]
        one, two = (checkpoint.load(run).tensors for run in (alone, tmp_path / "two" / name))
        assert one.keys() == two.keys()
        for tensor in one:  # what has no gradient but rounding, Adam moves as far as anything
            torch.testing.assert_close(two[tensor], one[tensor], rtol=1e-3, atol=2e-3, msg=f"{name} {tensor}")


def killed(folder: str, rank: int) -> None:
    """The second process is killed in step 3, when a checkpoint of step 2 is there."""
    nothing_to_look_at()
    name, changes, parts = CASES[0]
    run = trainer(name, changes, parts, Path(folder))
    run.train(lambda step, numbers: os.kill(os.getpid(), signal.SIGKILL) if rank and step == 3 else None)


@two_processes.needs_gloo
def test_a_run_of_two_that_was_killed_goes_on_as_one(tmp_path: Path) -> None:
    name, changes, _ = CASES[0]
    of_first, of_second = two_processes.exits(partial(killed, str(tmp_path / "run")), tmp_path)
    assert of_first not in (0, None) and of_second == -signal.SIGKILL
    assert checkpoint.load(tmp_path / "run").step == 2
    resumed = curves(name, changes, 1, tmp_path / "run", True)
    straight = curves(name, changes, 1, tmp_path / "straight")
    assert_close(straight[:2] + resumed, straight)


def test_parts_are_as_one(tmp_path: Path) -> None:
    """Of two networks, two updates of the critic a step; batch norm, of which there is none here, goes by the part."""
    changes = {"network": "mlp", "width": 16, "latents": 4, "critic_steps": 2}
    whole = curves("wgan_gp", changes, 1, tmp_path / "whole")
    assert_close(curves("wgan_gp", changes, 4, tmp_path / "parts"), whole)


def test_a_part_that_fails_ends_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer("wgan_gp", CASES[1][1], 4, tmp_path)
    monkeypatch.setattr("genfuse.train.step.clip_grad_norm", lambda weights, most: torch.tensor(torch.inf))
    before = {name: tensor.clone() for name, tensor in run.system.state_dict().items()}
    with pytest.raises(FloatingPointError, match="the critic's gradient of step 0 is not finite"):
        run.train()
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.system.state_dict().items())


def test_a_batch_has_equal_shares(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"batch_size is 8, expected a multiple of 3: 1 processes.*accumulate=3"
    ):
        trainer("wgan_gp", CASES[1][1], 3, tmp_path)
    assert not list(tmp_path.iterdir())
