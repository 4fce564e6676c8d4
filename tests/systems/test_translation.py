"""Systems that make pictures from pictures: each learns in seconds, and its checkpoint is the system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from genfuse import systems
from genfuse.data import ImageDataset, digit_domains
from genfuse.evaluate import encoder
from genfuse.systems.dtn import Transfer, total_variation
from genfuse.systems.image_pool import ImagePool
from genfuse.systems.translation import Translator
from genfuse.train import RunConfig, Step, Trainer, checkpoint, loop, settings
from genfuse.train.batches import ImageBatches
from genfuse.train.metrics import rows
from genfuse.train.step import Updates

FAST = {"generator_optimizer.learning_rate": 2e-3, "critic_optimizer.learning_rate": 5e-4}
LESSONS: dict[str, tuple[int, dict[str, Any]]] = {
    "pix2pix": (60, {"width": 8, "levels": 2, "noisy": 1, "halvings": 0, **FAST}),
    "cyclegan": (40, {"width": 8, "num_blocks": 1, "halvings": 0, "pool": 6, "identity_weight": 0.0, **FAST}),
    "stargan": (25, {"width": 8, "num_blocks": 0, "halvings": 2, "critic_steps": 1, **FAST}),
    "unit": (25, {"width": 8, "blocks": 0, "halvings": 0, **FAST}),
    "xgan": (25, {"width": 8, "blocks": 0, "halvings": 0, **FAST}),
    "dtn": (40, {"width": 8, "variation_weight": 0.05, **FAST}),
    "combogan": (30, {"width": 8, "blocks": 0, "halvings": 0, **FAST}),
}
"""Steps and settings."""
FALLS = {
    "pix2pix": "distance",
    "stargan": "reconstruction",
    "xgan": "reconstruction",
    "dtn": "identity",
}
"""Of its loss what can be learnt in so few steps; else the cycle's part."""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)  # the networks are too small for more
    monkeypatch.setattr("genfuse.train.metrics.can_draw", lambda: False)
    monkeypatch.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)


def data_for(name: str) -> ImageDataset:
    """Plain and inverted digits; in pairs where the system learns from those."""
    apart = digit_domains("digits-inverted")
    assert apart.held_out is not None
    return apart if systems.get(name).views == 1 else apart.held_out


def system_of(name: str, data: ImageDataset, changes: dict[str, Any]) -> Translator[Any]:
    chosen = systems.get(name)
    config = settings.changed(chosen.defaults(data.image_shape)[0], changes)
    system = chosen(config, data.image_shape, data.class_names)
    assert isinstance(system, Translator)
    return system


def trainer_of(name: str, run: Path, resume: bool = False, **told: Any) -> Trainer:
    data, (steps, changes) = data_for(name), LESSONS[name]
    config = RunConfig(
        **{"steps": steps, "batch_size": 8, "ema_decay": 0.5, "log_every": 1, "preview_every": 1000, **told}
    )
    return Trainer(system_of(name, data, changes), data, config, run, resume)


def error(system: Translator[Any]) -> Tensor:
    """The mean distance of translations to what they should be."""
    shown = system.sample(40).shown
    assert shown is not None
    _, made, truth = shown.unflatten(0, (40, 3)).unbind(1)
    return (made - truth).abs().mean()


@pytest.mark.parametrize("name", LESSONS)
def test_it_learns_and_its_checkpoint_is_the_system(name: str, tmp_path: Path) -> None:
    trainer = trainer_of(name, tmp_path)
    trainer.train()
    loaded = systems.load(tmp_path)
    assert isinstance(loaded, Translator) and loaded.config == trainer.system.config
    for key, tensor in trainer.ema.model.state_dict().items():
        assert torch.equal(loaded.averaged.state_dict()[key], tensor), key
    untrained = system_of(name, data_for(name), LESSONS[name][1])
    for system in (loaded, untrained):
        system.see(data_for(name))
    if name == "pix2pix":  # without pairs, what is to come of a picture takes longer
        assert error(loaded) < 0.7 * error(untrained)
    logged = rows(tmp_path)
    key = FALLS.get(name, "cycle")
    assert logged[-1][key] < 0.75 * logged[0][key]
    assert all(torch.tensor([*row.values()]).isfinite().all() for row in logged)


@pytest.mark.parametrize("name", LESSONS)
def test_resumed_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    """The image pool is full, and exchanged, before the run stops."""
    for run, halts in (("straight", (4,)), ("halted", (2, 4))):
        for steps in halts:
            trainer_of(name, tmp_path / run, steps == 4 and len(halts) > 1, steps=steps).train()
    for file in ("model.safetensors", "optimizer.safetensors"):
        straight, again = (tmp_path / run / "step-00000004" / file for run in ("straight", "halted"))
        assert straight.read_bytes() == again.read_bytes()


def test_pairs_and_single_pictures_are_not_confused(tmp_path: Path) -> None:
    apart = digit_domains("digits-inverted")
    with pytest.raises(ValueError, match=r"data has single pictures, expected pairs .* for 'pix2pix'"):
        loop.train(systems.get("pix2pix"), apart, tmp_path)
    assert apart.held_out is not None
    with pytest.raises(ValueError, match=r"data has pairs .*expected single pictures for 'gan'"):
        loop.train(systems.get("gan"), apart.held_out, tmp_path)
    with pytest.raises(ValueError, match="10 classes, expected two domains"):
        system_of("cyclegan", apart.held_out.view(0), {})


