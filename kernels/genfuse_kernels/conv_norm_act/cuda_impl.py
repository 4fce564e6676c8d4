"""`conv_norm_act` in CUDA: norm and activation run once a pixel of the tile that a block keeps in shared memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from genfuse_kernels.conv_norm_act.axes import axes_of
from genfuse_kernels.conv_norm_act.cuda_conv import convolve
from genfuse_kernels.conv_norm_act.cuda_norm import norm_table
from genfuse_kernels.conv_norm_act.cuda_plan import WAYS, Way, ways_of
from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors, kernel_size

if TYPE_CHECKING:
    from typing_extensions import Unpack


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
    """Fill `out` and `stats_out`; see `spec`, and `cuda_plan.limit` for what it does not take. Any strides.

    Channels-last images of channels in multiples of 16 bytes move 16 bytes at a time. Weights are read as (outputs,
    kernel, inputs) in x's dtype, inputs in such multiples too: a copy at each call where they lie otherwise.
    """
    if out.numel() == 0:
        return
    skip = tensors.get("skip")
    convolve(
        out,
        stats_out,
        x,
        weight,
        bias,
        settings,
        axes_of(settings, kernel_size(weight.shape), (out.shape[2], out.shape[3])),
        inputs_first=settings.transposed,
        skip=skip,
        table=norm_table(x, skip, settings, tensors).channels,
        shift=tensors.get("shift"),
        residual=tensors.get("residual"),
        residual_weight=tensors.get("residual_weight"),
        residual_skip=tensors.get("residual_skip"),
        way=way,
    )


def ways(
    out: Tensor,
    _stats_out: Tensor | None,
    x: Tensor,
    weight: Tensor,
    _bias: Tensor | None,
    settings: Settings,
    **tensors: Unpack[UnitTensors],
) -> dict[str, Way]:
    """The configurations of a call's product, by name, the one by rule first."""
    made = out.shape[2], out.shape[3]
    return ways_of(weight.shape, settings, made, x.dtype, tensors.get("residual_weight") is not None)
