"""Autoencoders: the variational bound against torch.distributions, and that both learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from genfuse import systems
from genfuse.data import digits
from genfuse.systems.vae import VAE, VAEConfig
from genfuse.train import RunConfig, Trainer
from genfuse.train.batches import ImageBatches
from genfuse.train.metrics import rows
from genfuse.train.step import Step, Updates


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("genfuse.train.metrics.can_draw", lambda: False)
    monkeypatch.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)


def test_the_bound_is_the_papers() -> None:
    data, config = digits(), RunConfig(batch_size=8)
    vae = VAE(VAEConfig(width=16, latents=3, beta=2.0, deviation=0.5), data.image_shape, data.class_names)
    batches = ImageBatches(data, 8, 0.0, flip=True)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    now = Step(4, batches, Updates(vae.optimizers(config), config))
    vae.step(now)
    vae.load_state_dict(before)
    again = Step(4, batches, Updates(vae.optimizers(config), config))
    images, _ = again.batch()
    with torch.no_grad():
        mean, log_variance = vae.autoencoder.encoder(images).chunk(2, 1)
        posterior = Normal(mean, (log_variance / 2).exp())
        decoded = vae.autoencoder.decoder(mean + posterior.scale * again.normal(8, 3))
        likelihood = Normal(decoded, 0.5).log_prob(images).flatten(1).sum(1).mean()
        kl = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(now.numbers["log_likelihood"], likelihood)
    torch.testing.assert_close(now.numbers["kl"], kl)
    torch.testing.assert_close(now.numbers["loss"], 2 * kl - likelihood)
    torch.testing.assert_close(now.numbers["bound"], likelihood - kl)


@pytest.mark.parametrize("name", ["vae", "autoencoder"])
def test_it_learns_and_its_checkpoint_is_the_system(name: str, tmp_path: Path) -> None:
    data, chosen = digits(), systems.get(name)
    system: Any = chosen(VAEConfig(width=64), data.image_shape, data.class_names)
    config = RunConfig(steps=150, log_every=1, ema_decay=0.9, preview_every=1000)
    trainer = Trainer(system, data, config, tmp_path)
    trainer.train()
    losses = torch.tensor([row["loss"] for row in rows(tmp_path)])
    assert losses[-10:].mean() < losses[:3].mean() - 0.3 * losses[:3].mean().abs()
    loaded: Any = systems.load(tmp_path)
    for key, tensor in trainer.ema.model.state_dict().items():
        assert torch.equal(loaded.averaged.state_dict()[key], tensor), key
    images = data.images[:200]
    error = (loaded.reconstructed(images) - images).square().mean()
    assert error < 0.5 * (images - images.mean(0)).square().mean()
    assert loaded.sample(3, interpolate=True).images.shape == (10, 1, 8, 8)


@pytest.mark.parametrize("wrong", [{"beta": -1.0}, {"deviation": 0.0}, {"latents": 0}, {"width": 0}])
def test_bad_config(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        VAEConfig(**wrong)
