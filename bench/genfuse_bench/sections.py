"""What `genfuse bench conv_norm_act` measures: its sections, each a tuple of makers of workloads.

A maker draws weights and inputs from PyTorch's generator, so that the same seed gives every process the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from genfuse import env
from genfuse_bench.diffusion_networks import DIFFUSERS, NETWORKS, inputs_of
from genfuse_bench.gan_networks import cyclegan_generator, dcgan_generator
from genfuse_bench.units import convolution, group_norm_unit, transposed_unit
from genfuse_bench.workload import Workload, workload

Maker = Callable[[], Workload]

UNITS: tuple[Maker, ...] = tuple(
    partial(group_norm_unit, *shape)
    for shape in ((8, 128, 32), (8, 256, 16), (8, 256, 8), (1, 128, 32), (1, 256, 64), (1, 512, 64))
)
"""The diffusion U-Net's unit: N, C, H = W."""

TRANSPOSED: tuple[Maker, ...] = tuple(
    partial(transposed_unit, *shape) for shape in ((64, 512, 256, 8), (64, 256, 128, 16), (64, 128, 64, 32))
)
"""DCGAN's upsampling: N, C, K, H = W."""


def _conv(
    name: str,
    n: int,
    c: int,
    k: int,
    size: int,
    kernel: int,
    padding: int,
    *,
    stride: int = 1,
    groups: int = 1,
) -> Maker:
    conv = partial(nn.Conv2d, c, k, kernel, stride, padding, groups=groups)
    return lambda: convolution(name, n, size, conv())


def _reflected(n: int, c: int, k: int, size: int) -> Maker:
    conv = partial(nn.Conv2d, c, k, 7, padding=3, padding_mode="reflect")
    return lambda: convolution("7x7 reflect", n, size, conv())


def _upsampled(name: str, n: int, c: int, k: int, size: int, stride: int, padding: int) -> Maker:
    conv = partial(nn.ConvTranspose2d, c, k, 4, stride, padding, bias=False)
    return lambda: convolution(name, n, size, conv())


FEW_CHANNELS: tuple[Maker, ...] = (
    _reflected(1, 3, 64, 256),  # CycleGAN's first and last
    _reflected(1, 64, 3, 256),
    _conv("3x3", 8, 3, 128, 32, 3, 1),  # a diffusion U-Net's
    _conv("3x3", 8, 128, 3, 32, 3, 1),
    _upsampled("transposed 4x4", 64, 100, 512, 1, 1, 0),  # DCGAN's
    _upsampled("transposed 4x4 s2", 64, 64, 3, 32, 2, 1),
)
DEPTHWISE: tuple[Maker, ...] = tuple(
    _conv(f"depthwise 3x3 s{stride}", 8, c, c, 32, 3, 1, stride=stride, groups=c)
    for stride in (1, 2)
    for c in (64, 128, 256, 512)
)
SMALL_PICTURES: tuple[Maker, ...] = tuple(
    _conv("3x3", n, c, c, size, 3, 1) for n in (1, 8) for c in (256, 512) for size in (4, 8)
)
POINTWISE: tuple[Maker, ...] = tuple(_conv("1x1", n, 256, 256, 32, 1, 0) for n in (1, 8))
STRIDED: tuple[Maker, ...] = (
    _conv("3x3 s2", 8, 128, 128, 32, 3, 1, stride=2),  # a U-Net's downsampling
    _conv("3x3 s2", 1, 64, 128, 256, 3, 1, stride=2),  # CycleGAN's
    _conv("4x4 s2", 64, 64, 128, 32, 4, 1, stride=2),  # DCGAN's discriminator
    _conv("4x4 s2", 64, 256, 512, 8, 4, 1, stride=2),
)


def _dcgan() -> Workload:
    return workload("DCGAN generator", (64, 100, 1, 1), dcgan_generator(), (torch.randn(64, 100, 1, 1),))


def _cyclegan() -> Workload:
    shape = (1, 3, 256, 256)
    return workload("CycleGAN generator", shape, cyclegan_generator(), (torch.randn(shape),))


def _diffusion(name: str, make: Callable[[], nn.Module], shape: tuple[int, ...]) -> Workload:
    return workload(name, shape, make(), inputs_of(name, shape))


SECTIONS: dict[str, tuple[Maker, ...]] = {
    "units": UNITS,
    "transposed": TRANSPOSED,
    "few_channels": FEW_CHANNELS,
    "depthwise": DEPTHWISE,
    "small_pictures": SMALL_PICTURES,
    "pointwise": POINTWISE,
    "strided": STRIDED,
    "networks": (_dcgan, _cyclegan),
} | {
    section: tuple(partial(_diffusion, *network) for network in networks) if env.version(DIFFUSERS) else ()
    for section, networks in NETWORKS.items()
}

QUICK: tuple[Maker, ...] = (partial(group_norm_unit, 1, 32, 8),)


SHAPES = "shapes "
"""Begins the name of a section of units of any shapes: a process of its own is told no more than a name."""


def of_shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    """The section of GroupNorm units (N, C, H, W), C a multiple of 32. ValueError for others."""
    for shape in shapes:
        if shape[1] % 32 or shape[2] != shape[3]:
            raise ValueError(f"{shape} has no unit: expected square pictures of a multiple of 32 channels")
    return SHAPES + ",".join("x".join(map(str, shape)) for shape in shapes)


def makers(section: str) -> tuple[Maker, ...]:
    """Of a section, of "quick", or of `of_shapes`'s name."""
    if section.startswith(SHAPES):
        sizes = (
            [int(size) for size in shape.split("x")] for shape in section.removeprefix(SHAPES).split(",")
        )
        return tuple(partial(group_norm_unit, n, c, h) for n, c, h, _ in sizes)
    return QUICK if section == "quick" else SECTIONS[section]


def make(section: str, number: int) -> Workload:
    """A section's workload by its place, the same in every process."""
    torch.manual_seed(0)
    return makers(section)[number]()


def size(section: str) -> int:
    """How many workloads a section has."""
    return len(makers(section))
