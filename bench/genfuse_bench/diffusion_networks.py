"""The networks of diffusion models as diffusers builds them, with random weights."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

DIFFUSERS = "diffusers"


class UNet(nn.Module):
    """A `UNet2DModel` that returns a tensor."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.model = importlib.import_module(DIFFUSERS).UNet2DModel(**config)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        y: Tensor = self.model(x, t, return_dict=False)[0]
        return y


class Decoder(nn.Module):
    """The decoder of an `AutoencoderKL`: latents to pictures."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.model = importlib.import_module(DIFFUSERS).AutoencoderKL(**config)
        del self.model.encoder, self.model.quant_conv

    def forward(self, z: Tensor) -> Tensor:
        y: Tensor = self.model.decode(z, return_dict=False)[0]
        return y


def cifar_unet() -> nn.Module:
    """Of Ho et al. 2020 at 32x32 (google/ddpm-cifar10-32): 35.7 million weights."""
    return UNet(
        sample_size=32,
        block_out_channels=(128, 256, 256, 256),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    )


def medium_unet() -> nn.Module:
    """64 and 128 channels at 32x32, with attention at 16x16: 6.5 million weights."""
    return UNet(
        sample_size=32,
        block_out_channels=(64, 128, 128),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )


def small_unet() -> nn.Module:
    """32 and 64 channels at 32x32, with attention of eight channels a head."""
    return UNet(
        sample_size=32,
        block_out_channels=(32, 64),
        layers_per_block=2,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )


def vae_decoder() -> nn.Module:
    """Of Stable Diffusion: 49.5 million weights."""
    return Decoder(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )


NETWORKS: dict[str, tuple[tuple[str, Callable[[], nn.Module], tuple[int, ...]], ...]] = {
    "unet": (
        ("CIFAR-10 U-Net", cifar_unet, (8, 3, 32, 32)),
        ("CIFAR-10 U-Net", cifar_unet, (1, 3, 32, 32)),
    ),
    "small_unet": (
        ("small U-Net", small_unet, (16, 3, 32, 32)),
        ("small U-Net", small_unet, (1, 3, 32, 32)),
    ),
    "vae": (("VAE decoder", vae_decoder, (1, 4, 32, 32)),),
}
"""By section: name, maker, shape of the first input; a U-Net takes a timestep a sample besides."""


def inputs_of(name: str, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Random ones."""
    x = torch.randn(shape)
    return (x,) if name == "VAE decoder" else (x, torch.rand(shape[0]) * 999)