def test_distance_alone_has_no_critic(tmp_path: Path) -> None:
    system = system_of("pix2pix", data_for("pix2pix"), {"adversarial_weight": 0.0, "levels": 2})
    assert set(system.optimizers(RunConfig())) == {"generator"}
    Trainer(system, data_for("pix2pix"), RunConfig(steps=1, batch_size=2), tmp_path).train()
    assert "critic_loss" not in rows(tmp_path)[-1]


def test_what_is_given_stays_as_it_is(tmp_path: Path) -> None:
    trainer = trainer_of("dtn", tmp_path, steps=2)
    trainer.train()
    given = encoder().state_dict()
    for network in (trainer.system.averaged, systems.load(tmp_path).averaged):
        assert isinstance(network, Transfer)
        for key, tensor in network.seen.state_dict().items():
            assert torch.equal(tensor, given[key]), key


def test_total_variation() -> None:
    ramp = torch.arange(4.0)[:, None] * 3 + torch.arange(5.0) * 4
    assert total_variation(ramp[None, None]).item() == pytest.approx(5)
    flat = torch.zeros(1, 1, 3, 3, requires_grad=True)
    total_variation(flat).backward()
    assert flat.grad is not None and torch.equal(flat.grad, torch.zeros_like(flat))


def test_own_pictures(tmp_path: Path) -> None:
    for name, colour in (("a", "black"), ("b", "white")):
        Image.new("RGB", (20, 12), colour).save(tmp_path / f"{name}.png")
    system = system_of("cyclegan", data_for("cyclegan"), {"width": 4, "num_blocks": 0, "halvings": 0}).eval()
    both = system.sample(64, input=tmp_path)
    assert both.shown is not None and both.shown.shape == (4, 3, 8, 8) and both.columns == 2
    assert torch.equal(both.shown[1::2], both.images) and both.images.shape == (2, 3, 8, 8)
    one = system.sample(64, input=tmp_path / "b.png", label="inverted").images
    assert torch.allclose(one[0], both.images[1], atol=1e-6)
    back = system.sample(64, input=tmp_path / "b.png", label="plain").images
    assert not torch.equal(back, one)
    with pytest.raises(ValueError, match="label is 'grey', expected one of 'plain', 'inverted'"):
        system.sample(1, label="grey")
    with pytest.raises(ValueError, match="name pictures to translate"):
        system.sample(1)
    (tmp_path / "c.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"c\.png cannot be read"):
        system.sample(1, input=tmp_path)


def test_a_checkpoint_shows_what_was_held_out(tmp_path: Path) -> None:
    data = digit_domains("digits-rotated")
    system = system_of("cyclegan", data, {"width": 4, "num_blocks": 0, "halvings": 0})
    Trainer(system, data, RunConfig(steps=1, batch_size=2), tmp_path).train()
    found = systems.load(tmp_path).sample(3, batch=2)
    assert found.shown is not None and found.columns == 3 and data.held_out is not None
    for row, source in ((0, 0), (1, 1), (2, 0)):
        assert torch.equal(found.shown[3 * row], data.held_out.view(source).images[row])
        assert torch.equal(found.shown[3 * row + 2], data.held_out.view(1 - source).images[row])


def test_several_domains_are_columns() -> None:
    data = digit_domains("digits-domains")
    system = system_of("stargan", data, {"width": 4, "num_blocks": 0, "halvings": 1}).eval()
    system.see(data)
    found = system.sample(6)
    assert found.shown is not None and found.columns == 9 and found.shown.shape == (18, 3, 8, 8)
    assert found.images.shape == (6, 3, 8, 8) and torch.equal(found.images[:4], found.shown[1:5])
    later = system.sample(2, seed=4)
    assert torch.allclose(later.images, found.images[4:], atol=1e-6)
    one = system.sample(2, label="rotated")
    assert one.columns == 3 and torch.allclose(one.images[0], found.images[3], atol=1e-6)


def test_the_pool_shows_what_it_kept() -> None:
    pool, config = ImagePool(3, (1, 2, 2)), RunConfig()
    data = ImageDataset("a", torch.zeros(1, 1, 2, 2), torch.zeros(1).long(), ("a",), torch.ones(1).bool())

    def step(number: int) -> Step:
        return Step(number, ImageBatches(data, 1, 0.0, False), Updates({}, config))

    fakes = torch.arange(3.0)[:, None, None, None].expand(3, 1, 2, 2)
    assert torch.equal(pool.exchanged(fakes, step(0)), fakes) and torch.equal(pool.images, fakes)
    shown = pool.exchanged(fakes + 10, step(1))[:, 0, 0, 0]
    everything = torch.cat((shown, pool.images[:, 0, 0, 0])).sort().values
    assert everything.tolist() == [0, 1, 2, 10, 11, 12], "none is lost, and none is twice there"
    none = ImagePool(0, (1, 2, 2))
    assert torch.equal(none.exchanged(fakes, step(2)), fakes)


def test_files_of_a_run_hold_the_pool_but_not_its_users(tmp_path: Path) -> None:
    trainer_of("cyclegan", tmp_path, steps=1).train()
    names = checkpoint.load(tmp_path).tensors
    assert "pool_x.images" in names and not any(name.startswith("ema.pool") for name in names)


def test_a_star_gan_hears_its_label() -> None:
    """Constant maps behind reflected borders would be gone with the first instance norm."""
    system = systems.get("stargan")
    shape = (3, 32, 32)
    told = system(system.defaults(shape)[0], shape, ("a", "b"))
    x = torch.rand(1, *shape).mul(2).sub(1).expand(2, -1, -1, -1)
    with torch.no_grad():
        first, second = told.translated(
            told.averaged, x, torch.zeros(2, dtype=torch.int64), torch.tensor([0, 1]), torch.arange(2)
        )
    assert (first - second)[:, 8:24, 8:24].abs().mean() > 1e-3
