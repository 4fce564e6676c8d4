"""The critics whose penalties `genfuse bench gradient_penalty` measures, by section and name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

WIDTH = 64

Norm = Callable[[int, int], nn.Module]
"""Of so many channels and pixels a side."""

NORMS: dict[str, Norm] = {
    "no norm": lambda channels, side: nn.Identity(),
    "layer norm": lambda channels, side: nn.LayerNorm([channels, side, side]),
    "instance norm": lambda channels, side: nn.InstanceNorm2d(channels, affine=True),
}


Activation = Callable[[], nn.Module]

leaky_relu: Activation = partial(nn.LeakyReLU, 0.2, inplace=True)


def dcgan_critic(
    side: int, norm: str = "no norm", width: int = WIDTH, activation: Activation = leaky_relu
) -> nn.Module:
    """Radford et al. 2016 at 32, 64 or 128 pixels; "spectral norm" is of every layer (Miyato et al. 2018)."""
    layers: list[nn.Module] = [_conv(3, width, norm), activation()]
    channels, side = width, side // 2
    while side > 4:
        layers.append(_conv(channels, 2 * channels, norm))
        channels, side = 2 * channels, side // 2
        layers += [NORMS.get(norm, NORMS["no norm"])(channels, side), activation()]
    return nn.Sequential(*layers, _normed(nn.Conv2d(channels, 1, 4), norm), nn.Flatten(0))


def _conv(channels: int, outputs: int, norm: str) -> nn.Module:
    return _normed(nn.Conv2d(channels, outputs, 4, 2, 1), norm)


def _normed(layer: nn.Module, norm: str) -> nn.Module:
    """With spectral norm, where that is asked for."""
    return spectral_norm(layer) if norm == "spectral norm" else layer


class ResidualBlock(nn.Module):
    """A block of WGAN-GP's critic (Gulrajani et al. 2017, table 4): norms, ReLUs, 3x3 convolutions, a mean pool."""

    def __init__(self, channels: int, outputs: int, side: int, downsample: bool, norm: str) -> None:
        super().__init__()
        of_input = NORMS.get(norm, NORMS["no norm"])
        self.body = nn.Sequential(
            of_input(channels, side), nn.ReLU(), _normed(nn.Conv2d(channels, outputs, 3, padding=1), norm),
            of_input(outputs, side), nn.ReLU(), _normed(nn.Conv2d(outputs, outputs, 3, padding=1), norm),
        )  # fmt: skip
        self.pool = nn.AvgPool2d(2) if downsample else nn.Identity()
        self.shortcut = _normed(nn.Conv2d(channels, outputs, 1), norm) if downsample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(self.body(x)) + self.shortcut(self.pool(x))
        return y


def resnet_critic(norm: str = "no norm", width: int = 128) -> nn.Module:
    """WGAN-GP's at 32 pixels: four blocks, the first two halve the picture."""
    return nn.Sequential(
        _normed(nn.Conv2d(3, width, 3, padding=1), norm),
        ResidualBlock(width, width, 32, True, norm),
        ResidualBlock(width, width, 16, True, norm),
        ResidualBlock(width, width, 8, False, norm),
        ResidualBlock(width, width, 8, False, norm),
        nn.ReLU(), nn.AvgPool2d(8), nn.Flatten(), _normed(nn.Linear(width, 1), norm), nn.Flatten(0),
    )  # fmt: skip


Critics = dict[str, tuple[Callable[[], nn.Module], int]]
"""Maker and pixels a side, by name."""

SECTIONS: dict[str, Critics] = {
    "dcgan": {f"DCGAN {side}": (partial(dcgan_critic, side), side) for side in (32, 64, 128)},
    "curved": {"DCGAN 64, SiLU": (partial(dcgan_critic, 64, activation=nn.SiLU), 64)},
    "norms": {
        f"DCGAN 64, {norm}": (partial(dcgan_critic, 64, norm), 64)
        for norm in ("layer norm", "instance norm", "spectral norm")
    },
    "resnet": {
        f"ResNet 32, {norm}": (partial(resnet_critic, norm), 32)
        for norm in ("no norm", "layer norm", "instance norm", "spectral norm")
    },
}
