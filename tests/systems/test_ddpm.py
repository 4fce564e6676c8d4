"""DDPM: the network's contract, the loss against its equations, and that it learns."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from genfuse import systems
from genfuse.data import ImageDataset
from genfuse.errors import CheckpointError
from genfuse.nn import ConvNormAct, UNet, UNetConfig
from genfuse.samplers.forward import Forward
from genfuse.samplers.schedule import noise_schedule
from genfuse.systems.ddpm import DDPM, DDPMConfig, load, train
from genfuse.train import TrainConfig, checkpoint
from genfuse.train.draws import Draws

SMALL = UNetConfig(
    in_channels=1, num_classes=2, patch_size=1, channels=(8, 16), attention_levels=(), embedding_channels=8
)


class Fixed(nn.Module):
    """Answers with what it is told and remembers what it was asked."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        self.x, self.t, self.label = x, t, label
        return self.answer.expand_as(x)


@pytest.mark.parametrize("patch_size", [1, 2])
@pytest.mark.parametrize("num_classes", [0, 3])
def test_unet_contract(patch_size: int, num_classes: int) -> None:
    torch.manual_seed(0)
    config = UNetConfig(3, num_classes, patch_size, (8, 32), num_blocks=2, attention_levels=(1,))
    model = UNet(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)  # the zeros it starts from hide t and label
    x, t = torch.randn(2, 3, 8, 16), torch.tensor([0.0, 999.0])
    y = model(x, t)
    assert y.shape == x.shape and y.dtype == x.dtype
    assert not torch.equal(model(x, t + 10), y)
    if num_classes:
        null = torch.full((2,), num_classes)
        assert torch.equal(model(x, t, label=null), y), "no label is the null label"
        assert not torch.equal(model(x, t, label=torch.tensor([0, 1])), y)
    else:
        with pytest.raises(ValueError, match="this network has no classes"):
            model(x, t, label=torch.tensor([0, 1]))
    model.double()
    assert model(x.double(), t).dtype == torch.float64


def test_every_weight_is_used() -> None:
    torch.manual_seed(0)
    model = UNet(dataclasses.replace(SMALL, channels=(8, 32), attention_levels=(1,)))
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    model(torch.randn(4, 1, 8, 8), torch.rand(4) * 999, torch.tensor([0, 1, 2, 0])).square().sum().backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []


def test_conv_norm_act_is_its_equation() -> None:
    torch.manual_seed(0)
    unit = ConvNormAct(8, 6, num_groups=4).double()
    x, shift, residual = (
        torch.randn(2, 8, 5, 5).double(),
        torch.randn(2, 6).double(),
        torch.randn(2, 6, 5, 5).double(),
    )
    grouped = x.reshape(2, 4, -1)
    normal = (grouped - grouped.mean(2, keepdim=True)) / (
        grouped.var(2, keepdim=True, correction=0) + 1e-5
    ).sqrt()
    normal = normal.reshape_as(x)
    expected = nn.functional.conv2d(normal * normal.sigmoid(), unit.conv.weight, unit.conv.bias, padding=1)
    torch.testing.assert_close(unit(x), expected)
    torch.testing.assert_close(unit(x, shift, residual), expected + shift[:, :, None, None] + residual)


