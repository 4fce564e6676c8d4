"""`conv_norm_act` in Triton: what stands before the convolution runs in its load path, or in a pass of its own.

A tile of the product reads each pixel once a tap and once a block of outputs. Norm and a piecewise-linear activation
cost little beside the product; the others' exponentials cost more than it (on tensor cores), so that they run once a
pixel, in a pass that writes what the convolution reads. So do dropout, norms per pixel and inputs of two images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act.axes import axes_of
from genfuse_kernels.conv_norm_act.norm_table import Table
from genfuse_kernels.conv_norm_act.settings import NormTensors, Settings, UnitTensors, kernel_size
from genfuse_kernels.conv_norm_act.triton_conv import convolve
from genfuse_kernels.conv_norm_act.triton_norm import norm_table
from genfuse_kernels.conv_norm_act.triton_plan import WAYS, Way
from genfuse_kernels.norm_act.triton_impl import apply

if TYPE_CHECKING:
    from typing_extensions import Unpack

CHEAP = ("none", "relu", "leaky_relu")
"""Activations that the load path may repeat."""


def conv_norm_act(
    out: Tensor,
    stats_out: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    settings: Settings,
    *,
    way: Way = WAYS[""],
    **tensors: Unpack[UnitTensors],
) -> None:
    """Fill `out` and `stats_out`; see `spec`. Any strides; the weights are read as channels last."""
    if out.numel() == 0:
        return
    s = settings
    size = kernel_size(weight.shape)
    before = norm_table(x, tensors.get("skip"), s, tensors)
    h, table, s = read_by_product(x, tensors.get("skip"), before, s, tensors, size[0] * size[1])
    convolve(
        out,
        stats_out,
        h,
        channels_last(weight),
        bias,
        s,
        axes_of(s, size, (out.shape[2], out.shape[3])),
        inputs_first=s.transposed,
        table=table,
        shift=tensors.get("shift"),
        residual=tensors.get("residual"),
        residual_weight=None if (w := tensors.get("residual_weight")) is None else channels_last(w),
        residual_skip=tensors.get("residual_skip"),
        way=way,
    )


def ways(*_: Any, **__: Any) -> dict[str, Way]:
    """The configurations of a call's product, by name, the one by rule first."""
    return WAYS


def channels_last(weight: Tensor) -> Tensor:
    """Of four axes, the second's elements beside each other, as the product reads them; a copy where they are not."""
    weight = weight.unsqueeze(2) if weight.ndim == 3 else weight
    return weight.contiguous(memory_format=torch.channels_last)


def read_by_product(
    x: Tensor, skip: Tensor | None, table: Table, s: Settings, tensors: NormTensors, taps: int
) -> tuple[Tensor, Tensor | None, Settings]:
    """What the product's load path reads, its table, and the settings with the activation that is left to it."""
    repeated = s.activation not in CHEAP and taps > 1
    if skip is None and s.dropout == 0 and table.pixels is None and not repeated:
        return x, table.channels, s
    return staged(x, skip, table, s, tensors), None, s._replace(activation="none")


def staged(x: Tensor, skip: Tensor | None, table: Table, s: Settings, tensors: NormTensors) -> Tensor:
    """x and skip normalised, activated and masked, channels last, in x's dtype: the product's factors."""
    channels = x.shape[1] + (0 if skip is None else skip.shape[1])
    shape = (x.shape[0], channels, *x.shape[2:])
    h = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    plain = s._replace(scale=1.0, out_activation="none", pool=(1, 1))
    first = 0
    for part in (x,) if skip is None else (x, skip):
        into = h[:, first : first + part.shape[1]]
        apply(into, None, part, plain, table, None, tensors.get("seeds"), first_channel=first)
        first += part.shape[1]
    return h
