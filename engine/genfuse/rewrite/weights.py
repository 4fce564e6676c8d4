"""What the packed weights of a graph's convolutions take, and which algorithms a limit of memory allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from genfuse import env
from genfuse.rewrite import patterns
from genfuse_kernels.conv_norm_act import spec
from genfuse_kernels.conv_norm_act.settings import kernel_size

if TYPE_CHECKING:
    from genfuse.rewrite.fuse import Unit
    from genfuse_kernels import _cpu


def choose_algorithms(units: Sequence[Unit], memory_limit: int | None) -> None:
    """Takes Winograd from the convolutions where it is worth least, until all packed weights fit.

    Winograd's weights are four to nine times as many as the kernel's (the latter of 3x3 at stride 2) and what they
    save grows with the picture: the smallest pictures go first. Weights for direct convolution are the least there is,
    and may exceed the limit.
    """
    if memory_limit is None or env.backend_missing("cpu") is not None:
        return
    held = sum(packed_bytes(unit) for unit in units)
    for unit in sorted(units, key=_pixels):
        if held <= memory_limit:
            return
        before = packed_bytes(unit)
        unit.settings = unit.settings._replace(accuracy="exact")
        held += packed_bytes(unit) - before


def algorithm(unit: Unit) -> str:
    """The CPU's kernel: "winograd", "direct", "planar" or "depthwise", with "bfloat16" behind it where factors are."""
    conv = _convolution(unit)
    return conv.algorithm if conv.product == "float32" else f"{conv.algorithm} {conv.product}"


def packed_bytes(unit: Unit) -> int:
    """Of a convolution's weights and its residual's as its kernel reads them, and of those with a norm folded in."""
    from genfuse_kernels.conv_norm_act.cpu_impl import projection_size

    shape = patterns.shape(unit.weight) or ()
    projection = patterns.shape(unit.tensors.get("residual_weight"))
    packed = _convolution(unit).packed_size
    packed += projection_size(projection, unit.settings.groups) if projection else 0
    return 4 * (packed + (math.prod(shape) if unit.folded is not None else 0))


def _convolution(unit: Unit) -> _cpu.Conv:
    from genfuse_kernels import _cpu
    from genfuse_kernels.conv_norm_act.cpu_impl import convolution

    tensor = patterns.value(unit.conv)
    dtype = tensor.dtype if tensor is not None and tensor.dtype in spec.DTYPES else torch.float32
    size = kernel_size(patterns.shape(unit.source) or (0, 0, 0))  # of a sequence: height 1
    return convolution(
        patterns.shape(unit.weight) or (),
        unit.settings,
        dtype,
        size,
        _cpu.isa(),
        "residual_weight" in unit.tensors,
    )


def _pixels(unit: Unit) -> int:
    return math.prod((patterns.shape(unit.conv) or (0, 0, 0))[2:])
