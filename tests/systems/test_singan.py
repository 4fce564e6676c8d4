"""SinGAN: scale by scale it rebuilds its photograph, is its checkpoint, and does what its commands say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from genfuse import data, systems
from genfuse.cli import app
from genfuse.data import ImageDataset
from genfuse.systems.singan import SinGAN, SinGANConfig, sizes
from genfuse.train import RunConfig, Trainer
from genfuse.train.metrics import rows

CONFIG = SinGANConfig(coarsest=10, width=8, scale_steps=16, critic_steps=1)
FEW = SinGANConfig(coarsest=10, width=4, scale_steps=2, critic_steps=1, generator_steps=1)


def photograph(folder: Path) -> ImageDataset:
    """A meadow under a sky, and a sun."""
    rows, columns = np.mgrid[0:18, 0:24]
    pixels = np.where((rows < 9)[..., None], (120, 180, 240), (60, 140, 40)).astype(np.uint8)
    pixels[(rows - 4) ** 2 + (columns - 6) ** 2 < 8] = (250, 220, 60)
    Image.fromarray(pixels).save(folder / "meadow.png")
    return data.photograph(folder / "meadow.png", 24)


def trained(config: SinGANConfig, run: Path, steps: int, *, resume: bool = False) -> Trainer:
    pictures = photograph(run.parent)
    system = SinGAN(config, pictures.image_shape, pictures.class_names)
    train = RunConfig(steps, 1, ema_decay=0.0, log_every=1, preview_every=1000, checkpoint_every=1000)
    trainer = Trainer(system, pictures, train, run, resume)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("genfuse.train.metrics.can_draw", lambda: False)
        patched.setattr("genfuse.train.tensorboard.find_spec", lambda name: None)
        torch.set_num_threads(1)
        trainer.train()
    return trainer


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """Beside its run lie the photograph and a mask of its right third."""
    folder = tmp_path_factory.mktemp("singan")
    mask = np.zeros((18, 24), np.uint8)
    mask[:, 16:] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    return trained(CONFIG, folder / "run", 48)


def test_it_rebuilds_its_photograph_and_its_checkpoint_is_the_system(trainer: Trainer) -> None:
    real = photograph(trainer.run.parent).images
    assert real.shape == (1, 3, 18, 24)
    loaded = systems.load(trainer.run)
    assert isinstance(loaded, SinGAN) and loaded.pyramid.sizes == [(10, 13), (13, 18), (18, 24)]
    assert loaded.class_names == ("meadow",)
    for key, tensor in trainer.ema.model.state_dict().items():
        assert torch.equal(loaded.pyramid.state_dict()[key], tensor), key
    logged = rows(trainer.run)
    assert [row["scale"] for row in logged] == [float(step // 16) for step in range(48)]
    errors = [row["reconstruction"] for row in logged]
    assert errors[15] < 0.6 * errors[0] and errors[-1] < 0.3 * errors[0]
    rebuilt = loaded.pyramid.reconstruction(3)
    assert rebuilt is not None and (rebuilt - real).square().mean() < 0.3 * real.var()
    amplitudes = loaded.pyramid.amplitudes
    assert amplitudes[0] == 1 and (amplitudes[1:] > 0).all() and (amplitudes[1:] < 0.1).all()

    samples = loaded.sample(3, seed=5, height=20, width=40).images
    assert samples.shape == (3, 3, 20, 40) and (samples[0] - samples[1]).abs().mean() > 1e-3
    assert torch.allclose(loaded.sample(1, seed=6, height=20, width=40).images[0], samples[1], atol=1e-5)
    free, kept = (
        loaded.sample(2, scale=scale).images for scale in (0, 2)
    )  # kept: of the photograph's layout
    assert (kept - real).square().mean() < (free - real).square().mean()
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=f"scale is {wrong}, expected 1 to 2"):
            loaded.sample(1, scale=wrong)


def test_a_run_resumed_within_a_scale_has_the_same_bits(tmp_path: Path) -> None:
    trained(FEW, tmp_path / "straight", 5)
    trained(FEW, tmp_path / "broken", 3)
    trained(FEW, tmp_path / "broken", 5, resume=True)
    for file in ("model.safetensors", "optimizer.safetensors"):
        straight, broken = (
            load_file(tmp_path / run / "step-00000005" / file) for run in ("straight", "broken")
        )
        assert straight.keys() == broken.keys()
        assert all(torch.equal(tensor, broken[name]) for name, tensor in straight.items())


def invoke(command: str, run: Path, output: Path) -> Result:
    """RUN is the run, and every picture lies beside it."""
    words = [
        str(run.parent / word) if word.endswith(".png") else word.replace("RUN", str(run))
        for word in command.split()
    ]
    return CliRunner().invoke(app, ["singan", *words, "-o", str(output)])


@pytest.mark.parametrize(
    ("command", "shape"),
    [
        ("samples RUN --height 12 --width 30 -n 1", (30, 12)),
        ("paint RUN meadow.png", (24, 18)),
        ("harmonize RUN meadow.png --mask mask.png --scale 1", (24, 18)),
        ("edit RUN meadow.png --mask mask.png", (24, 18)),
        ("super-resolution RUN --factor 1.5", (36, 27)),
        ("super-resolution RUN --picture meadow.png", (48, 36)),
    ],
)
def test_commands(command: str, shape: tuple[int, int], trainer: Trainer, tmp_path: Path) -> None:
    result = invoke(command, trainer.run, tmp_path / "made.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "made.png") as made:
        assert made.size == shape
        if "mask" in command:  # outside of the mask, and of its soft border, the picture stays
            original = np.asarray(Image.open(trainer.run.parent / "meadow.png"), np.int64)[:, :8]
            assert abs(np.asarray(made, np.int64)[:, :8] - original).max() <= 1


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("paint RUN meadow.png --scale 7", "scale is 7, expected 1 to 2"),
        ("paint RUN nothing.png", "cannot be read as a picture"),
        ("edit RUN meadow.png --mask run/samples-00000048.png", "mask has shape"),
        ("super-resolution RUN --factor 1", "factor is 1.0, expected more than 1"),
        ("samples RUN --height 1 --width 1", "leave the coarsest scale less than 2 pixels"),
        ("samples nothing", "there is no checkpoint at"),
    ],
)
def test_what_commands_refuse(command: str, message: str, trainer: Trainer, tmp_path: Path) -> None:
    result = invoke(command, trainer.run, tmp_path / "made.png")
    assert result.exit_code == 2 and message in " ".join(result.output.split()), result.output
    assert not (tmp_path / "made.png").exists()


def test_scales() -> None:
    assert sizes(SinGANConfig(), 64, 96) == [(25, 38), (34, 51), (47, 70), (64, 96)]
    assert sizes(SinGANConfig(), 20, 30) == [(20, 30)]
    with pytest.raises(ValueError, match="expected a picture"):
        SinGAN(SinGANConfig(), (2,), ("points",))
    with pytest.raises(ValueError, match="factor is 1"):
        SinGANConfig(factor=1.0)


def test_photographs() -> None:
    china = data.load("china", 32)
    assert china.image_shape == (3, 21, 32) and "CC BY 2.0" in china.described()["attribution"]  # type: ignore[union-attr]
