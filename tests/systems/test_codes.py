"""Generative networks without a critic or an encoder: codes that are learned, or one gradient step from the origin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from genfuse import systems
from genfuse.data import digits, mixture
from genfuse.systems.gaussian import coloured, moments
from genfuse.systems.glo import GLO, LaplacianPyramid
from genfuse.systems.gon import GON, GONConfig
from genfuse.train import RunConfig, Trainer, checkpoint, settings
from genfuse.train.metrics import rows

LESSONS: dict[str, tuple[int, dict[str, Any]]] = {
    "glo": (100, {"width": 16, "code_rate": 0.05, "optimizer.learning_rate": 5e-3}),
    "gon": (40, {"width": 8, "optimizer.learning_rate": 4e-3}),
}
"""Steps and settings."""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("genfuse.train.metrics.can_draw", lambda: False)
    monkeypatch.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)


def trained(name: str, run: Path, resume: bool = False, **changes: int) -> Trainer:
    steps, own = LESSONS[name]
    data, chosen = digits(), systems.get(name)
    config = settings.changed(chosen.fitted(chosen.config_class(), data), own)
    told: dict[str, Any] = {"steps": steps, "batch_size": 64, "ema_decay": 0.9, "log_every": 1, **changes}
    system = chosen(config, data.image_shape, data.class_names)
    trainer = Trainer(system, data, RunConfig(**told), run, resume)
    trainer.train()
    return trainer


@pytest.mark.parametrize("name", LESSONS)
def test_it_learns_and_its_checkpoint_is_the_system(name: str, tmp_path: Path) -> None:
    trainer = trained(name, tmp_path)
    logged, data = rows(tmp_path), digits()
    losses = torch.tensor([row["loss"] for row in logged])
    assert losses[-5:].mean() < 0.4 * losses[0] and losses.isfinite().all()
    loaded: Any = systems.load(tmp_path)
    for key, tensor in trainer.ema.model.state_dict().items():
        assert torch.equal(loaded.averaged.state_dict()[key], tensor), key
    numbers, images = torch.arange(200), data.images[:200]
    made = loaded.reconstructed(numbers if name == "glo" else images)
    assert (made - images).square().mean() < (0.8 if name == "glo" else 0.4) * images.var(0).mean()
    samples = loaded.sample(20).images
    assert samples.shape == (20, 1, 8, 8) and samples.isfinite().all() and samples.std(0).mean() > 0.1
    assert loaded.sample(3, interpolate=True).images.shape == (10, 1, 8, 8)


def test_a_code_belongs_to_its_picture_and_stays_in_the_ball(tmp_path: Path) -> None:
    system = trained("glo", tmp_path / "straight", steps=3, checkpoint_every=1).system
    assert isinstance(system, GLO) and system.codes.weight.shape == (1797, 32)
    assert system.codes.weight.norm(dim=1).max() <= 1 + 1e-6
    before = checkpoint.load(tmp_path / "straight" / "step-00000002").tensors["codes.weight"]
    moved = (system.codes.weight - before).abs().amax(1) > 1e-6
    assert 40 <= moved.sum() <= 64  # of the batch's pictures alone, some of which it has twice
    trained("glo", tmp_path / "resumed", steps=2)
    again = trained("glo", tmp_path / "resumed", resume=True, steps=3)
    for name, tensor in system.state_dict().items():
        assert torch.equal(again.system.state_dict()[name], tensor), name


def test_the_pyramid_puts_a_picture_together_again() -> None:
    pyramid, images = LaplacianPyramid(), torch.randn(2, 3, 16, 8)
    levels = pyramid(images)
    assert [tuple(level.shape[2:]) for level in levels] == [(16, 8), (8, 4), (4, 2)]
    built: Tensor = levels[-1]
    for level in reversed(levels[:-1]):
        built = pyramid.up(built) + level
    torch.testing.assert_close(built, images)


def test_an_encoding_is_a_step_of_gradient_descent() -> None:
    """Its gradient by the weights, through our units twice, is that of a difference quotient in float64."""
    system = GON(GONConfig(width=8, latents=3), (1, 8, 8), ("digit",)).double()
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64).tanh()
    origin = torch.zeros(2, 3, dtype=torch.float64)

    def half_error(codes: Tensor) -> Tensor:
        return (system.decoder(codes) - images).square().sum() / 2

    weight = system.decoder.first.bias
    codes = system.encoded(images, create_graph=True)
    with torch.no_grad():
        step = 1e-5 * torch.eye(3, dtype=torch.float64)
        slopes = torch.stack([(half_error(origin + one) - half_error(origin - one)) / 2e-5 for one in step])
    torch.testing.assert_close(codes.sum(0), -slopes, rtol=1e-5, atol=1e-7)
    (gradient,) = torch.autograd.grad(codes.square().sum(), weight)
    direction = torch.randn_like(weight)
    with torch.no_grad():
        ends = []
        for sign in (1, -1):
            weight.add_(direction, alpha=sign * 1e-5)
            ends.append(system.encoded(images).square().sum())
            weight.add_(direction, alpha=-sign * 1e-5)
    torch.testing.assert_close((gradient * direction).sum(), (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-7)


def test_normal_codes_of_given_moments() -> None:
    codes = torch.randn(5000, 3) @ torch.tensor([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 0]]) + 2
    mean, covariance = moments(codes)
    torch.testing.assert_close(covariance, torch.cov(codes.mT, correction=0), rtol=1e-4, atol=1e-5)
    again = moments(coloured(torch.randn(20_000, 3), mean, covariance))
    torch.testing.assert_close(again[0], mean, rtol=0, atol=0.05)
    torch.testing.assert_close(again[1], covariance, rtol=0, atol=0.06)


def test_data_and_settings_that_they_do_not_take() -> None:
    glo, gon = systems.get("glo"), systems.get("gon")
    with pytest.raises(ValueError, match="data are points of the plane, expected pictures"):
        glo.fitted(glo.config_class(), mixture("8-gaussians"))
    with pytest.raises(ValueError, match="code_rate is 0"):
        glo.config_class(code_rate=0)
    with pytest.raises(ValueError, match="width is 12, expected a multiple of 8"):
        GONConfig(width=12)
    with pytest.raises(ValueError, match=r"samples have shape \(1, 12, 12\)"):
        gon(GONConfig(), (1, 12, 12), ("a",))
