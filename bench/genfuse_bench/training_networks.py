"""The networks whose training steps `genfuse bench training` measures, by section."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from genfuse_bench.diffusion_networks import cifar_unet, inputs_of, medium_unet
from genfuse_bench.gan_networks import cyclegan_generator, dcgan_critic, dcgan_generator
from genfuse_bench.workload import Inputs

NETWORKS: dict[str, tuple[str, Callable[[], nn.Module], tuple[int, ...]]] = {
    "unet": ("CIFAR-10 U-Net", cifar_unet, (8, 3, 32, 32)),
    "unet_32": ("CIFAR-10 U-Net", cifar_unet, (32, 3, 32, 32)),
    "unet_6m": ("6.5M U-Net", medium_unet, (64, 3, 32, 32)),
    "generator": ("DCGAN generator", dcgan_generator, (64, 100, 1, 1)),
    "critic": ("DCGAN critic", dcgan_critic, (64, 3, 64, 64)),
    "cyclegan": ("CycleGAN generator", cyclegan_generator, (1, 3, 128, 128)),
}
"""Name, maker, shape of the first input; a U-Net takes a timestep a sample besides."""


def network(section: str) -> tuple[str, nn.Module, Inputs]:
    """The name, the network in training and its inputs, the same in every process."""
    torch.manual_seed(0)
    name, make, shape = NETWORKS[section]
    inputs = inputs_of(name, shape) if section.startswith("unet") else (torch.randn(shape),)
    return name, make().train(), inputs
