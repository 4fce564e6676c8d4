"""Shortcuts: a 1x1 convolution that is only added to a unit's output becomes the projection of that unit's residual.

ResNet blocks that change the number of channels have one (diffusers' `conv_shortcut`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from genfuse.ops.norm_act import unit
from genfuse.rewrite import patterns
from genfuse_kernels.conv_norm_act.settings import Settings, kernel_size

if TYPE_CHECKING:
    from genfuse.rewrite.fuse import Unit


def run_sum(bias: Tensor, other: Tensor) -> Tensor:
    """Of two biases (K,), by a kernel, so that a plan runs it without Python."""
    y, _ = unit(bias.view(1, -1, 1, 1), Settings(), {"residual": other.view(1, -1, 1, 1)})
    return y.view(-1)


def is_shortcut(found: Unit) -> bool:
    """Whether the unit is a 1x1 convolution and nothing else."""
    nothing_else = found.settings == Settings(accuracy=found.settings.accuracy) and found.last is None
    return nothing_else and kernel_size(patterns.shape(found.weight) or (0, 0, 0)) == (1, 1)


def project(found: Unit, shortcut: Unit) -> bool:
    """Makes the shortcut's convolution part of the unit, unless their biases cannot be added."""
    if found.bias is not None and shortcut.bias is not None and not patterns.alike(found.bias, shortcut.bias):
        return False
    found.tensors |= {"residual": shortcut.source, "residual_weight": shortcut.weight}
    if "skip" in shortcut.tensors:
        found.tensors["residual_skip"] = shortcut.tensors["skip"]
    found.other_bias = shortcut.bias
    found.inner |= {shortcut.conv, *shortcut.inner}
    return True
