"""Generators of GANs as their papers have them, and a critic, with random weights."""

from __future__ import annotations

from torch import Tensor, nn


def dcgan_generator(width: int = 64) -> nn.Module:
    """64x64 pixels (Radford et al. 2016), 8·width channels at 4x4: the paper's 512, or fewer."""
    layers: list[nn.Module] = [
        nn.ConvTranspose2d(100, 8 * width, 4, 1, 0, bias=False),
        nn.BatchNorm2d(8 * width),
        nn.ReLU(True),
    ]
    for channels in (8 * width, 4 * width, 2 * width):
        half = channels // 2
        layers += [
            nn.ConvTranspose2d(channels, half, 4, 2, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(True),
        ]
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh())


def dcgan_critic(width: int = 64) -> nn.Module:
    """64x64 pixels, as above."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for channels in (width, 2 * width, 4 * width):
        double = 2 * channels
        layers += [
            nn.Conv2d(channels, double, 4, 2, 1, bias=False),
            nn.BatchNorm2d(double),
            nn.LeakyReLU(0.2, True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 0, bias=False))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        half = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels)]
        other = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels)]
        self.body = nn.Sequential(*half, nn.ReLU(True), *other)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.body(x)
        return y


def cyclegan_generator(blocks: int = 9) -> nn.Module:
    """Zhu et al. 2017, appendix 7.2."""
    layers: list[nn.Module] = [
        nn.ReflectionPad2d(3),
        nn.Conv2d(3, 64, 7),
        nn.InstanceNorm2d(64),
        nn.ReLU(True),
    ]
    for c in (64, 128):
        layers += [nn.Conv2d(c, 2 * c, 3, 2, 1), nn.InstanceNorm2d(2 * c), nn.ReLU(True)]
    layers += [_Residual(256) for _ in range(blocks)]
    for c in (256, 128):
        up = nn.ConvTranspose2d(c, c // 2, 3, 2, 1, output_padding=1)
        layers += [up, nn.InstanceNorm2d(c // 2), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(64, 3, 7), nn.Tanh())
