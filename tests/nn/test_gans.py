"""DCGAN's, CycleGAN's and ResNet GANs' modules against the papers' own, of plain PyTorch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from genfuse.nn import (
    CycleGANGenerator,
    DCGANCritic,
    DCGANGenerator,
    ResNetCriticBlock,
    ResNetGeneratorBlock,
)
from nn.plain import alike, settled, with_state_of
from rewrite.models import DCGANDiscriminator, cyclegan_generator, dcgan_generator


def test_dcgan_generator() -> None:
    plain = settled(dcgan_generator(latent=20, width=4))
    ours = with_state_of(DCGANGenerator(20, (32, 16, 8, 4)), plain)
    alike(ours, plain, torch.randn(3, 20, 1, 1))


def test_dcgan_critic() -> None:
    plain = settled(DCGANDiscriminator(width=4))
    ours = with_state_of(DCGANCritic(3, (4, 8, 16, 32), out_activation="sigmoid"), plain)
    alike(ours, plain, torch.randn(3, 3, 64, 64))


def test_dcgan_starts_as_the_paper_has_it() -> None:
    generator, critic = DCGANGenerator(), DCGANCritic()
    assert generator(torch.randn(2, 100, 1, 1)).shape == (2, 3, 64, 64)
    assert critic(torch.randn(2, 3, 64, 64)).shape == (2,)
    for weight in (generator[1].conv.weight, critic[2].conv.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert generator[1].norm.weight.mean().item() == pytest.approx(1, abs=0.01)


def test_cyclegan_generator() -> None:
    plain = cyclegan_generator(width=4, blocks=2)
    ours = with_state_of(CycleGANGenerator(channels=4, num_blocks=2), plain)
    alike(ours, plain, torch.randn(2, 3, 16, 20))


class PlainGeneratorBlock(nn.Module):
    """Miyato et al.'s GBlock."""

    def __init__(self, inputs: int, outputs: int, upsample: bool) -> None:
        super().__init__()
        self.b1, self.c1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.b2, self.c2 = nn.BatchNorm2d(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.c_sc = nn.Conv2d(inputs, outputs, 1) if upsample or inputs != outputs else nn.Identity()
        self.upsample = upsample

    def up(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="nearest") if self.upsample else x

    def forward(self, x: Tensor) -> Tensor:
        h = self.c1(self.up(F.relu(self.b1(x))))
        h = self.c2(F.relu(self.b2(h)))
        shortcut: Tensor = self.c_sc(self.up(x))
        return h + shortcut


@pytest.mark.parametrize(("outputs", "upsample"), [(6, True), (6, False), (8, False)])
def test_resnet_generator_block(outputs: int, upsample: bool) -> None:
    plain = settled(PlainGeneratorBlock(8, outputs, upsample))
    ours = with_state_of(ResNetGeneratorBlock(8, outputs, upsample=upsample), plain)
    alike(ours, plain, torch.randn(3, 8, 6, 7))


class PlainCriticBlock(nn.Module):
    """Miyato et al.'s DBlock; as the first block, their OptimizedBlock."""

    def __init__(self, inputs: int, outputs: int, downsample: bool, first: bool) -> None:
        super().__init__()
        hidden = outputs if first else inputs
        self.c1, self.c2 = (
            nn.Conv2d(inputs, hidden, 3, padding=1),
            nn.Conv2d(hidden, outputs, 3, padding=1),
        )
        self.c_sc = nn.Conv2d(inputs, outputs, 1) if downsample or inputs != outputs else nn.Identity()
        self.downsample, self.first = downsample, first

    def down(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) if self.downsample else x

    def forward(self, x: Tensor) -> Tensor:
        h = self.c2(F.relu(self.c1(x if self.first else F.relu(x))))
        shortcut: Tensor = self.c_sc(self.down(x)) if self.first else self.down(self.c_sc(x))
        return self.down(h) + shortcut


@pytest.mark.parametrize(
    ("outputs", "downsample", "first"),
    [(6, True, False), (8, False, False), (6, False, False), (6, True, True)],
)
def test_resnet_critic_block(outputs: int, downsample: bool, first: bool) -> None:
    plain = PlainCriticBlock(8, outputs, downsample, first)
    ours = with_state_of(ResNetCriticBlock(8, outputs, downsample=downsample, sees_picture=first), plain)
    alike(ours, plain, torch.randn(3, 8, 6, 8))


def test_spectral_norm_on_a_critic_block() -> None:
    plain = PlainCriticBlock(8, 6, True, False)
    ours = with_state_of(ResNetCriticBlock(8, 6), plain)
    for conv in (plain.c1, plain.c2, plain.c_sc, ours.first.conv, ours.second.conv, ours.shortcut.conv):  # type: ignore[union-attr]
        torch.manual_seed(1)  # the start of the power iteration
        spectral_norm(conv)  # type: ignore[arg-type]
    alike(ours, plain, torch.randn(2, 8, 6, 8))
