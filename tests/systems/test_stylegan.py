"""The style GAN: lazy penalties, mixing, truncation, and AdaIN's layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from genfuse import systems
from genfuse.commands.options import own_options
from genfuse.data import digits
from genfuse.nn import AdaINLayer
from genfuse.systems.stylegan import StyleGAN, StyleGANConfig
from genfuse.train import RunConfig, Trainer
from genfuse.train.metrics import rows

TINY: dict[str, Any] = {"width": 4, "widest": 8, "styles": 8, "latents": 8, "mapping_layers": 2}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("genfuse.train.metrics.can_draw", lambda: False)
    monkeypatch.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)


def tiny(**changes: Any) -> StyleGAN:
    return StyleGAN(StyleGANConfig(**TINY | changes), (1, 8, 8), digits().class_names).eval()


@pytest.mark.parametrize("layers", ["modulated", "adain"])
def test_penalties_are_lazy_and_the_checkpoint_is_the_system(layers: Any, tmp_path: Path) -> None:
    system = tiny(layers=layers, r1_every=2, path_every=3)
    config = RunConfig(steps=4, batch_size=4, log_every=1, checkpoint_every=4, preview_every=4)
    before = system.generator.mapping.average.clone()
    trainer = Trainer(system, digits(), config, tmp_path)
    trainer.train()
    logged = rows(tmp_path)
    assert ["r1" in row for row in logged] == [True, False, True, False]
    assert ["path_length" in row for row in logged] == [True, False, False, True]
    assert system.path_length > 0 and not torch.equal(system.generator.mapping.average, before)
    counts = {state["step"].item() for state in trainer.updates.optimizers["critic"].state.values()}
    assert counts == {6}  # four updates, two of the penalty
    loaded = systems.load(tmp_path)
    for name, tensor in trainer.ema.model.state_dict().items():
        assert torch.equal(loaded.averaged.state_dict()[name], tensor), name


def test_a_lazy_optimizer_is_corrected() -> None:
    optimizers = tiny(r1_every=15, path_weight=0.0).optimizers(RunConfig())
    critic, generator = (optimizers[name].param_groups[0] for name in ("critic", "generator"))
    assert critic["lr"] == pytest.approx(2e-3 * 15 / 16) and critic["betas"][1] == pytest.approx(
        0.99 ** (15 / 16)
    )
    assert generator["lr"] == 2e-3 and generator["betas"] == (0.0, 0.99)


def test_a_grid_mixes_the_styles_of_its_rows_and_columns() -> None:
    system = tiny()
    with torch.no_grad():
        for layer in (system.generator.mapping.layers[0], system.generator.synthesis.layers[1].conv.affine):
            layer.bias.normal_()
    depth = system.generator.synthesis.depth
    assert depth == 3
    made = system.sample(9, seed=5, style_mixing=1)
    assert made.columns == 3 and made.images.shape == (9, 1, 8, 8) and (made.images[0] == 1).all()
    samples = system.sample(4, seed=5).images  # two of the rows, two of the columns
    torch.testing.assert_close(made.images[[3, 6, 1, 2]], samples)
    latents = system._seeded(5, 4)
    row, column = system.generator.styles(latents[[1]]), system.generator.styles(latents[[2]])
    with torch.no_grad():
        mixed = system.generator.synthesis(
            torch.cat((row[:, :1], column[:, 1:]), 1), torch.zeros(1, dtype=torch.int64)
        )
    torch.testing.assert_close(made.images[7:8], mixed)
    assert not torch.allclose(mixed, samples[[1]]) and not torch.allclose(mixed, samples[[2]])
    with pytest.raises(ValueError, match="style_mixing is 3, expected 1 to 2 of the 3 layers"):
        system.sample(9, style_mixing=depth)


def test_truncation_draws_to_the_mean_picture() -> None:
    system = tiny()
    system.generator.mapping.average.normal_()
    spread = [system.sample(8, truncation=share).images.std(0).mean() for share in (0.0, 0.5, 1.0)]
    assert spread[0] < 1e-6 < spread[1] < spread[2]
    assert own_options(system, truncation=0.5, style_mixing=None, label=None)["truncation"] == 0.5
    with pytest.raises(ValueError, match="option --style-mixing is given"):
        plain = systems.get("dcgan")
        own_options(plain(plain.config_class(width=4), (1, 8, 8), ("a",)), style_mixing=2)


def test_an_adain_layer_gives_its_output_the_styles_moments() -> None:
    layer, x, w = AdaINLayer(3, 5, 4, up=2), torch.randn(2, 3, 8, 8), torch.randn(2, 4)
    with torch.no_grad():
        layer.noise_strength.fill_(0.5)
        y = layer(x, w, torch.arange(2))
        scale, shift = layer.affine(w).chunk(2, 1)
        assert y.shape == (2, 5, 16, 16)
        torch.testing.assert_close(y.mean((2, 3)), shift, atol=1e-4, rtol=1e-4)
        deviation = y.std((2, 3), correction=0)
        torch.testing.assert_close(deviation, (1 + scale).abs(), atol=1e-3, rtol=1e-3)
        assert torch.equal(layer(x[1:], w[1:], torch.tensor([1]))[0], y[1])
        assert not torch.equal(layer(x, w, torch.arange(2) + 2), y)


def test_settings_that_are_none() -> None:
    for wrong in ({"mixing": 1.5}, {"r1": -1.0}, {"r1_every": 0}, {"styles": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            StyleGANConfig(**TINY | wrong)
