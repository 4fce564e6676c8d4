"""Adversarial systems: each learns in seconds what can be learnt in them, and its checkpoint is the system."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import genfuse
from genfuse import systems
from genfuse.data import ImageDataset, digits, mixture
from genfuse.errors import CheckpointError
from genfuse.evaluate import encoder, fid
from genfuse.systems.adversarial import Adversarial
from genfuse.train import RunConfig, Trainer, checkpoint, settings
from genfuse.train.metrics import rows

FAST = {"generator_optimizer.learning_rate": 1e-3, "critic_optimizer.learning_rate": 5e-4}
LESSONS: dict[str, tuple[int, dict[str, Any]]] = {
    "gan": (200, {"width": 128, "dropout": 0.0}),
    "gan transformer": (60, {"network": "transformer", "width": 32, **FAST}),
    "dcgan": (80, {"width": 32, **FAST}),
    "cgan": (60, {"width": 32, **FAST}),
    "msgan": (60, {"width": 32, **FAST}),
    "wgan": (70, {"width": 16, "first_steps": 2, "clip": 0.1, **FAST}),
    "wgan_gp": (120, {"network": "mlp", "width": 64, "critic_steps": 2, **FAST}),
    "sngan": (50, {"width": 16, "critic_steps": 1, **FAST}),
    "ebgan": (150, {"width": 64, "critic_optimizer.learning_rate": 2e-3}),
}
"""Steps and settings."""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)  # the networks are too small for more
    monkeypatch.setattr("genfuse.train.metrics.can_draw", lambda: False)
    monkeypatch.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)


def system_of(name: str, data: Any, changes: dict[str, Any]) -> Adversarial[Any]:
    chosen = systems.get(name.split()[0])
    config = settings.changed(chosen.defaults(data.image_shape)[0], changes)
    system = chosen(config, data.image_shape, data.class_names)
    assert isinstance(system, Adversarial)
    return system


def trained(name: str, run: Path) -> Trainer:
    steps, changes = LESSONS[name]
    data = digits()
    config = RunConfig(steps=steps, batch_size=32, ema_decay=0.9, log_every=1, preview_every=1000)
    trainer = Trainer(system_of(name, data, changes), data, config, run)
    trainer.train()
    return trainer


def far(system: Adversarial[Any], real: Tensor) -> float:
    """Fréchet distance of what the system makes to the digits."""
    return fid(encoder(), system.sample(300).images, real[:300]).item()


@pytest.mark.parametrize("name", LESSONS)
def test_it_learns_and_its_checkpoint_is_the_system(name: str, tmp_path: Path) -> None:
    data = digits()
    untrained = system_of(name, data, LESSONS[name][1])
    before = far(untrained, data.images)
    trainer = trained(name, tmp_path)
    loaded = systems.load(tmp_path)
    assert type(loaded) is type(trainer.system) and loaded.config == trainer.system.config
    for key, tensor in trainer.ema.model.state_dict().items():
        assert torch.equal(loaded.averaged.state_dict()[key], tensor), key
    assert isinstance(loaded, Adversarial)
    after = far(loaded, data.images)
    assert after < 0.8 * before or name == "ebgan", (before, after)

    logged = rows(tmp_path)
    losses = torch.tensor([row["critic_loss"] for row in logged])
    assert losses.isfinite().all() and len(logged) == LESSONS[name][0]
    if name == "msgan":  # pictures of a label differ more as they are made better
        seeking = torch.tensor([row["mode_seeking"] for row in logged])
        assert seeking[-10:].mean() < 0.3 * seeking[0]
    if name.startswith("wgan"):  # the estimate rises while the critic learns, and falls as samples get better
        distances = torch.tensor([row["distance"] for row in logged])
        assert distances[-5:].mean() < 0.7 * distances.max()
    elif name == "ebgan":  # the critic reconstructs real pictures, and fake ones less well
        assert logged[-1]["energy"] < logged[0]["energy"] / 2
        assert logged[-1]["energy"] < logged[-1]["fake_energy"]
    else:  # the critic is ahead of one that knows nothing, and not sure of itself
        nothing = 2 if name == "sngan" else 2 * torch.log(torch.tensor(2.0))
        assert 0.1 < losses[len(losses) // 2 :].mean() < nothing


def test_a_picture_is_its_seeds(tmp_path: Path) -> None:
    system = system_of("dcgan", digits(), {"width": 8}).eval()
    together, apart = (system.sample(5, seed=3, batch=batch).images for batch in (5, 2))
    assert torch.allclose(together, apart, atol=1e-5)
    assert torch.allclose(system.sample(1, seed=5).images[0], together[2], atol=1e-5)
    with pytest.raises(ValueError, match="expected one of '0'"):
        system.sample(1, label="33")


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
from pathlib import Path
import torch
torch.set_num_threads(1)
from {module} import resumable
advance = resumable.__globals__["Trainer"]._advance
def kill_at_four(self):
    if self.step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return advance(self)
resumable.__globals__["Trainer"]._advance = kill_at_four
resumable(Path(sys.argv[1]), False).train()
"""


def noise() -> ImageDataset:
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return ImageDataset("noise", images, torch.arange(20) % 2, ("even", "odd"), torch.arange(20) < 10)


def resumable(run: Path, resume: bool) -> Trainer:
    """Two networks, two critic steps each step, vectors of power iterations, batch norm."""
    config = RunConfig(steps=6, batch_size=4, log_every=2, checkpoint_every=3, preview_every=100)
    return Trainer(system_of("sngan", noise(), {"width": 4, "latents": 4}), noise(), config, run, resume)


