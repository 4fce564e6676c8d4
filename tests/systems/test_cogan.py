"""CoGAN: both pictures of a pair come of the same layers, and show the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genfuse import systems
from genfuse.data import digit_domains, digits
from genfuse.systems.cogan import CoGAN, CoGANConfig
from genfuse.train import Adam, RunConfig, Trainer
from genfuse.train.metrics import rows


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("genfuse.train.metrics.can_draw", lambda: False)
    monkeypatch.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)


def agreement(system: CoGAN) -> float:
    """Correlation of the first picture of each pair with the second one's negative, around their means."""
    first, second = system.sample(100).images.chunk(2, 3)
    centred = [(images - images.mean(0)).flatten() for images in (first, -second)]
    return float(torch.nn.functional.cosine_similarity(*centred, dim=0))


def test_pairs_without_a_pair(tmp_path: Path) -> None:
    data, fast = digit_domains("digits-inverted"), Adam(1e-3)
    config = CoGANConfig(width=16, latents=16, generator_optimizer=fast, critic_optimizer=fast)
    system = CoGAN(config, data.image_shape, data.class_names)
    before = agreement(system.eval())
    trainer = Trainer(system, data, RunConfig(steps=80, batch_size=32, ema_decay=0.9, log_every=1), tmp_path)
    trainer.train()
    loaded = systems.load(tmp_path)
    assert isinstance(loaded, CoGAN) and loaded.sample(3).images.shape == (3, 3, 8, 16)
    for key, tensor in trainer.ema.model.state_dict().items():
        assert torch.equal(loaded.averaged.state_dict()[key], tensor), key
    losses = torch.tensor([row["critic_loss"] for row in rows(tmp_path)])
    assert losses.isfinite().all() and 0.1 < losses[40:].mean() < 4 * torch.log(torch.tensor(2.0))
    light, dark = loaded.sample(100).images.chunk(2, 3)
    assert light.mean() < dark.mean() - 0.2, "light ink on black, dark ink on white"
    after = agreement(loaded)
    assert after > before + 0.2, (before, after)


def test_what_it_cannot_be_trained_on() -> None:
    with pytest.raises(ValueError, match="10 classes, expected two domains"):
        CoGAN(CoGANConfig(), (1, 8, 8), digits().class_names)
    with pytest.raises(ValueError, match=r"12 x 12 pixels, expected squares of 8, 16, 32"):
        CoGAN(CoGANConfig(), (3, 12, 12), ("a", "b"))
    with pytest.raises(ValueError, match=r"at least with own=2|16 at least"):
        CoGAN(CoGANConfig(own=2), (3, 8, 8), ("a", "b"))
