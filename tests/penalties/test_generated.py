"""Random critics of the supported modules, in float64, against double backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

import genfuse
from genfuse.penalties.kinds import KIND_NAMES
from penalties.critics import BiasAct, MinibatchStd, PixelNorm, Residual, SelfAttention, perturbed, scores
from penalties.double_backward import assert_exact

pytestmark = pytest.mark.filterwarnings("ignore:.*reduces over the first axis")

CHANNELS, SIDE = 4, 8

ALWAYS_SLOPED = [kind for kind in KIND_NAMES if kind not in ("wgan-lp", "max-gp")]
"""One-sided penalties have no gradient where all norms are below 1."""

SAME_SIZE: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
    "grouped": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=2, dilation=2, groups=2),
    "spectral": lambda: spectral_norm(nn.Conv2d(CHANNELS, CHANNELS, 1)),
    "unit": lambda: genfuse.nn.ConvNormAct(CHANNELS, CHANNELS, norm="instance"),
    "bias_act": lambda: BiasAct(CHANNELS, "leaky_relu", gain=2**0.5),
    "relu": nn.ReLU,
    "conv, relu in place": lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.ReLU(inplace=True)),
    "instance, leaky_relu in place": lambda: nn.Sequential(
        nn.InstanceNorm2d(CHANNELS, affine=True), nn.LeakyReLU(0.2, inplace=True)
    ),
    "batch, silu in place": lambda: nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.SiLU(inplace=True)),
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "batch": lambda: nn.BatchNorm2d(CHANNELS),
    "instance": lambda: nn.InstanceNorm2d(CHANNELS, affine=True),
    "group": lambda: nn.GroupNorm(2, CHANNELS),
    "layer": lambda: nn.GroupNorm(1, CHANNELS),
    "pixel": PixelNorm,
    "std": lambda: nn.Sequential(MinibatchStd(), nn.Conv2d(CHANNELS + 1, CHANNELS, 1)),
    "attention": lambda: SelfAttention(CHANNELS),
    "residual": lambda: Residual(nn.SiLU(), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)),
    "dropout": lambda: nn.Dropout(0.2),
    "nearest": lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.AvgPool2d(2)),
    "bilinear": lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.MaxPool2d(2)),
    "there and back": lambda: nn.Sequential(
        nn.Conv2d(CHANNELS, 2 * CHANNELS, 4, 2, 1), nn.ConvTranspose2d(2 * CHANNELS, CHANNELS, 4, 2, 1)
    ),
}


@given(
    st.lists(st.sampled_from(sorted(SAME_SIZE)), min_size=1, max_size=6),
    st.sampled_from(ALWAYS_SLOPED),
    st.integers(0, 2**31),
)
@settings(max_examples=30, deadline=None)
def test_random_critics(names: list[str], kind: str, seed: int) -> None:
    """Scores are of a layer that leaks, so that no critic is dead; the first convolution sees the picture."""
    torch.manual_seed(seed)
    layers = [SAME_SIZE[name]() for name in names]
    network = nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3, padding=1),
        *layers,
        nn.Conv2d(CHANNELS, 2, 3),
        nn.LeakyReLU(0.3),
        *scores(2, SIDE - 2),
    )
    assert_exact(perturbed(network), kind, (4, 3, SIDE, SIDE))