def test_killed_and_resumed_gives_the_same_bits(tmp_path: Path) -> None:
    resumable(tmp_path / "straight", False).train()
    script = KILLED.format(path=[str(Path(__file__).parent), *sys.path], module=Path(__file__).stem)
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "killed")], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert [f.name for f in checkpoint.step_folders(tmp_path / "killed")] == ["step-00000003"]
    resumable(tmp_path / "killed", True).train()
    for file in ("model.safetensors", "optimizer.safetensors"):
        straight, again = (tmp_path / name / "step-00000006" / file for name in ("straight", "killed"))
        assert straight.read_bytes() == again.read_bytes()
    logged = [
        [{name: row[name] for name in row if name.endswith("loss")} for row in rows(tmp_path / run)]
        for run in ("straight", "killed")
    ]
    assert logged[0] == logged[1] and len(logged[0]) == 3
    names = checkpoint.load(tmp_path / "killed").tensors
    assert any(name.endswith("_u") for name in names) and any(name.startswith("ema.") for name in names)


def test_the_optimizers_states_are_not_exchanged(tmp_path: Path) -> None:
    resumable(tmp_path, False).train()
    newest, earlier = (checkpoint.step_folders(tmp_path)[place] for place in (-1, 0))
    state = newest / checkpoint.OPTIMIZER_FILE
    state.write_bytes((earlier / checkpoint.OPTIMIZER_FILE).read_bytes())
    with pytest.raises(CheckpointError, match="do not belong together"):
        resumable(tmp_path, True)


def test_points_of_the_plane(tmp_path: Path) -> None:
    data = mixture("8-gaussians")
    system = system_of("wgan", data, {"first_steps": 0})
    Trainer(system, data, RunConfig(steps=3, batch_size=16, preview_every=3), tmp_path).train()
    assert (tmp_path / "samples-00000003.png").is_file()
    loaded = systems.load(tmp_path)
    assert loaded.sample(10).images.shape == (10, 2)
    with pytest.raises(ValueError, match=r"samples have shape \(2,\), network 'cnn' makes squares"):
        system_of("gan", data, {"network": "cnn"})
    with pytest.raises(ValueError, match=r"image_shape is \(2,\), expected pictures"):
        system_of("cgan", data, {})


@pytest.mark.parametrize("shape", [(1, 12, 12), (1, 8, 16), (1, 4, 4)])
def test_sizes_that_a_network_does_not_make(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"samples have shape .*expected|makes squares of 8, 16, 32"):
        systems.get("dcgan")(systems.get("dcgan").config_class(), shape, ("a",))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"system": "gann"}, "system is 'gann', expected one of .*; did you mean 'gan'"),
        ({"system": "dcgan"}, "has an unknown tensor|lacks tensor"),
        ({"image_shape": [1, 16, 16]}, "made for another network"),
        ({"image_shape": [1, -8, 8]}, "does not describe a GAN"),
        ({"config": {"width": 10**9}}, "width is 1000000000, expected at most"),
        ({"config": {"widht": 8}}, "did you mean 'width'"),
    ],
)
def test_bad_checkpoint(metadata: dict[str, Any], message: str, tmp_path: Path) -> None:
    system = system_of("gan", digits(), {"width": 8})
    path = tmp_path / "a.safetensors"
    tensors = {f"ema.{name}": tensor for name, tensor in system.averaged.state_dict().items()}
    described = json.loads(json.dumps(system.metadata()))
    checkpoint.save(path, tensors, described | metadata)
    with pytest.raises(CheckpointError, match=message):
        systems.load(path)


def test_the_critic_of_wgan_stays_clipped(tmp_path: Path) -> None:
    data = digits()
    system = system_of("wgan", data, {"width": 8, "clip": 0.03, "first_steps": 0})
    Trainer(system, data, RunConfig(steps=2, batch_size=8), tmp_path).train()
    largest = max(weight.abs().max().item() for weight in system.critic.parameters())
    assert largest == pytest.approx(0.03)


@pytest.mark.parametrize("critic", ["concatenation", "projection"])
def test_a_conditional_critic_looks_at_the_label(critic: str) -> None:
    system = system_of("cgan", digits(), {"width": 8, "critic": critic})
    images, zeros = digits().images[:4], torch.zeros(4, dtype=torch.int64)
    assert not torch.equal(system.critic(images, zeros), system.critic(images, zeros + 1))
    latents = torch.randn(4, system.config.latents)
    assert not torch.equal(system.generator(latents, zeros), system.generator(latents, zeros + 1))


@pytest.mark.parametrize("name", ["dcgan", "wgan_gp", "sngan"])
def test_convolutions_run_on_the_fused_op(name: str) -> None:
    """None of the networks has a convolution, norm or activation that is left to PyTorch between convolutions."""
    system = system_of(name, digits(16), {"width": 16}).eval()
    if "cpu" not in genfuse.explain("conv_norm_act").backend:
        pytest.skip("the compiled extension is not built here")
    with torch.no_grad(), torch.profiler.profile() as seen:
        system.critic(system.generator(torch.randn(4, system.config.latents)))
    ran = {event.key for event in seen.key_averages()}
    assert not ran & {"aten::convolution", "aten::native_batch_norm", "aten::relu", "aten::leaky_relu"} - (
        {"aten::relu"} if name != "dcgan" else set()
    ), ran


@pytest.mark.parametrize(
    ("name", "setting"),
    [("wgan", "first_steps"), ("progressive", "stage_steps")],
)
def test_a_number_of_steps_may_be_larger_than_any_network(name: str, setting: str) -> None:
    system = systems.get(name)
    config = settings.changed(system.config_class(), {setting: 5000})
    system.check_sizes(config, {"weight": torch.zeros(8, 8)})
    with pytest.raises(ValueError, match="width is 2000, expected at most"):
        system.check_sizes(settings.changed(config, {"width": 2000}), {"weight": torch.zeros(8, 8)})