@pytest.mark.parametrize(
    ("x", "t", "message"),
    [
        ((2, 3, 8, 8), (2,), r"x has shape \(2, 3, 8, 8\), expected \(N, 1, H, W\)"),
        ((2, 1, 8, 9), (2,), "divisible by 2"),
        ((2, 1, 8, 8), (1,), r"t has shape \(1,\), expected one timestep a sample"),
    ],
)
def test_unet_bad_input(x: tuple[int, ...], t: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNet(SMALL)(torch.zeros(x), torch.zeros(t))


@pytest.mark.parametrize("wrong", [{"channels": (6,)}, {"channels": ()}, {"attention_levels": (3,)}])
def test_unet_bad_config(wrong: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        UNetConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_training_pairs_are_the_samplers_rows(prediction: str) -> None:
    """One fused call makes x_t, one the velocity, each sample at its own level: as a scheduler's, bit for bit."""
    system = DDPM(DDPMConfig(SMALL, "linear", prediction), (1, 8, 8), ("a", "b"))
    fixed = system.model = Fixed(torch.zeros(1))  # type: ignore[assignment]
    images = torch.rand(64, 1, 8, 8) * 2 - 1
    loss = system.loss(images, torch.zeros(64, dtype=torch.int64), Draws(torch.Generator().manual_seed(1)))
    generator = torch.Generator().manual_seed(1)
    t = torch.randint(1000, (64,), generator=generator)
    noise = torch.randn(images.shape, generator=generator)
    levels = noise_schedule("linear", 1000).alphas_cumprod
    forward = Forward(np.sqrt(levels), np.sqrt(1 - levels))
    assert torch.equal(fixed.x, forward.noise(images, noise, t))
    target = noise if prediction == "epsilon" else forward.velocity(images, noise, t)
    assert torch.equal(loss, target.square().mean((1, 2, 3)).mean())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("schedule", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("gamma", [None, 5.0])
def test_loss_is_the_paper(prediction: str, schedule: str, gamma: float | None) -> None:
    """A network that answers zero: the loss is the target's weighted square, from the sample it was shown."""
    config = DDPMConfig(SMALL, schedule, prediction, min_snr_gamma=gamma)
    system = DDPM(config, (1, 8, 8), ("a", "b"))
    fixed = system.model = Fixed(torch.zeros(1))  # type: ignore[assignment]
    images = torch.rand(64, 1, 8, 8) * 2 - 1
    loss = system.loss(images, torch.zeros(64, dtype=torch.int64), Draws(torch.Generator().manual_seed(1)))

    assert fixed.t.min() >= 0 and fixed.t.max() <= 999 and (fixed.t == fixed.t.round()).all()
    if schedule == "linear":
        a = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)[fixed.t.long()]
    else:
        u = torch.arange(1001, dtype=torch.float64) / 1000
        f = torch.cos((u + 0.008) / 1.008 * torch.pi / 2) ** 2
        a = torch.cumprod(1 - (1 - f[1:] / f[:-1]).clamp(max=0.999), 0)[fixed.t.long()]
    level = a[:, None, None, None]
    noise = (fixed.x - level.sqrt() * images) / (1 - level).sqrt()
    assert noise.std().item() == pytest.approx(1, abs=0.05)
    target = noise if prediction == "epsilon" else level.sqrt() * noise - (1 - level).sqrt() * images
    error = target.square().mean(dim=(1, 2, 3))
    snr = a / (1 - a)
    if gamma is not None:
        error = error * snr.clamp(max=gamma) / (snr if prediction == "epsilon" else snr + 1)
    assert loss.item() == pytest.approx(error.mean().item(), rel=1e-4)


def test_a_tenth_of_the_labels_is_dropped() -> None:
    system = DDPM(DDPMConfig(SMALL), (1, 8, 8), ("a", "b"))
    fixed = system.model = Fixed(torch.zeros(1))  # type: ignore[assignment]
    labels = torch.arange(2000) % 2
    system.loss(torch.zeros(2000, 1, 8, 8), labels, Draws(torch.Generator().manual_seed(0)))
    assert fixed.label is not None
    dropped = fixed.label == 2
    assert 150 < dropped.sum() < 250 and torch.equal(fixed.label[~dropped], labels[~dropped])


def two_classes() -> ImageDataset:
    """Black pictures and white pictures."""
    labels = torch.arange(32) % 2
    images = (labels.float() * 2 - 1)[:, None, None, None].expand(32, 1, 8, 8).contiguous()
    return ImageDataset("two", images, labels, ("black", "white"), torch.zeros(32, dtype=torch.bool))


def test_learns_two_pictures(tmp_path: Path) -> None:
    """A short lesson: after 150 steps the sampler draws black for "black" and white for "white"."""
    config = DDPMConfig(SMALL, "squaredcos_cap_v2", "v_prediction")
    lesson = TrainConfig(
        steps=150, batch_size=32, learning_rate=5e-3, warmup_steps=10, cooldown_steps=50, ema_decay=0.9,
        preview_every=150, checkpoint_every=150,
    )  # fmt: skip
    train(two_classes(), tmp_path, config, lesson)
    system = load(tmp_path)
    pictures = system.preview(system.model)
    means = pictures.mean(dim=(1, 2, 3)).reshape(8, 8)
    assert (means[0::2] < -0.7).all() and (means[1::2] > 0.7).all()
    assert system.label("white") == 1 and system.config.model == SMALL
    with pytest.raises(ValueError, match="did you mean 'white'"):
        system.label("whit")


def test_size_that_does_not_fit(tmp_path: Path) -> None:
    config = DDPMConfig(dataclasses.replace(SMALL, channels=(8, 8, 8, 8, 8)))
    with pytest.raises(ValueError, match="size is 8 x 8, this network needs multiples of 16"):
        train(two_classes(), tmp_path / "run", config, TrainConfig(steps=1))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("wrong", [{"prediction": "v"}, {"label_dropout": 1.5}, {"min_snr_gamma": 0.0}])
def test_bad_config(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DDPMConfig(**wrong)  # type: ignore[arg-type]


def change(source: Path, **metadata: object) -> None:
    """Rewrite the checkpoint's metadata."""
    with safe_open(source, "pt") as opened:
        described = json.loads(opened.metadata()["genfuse"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    save_file(tensors, source, {"genfuse": json.dumps({**described, **metadata})})


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"system": "gan"}, "is of system 'gan', expected 'ddpm'"),
        ({"config": {}}, "does not describe a DDPM"),
        ({"config": {"model": {"layers": 3}}}, "does not describe a DDPM"),
        ({"config": 3}, "does not describe a DDPM"),
        ({"image_shape": [1]}, "does not describe a DDPM"),
        ({"config": {"model": dataclasses.asdict(SMALL), "schedule": "x"}}, "does not describe a DDPM"),
        (
            {"config": {"model": {**dataclasses.asdict(SMALL), "channels": [8, 8]}}},
            "made for another network",
        ),
        ({"config": {"model": {**dataclasses.asdict(SMALL), "width": 8}}}, "setting is 'model.width'"),
        ({"config": {"model": {**dataclasses.asdict(SMALL), "num_blocks": 1.5}}}, "expected a whole number"),
        (
            {"config": {"model": {"channels": [10**9, 10**9], "attention_levels": []}}},
            "does not describe a DDPM",
        ),
        ({"config": {"model": {"channels": [-8], "attention_levels": []}}}, "does not describe a DDPM"),
        (
            {"config": {"model": {**dataclasses.asdict(SMALL), "num_blocks": 10**9}}},
            "num_blocks is 1000000000, exp",
        ),
        (
            {"config": {"model": {**dataclasses.asdict(SMALL), "head_channels": -1}}},
            "head_channels is -1, expected",
        ),
        (
            {"config": {"model": {**dataclasses.asdict(SMALL), "head_channels": 10**9}}},
            "head_channels is 1000000000",
        ),
        (
            {"config": {"model": {"channels": [8] * 10**4, "attention_levels": []}}},
            "channels is .*expected 1 to",
        ),
        ({"image_shape": [3, 8, 8]}, "this network takes 1 channels"),
        ({"image_shape": [1, 7, 7]}, "size is 7 x 7, this network needs multiples of 2"),
        ({"image_shape": [1, -8, 8]}, r"image_shape is \(1, -8, 8\)"),
        ({"image_shape": [1, 10**7, 10**7]}, "expected .* at most 67108864 values"),
        ({"image_shape": [1, 8.0, 8]}, "does not describe a DDPM"),
        ({"class_names": 5}, "class_names is 5, expected a list of names"),
        ({"class_names": "ab"}, "class_names is 'ab', expected a list of names"),
        ({"class_names": []}, "there are 0 class_names, this network has 2 classes"),
    ],
)
def test_bad_checkpoint(tmp_path: Path, metadata: dict[str, object], message: str) -> None:
    system = DDPM(DDPMConfig(SMALL), (1, 8, 8), ("a", "b"))
    path = tmp_path / "a.safetensors"
    tensors = {f"ema.{name}": tensor for name, tensor in system.model.state_dict().items()}
    checkpoint.save(path, tensors, system.metadata())
    assert load(path).config == system.config
    change(path, **metadata)
    with pytest.raises(CheckpointError, match=message):
        load(path)


def test_get() -> None:
    assert systems.get("ddpm").load == load
    with pytest.raises(ValueError, match=r"system is 'dpm', expected one of .*'ddpm'.*; did you mean 'ddpm'"):
        systems.get("dpm")
