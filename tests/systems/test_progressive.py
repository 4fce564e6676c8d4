"""Progressive growing: its stages, fades that begin where the last stage ended, a run that is resumed in a fade."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from genfuse import systems
from genfuse.data import ImageDataset
from genfuse.systems.progressive import (
    ProgressiveConfig,
    ProgressiveGAN,
    ProgressiveGenerator,
    Stage,
    stage_at,
)
from genfuse.train import RunConfig, Trainer
from genfuse.train.metrics import rows

TINY: dict[str, Any] = {"width": 4, "widest": 8, "latents": 4, "smallest": 4}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("genfuse.train.metrics.can_draw", lambda: False)
    monkeypatch.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)


def tiny(side: int, **changes: Any) -> ProgressiveGAN:
    return ProgressiveGAN(ProgressiveConfig(**TINY | changes), (1, side, side), ("any",))


def test_each_resolution_fades_in_and_trains() -> None:
    config = ProgressiveConfig(smallest=8, stage_steps=3)
    seen = [stage_at(step, config, levels=3) for step in range(12)]
    assert seen[:3] == [Stage(1, 1.0)] * 3  # 8 pixels
    assert seen[3:6] == [Stage(2, 0.25), Stage(2, 0.5), Stage(2, 0.75)]  # 16, whose share grows
    assert seen[6:] == [Stage(2, 1.0)] * 6  # and stays


def test_a_fade_begins_where_the_last_resolution_ended() -> None:
    system = tiny(16, stage_steps=10**6)
    with torch.no_grad():
        latents, pictures = torch.randn(4, 4), torch.randn(4, 1, 4, 4)
        before = system.generator(latents)
        system.generator.steps.fill_(10**6)
        assert system.generator.stage.level == 1
        torch.testing.assert_close(
            system.generator(latents), F.interpolate(before, scale_factor=2.0), atol=1e-4, rtol=1e-4
        )
        scores = system.critic(pictures, Stage(0, 1.0))
        again = system.critic(F.interpolate(pictures, scale_factor=2.0), Stage(1, 1e-6))
        torch.testing.assert_close(again, scores, atol=1e-4, rtol=1e-4)
        images = torch.randn(2, 1, 16, 16)
        new, old = system.real(images, Stage(1, 1.0)), system.real(images, Stage(1, 1e-6))
        torch.testing.assert_close(
            old, F.interpolate(F.avg_pool2d(new, 2), scale_factor=2.0), atol=1e-4, rtol=1e-4
        )
        assert system.made(system.generator, latents, torch.zeros(4)).shape == (4, 1, 16, 16)


def run_of(folder: Path, resume: bool, steps: int) -> Trainer:
    images = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(3)) * 2 - 1
    data = ImageDataset("noise", images, torch.zeros(12, dtype=torch.int64), ("any",), torch.zeros(12) > 0)
    config = RunConfig(steps=steps, batch_size=4, log_every=1, checkpoint_every=10, preview_every=10)
    trainer = Trainer(tiny(8, stage_steps=2), data, config, folder, resume)
    trainer.train()
    return trainer


def test_a_run_resumes_in_the_middle_of_a_fade(tmp_path: Path) -> None:
    straight = run_of(tmp_path / "straight", False, 5).system
    run_of(tmp_path / "broken", False, 3)
    loaded = systems.load(tmp_path / "broken")
    assert isinstance(loaded.averaged, ProgressiveGenerator)
    assert loaded.averaged.stage == Stage(1, 1 / 3)
    assert loaded.sample(3).images.shape == (3, 1, 8, 8)
    resumed = run_of(tmp_path / "broken", True, 5).system
    for name, tensor in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    logged = [(row["pixels"], round(row["alpha"], 3)) for row in rows(tmp_path / "broken")]
    assert logged == [(4, 1), (4, 1), (8, 0.333), (8, 0.667), (8, 1)]


def test_defaults_and_settings_that_are_none() -> None:
    config, run = ProgressiveGAN.defaults((3, 64, 64))
    assert (
        config.smallest == 8 and run.steps == 7 * config.stage_steps
    )  # 8, and three times a fade and its own
    assert ProgressiveGAN.defaults((1, 8, 8))[0].smallest == 4
    with pytest.raises(ValueError, match="smallest is 12, expected 4, 8"):
        ProgressiveConfig(smallest=12)
    with pytest.raises(ValueError, match="smallest is 16, expected at most the pictures' side, 8"):
        tiny(8, smallest=16)
