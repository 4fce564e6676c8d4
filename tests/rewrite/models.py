"""Other people's image models, built of plain PyTorch modules, narrow; diffusers' with random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """torchvision's (He et al. 2016, figure 5 left)."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    """torchvision's (figure 5 right), the stride at the 3x3 convolution."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """torchvision's; ResNet-18 is `ResNet(BasicBlock, (2, 2, 2, 2), 64, 1000)`."""

    def __init__(
        self, block: type[BasicBlock | Bottleneck], blocks: tuple[int, ...], width: int, classes: int
    ) -> None:
        super().__init__()
        self.channels = width
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for number, count in enumerate(blocks):
            layer = self._layer(block, width << number, count, 1 if number == 0 else 2)
            self.add_module(f"layer{number + 1}", layer)
        self.depth = len(blocks)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(self.channels, classes)

    def _layer(self, block: type[BasicBlock | Bottleneck], width: int, count: int, stride: int) -> nn.Module:
        layers: list[nn.Module] = []
        for _ in range(count):
            outputs, downsample = block.expansion * width, None
            if stride != 1 or self.channels != outputs:
                downsample = nn.Sequential(
                    nn.Conv2d(self.channels, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )
            layers.append(block(self.channels, width, stride, downsample))
            self.channels, stride = outputs, 1
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(self.depth):
            x = getattr(self, f"layer{number + 1}")(x)
        result: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return result


def dcgan_generator(latent: int = 20, width: int = 8) -> nn.Module:
    """The PyTorch example's, for 64 pixels."""

    def up(channels: int, outputs: int) -> list[nn.Module]:
        return [
            nn.ConvTranspose2d(channels, outputs, 4, 2, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(True),
        ]

    return nn.Sequential(
        nn.ConvTranspose2d(latent, 8 * width, 4, 1, 0, bias=False),
        nn.BatchNorm2d(8 * width),
        nn.ReLU(True),
        *up(8 * width, 4 * width),
        *up(4 * width, 2 * width),
        *up(2 * width, width),
        nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False),
        nn.Tanh(),
    )


class DCGANDiscriminator(nn.Module):
    """The PyTorch example's, for 64 pixels."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()

        def down(channels: int, outputs: int) -> list[nn.Module]:
            return [
                nn.Conv2d(channels, outputs, 4, 2, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.2, inplace=True),
            ]

        self.main = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            *down(width, 2 * width),
            *down(2 * width, 4 * width),
            *down(4 * width, 8 * width),
            nn.Conv2d(8 * width, 1, 4, 1, 0, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.main(x)
        return scores.view(-1, 1).squeeze(1)


class CycleGANResidual(nn.Module):
    """Its authors' ResnetBlock."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def cyclegan_generator(width: int = 8, blocks: int = 2) -> nn.Module:
    """Its authors' ResnetGenerator."""

    def normal(channels: int) -> list[nn.Module]:
        return [nn.InstanceNorm2d(channels), nn.ReLU(True)]

    return nn.Sequential(
        nn.ReflectionPad2d(3),
        nn.Conv2d(3, width, 7),
        *normal(width),
        nn.Conv2d(width, 2 * width, 3, 2, 1),
        *normal(2 * width),
        nn.Conv2d(2 * width, 4 * width, 3, 2, 1),
        *normal(4 * width),
        *(CycleGANResidual(4 * width) for _ in range(blocks)),
        nn.ConvTranspose2d(4 * width, 2 * width, 3, 2, 1, output_padding=1),
        *normal(2 * width),
        nn.ConvTranspose2d(2 * width, width, 3, 2, 1, output_padding=1),
        *normal(width),
        nn.ReflectionPad2d(3),
        nn.Conv2d(width, 3, 7),
        nn.Tanh(),
    )


def unet_2d() -> nn.Module:
    """diffusers' unconditional U-Net."""
    return pytest.importorskip("diffusers").UNet2DModel(  # type: ignore[no-any-return]
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )


def unet_2d_condition() -> nn.Module:
    """diffusers' U-Net with cross attention to a text."""
    return pytest.importorskip("diffusers").UNet2DConditionModel(  # type: ignore[no-any-return]
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=24,
        attention_head_dim=8,
        norm_num_groups=8,
    )


class Autoencoder(nn.Module):
    """diffusers' AutoencoderKL, one way: `encode` to the moments of the latent, or `decode` to the picture."""

    def __init__(self, decodes: bool) -> None:
        super().__init__()
        self.decodes = decodes
        self.model = pytest.importorskip("diffusers").AutoencoderKL(
            block_out_channels=(16, 32),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=8,
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = (
            self.model.decode(x).sample if self.decodes else self.model.encode(x).latent_dist.parameters
        )
        return result


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], tuple[Any, ...]]]] = {
    "resnet basic": (
        lambda: ResNet(BasicBlock, (2, 2), 8, 10),
        lambda batch: (torch.randn(batch, 3, 40, 36),),
    ),
    "resnet bottleneck": (
        lambda: ResNet(Bottleneck, (1, 2), 8, 10),
        lambda batch: (torch.randn(batch, 3, 40, 36),),
    ),
    "dcgan generator": (dcgan_generator, lambda batch: (torch.randn(batch, 20, 1, 1),)),
    "dcgan discriminator": (DCGANDiscriminator, lambda batch: (torch.randn(batch, 3, 64, 64),)),
    "cyclegan": (cyclegan_generator, lambda batch: (torch.randn(batch, 3, 24, 32),)),
    "unet": (unet_2d, lambda batch: (torch.randn(batch, 3, 16, 16), torch.rand(batch) * 999)),
    "unet condition": (
        unet_2d_condition,
        lambda batch: (torch.randn(batch, 4, 8, 8), torch.rand(batch) * 999, torch.randn(batch, 5, 24)),
    ),
    "encoder": (lambda: Autoencoder(False), lambda batch: (torch.randn(batch, 3, 16, 24),)),
    "decoder": (lambda: Autoencoder(True), lambda batch: (torch.randn(batch, 4, 8, 12),)),
}
"""Each model and inputs for it, by batch."""
