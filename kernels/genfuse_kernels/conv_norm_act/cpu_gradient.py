"""The gradient of `conv_norm_act` by the C++ kernels: csrc/conv_norm_act/weight_gradient.h."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES
from genfuse_kernels.conv_norm_act.cpu_impl import convolution, image, prologue_of, readable
from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors

if TYPE_CHECKING:
    from typing_extensions import Unpack


def weight_gradient(
    out: Tensor,
    gradient: Tensor,
    x: Tensor,
    settings: Settings,
    *,
    accumulate: bool = False,
    **tensors: Unpack[UnitTensors],
) -> None:
    """Fill `out`, float32 and contiguous, with the gradient of the unit's weights, or add it to what is there.

    gradient  of what the convolution put out, in x's dtype
    """
    x, gradient = readable(x), readable(gradient)
    skip = tensors.get("skip")
    skip = None if skip is None else readable(skip)
    conv = convolution(tuple(out.shape), settings, x.dtype, (x.shape[2], x.shape[3]), _cpu.isa())
    channels = x.shape[1] + (0 if skip is None else skip.shape[1])
    prologue, _kept = prologue_of(channels, settings, tensors)  # type: ignore[arg-type]
    conv.weight_gradient(
        DTYPE_CODES[x.dtype],
        torch.get_num_threads(),
        x.shape[0],
        x.shape[2],
        x.shape[3],
        image(x),
        None if skip is None else image(skip),
        prologue,
        image(gradient),
        out.data_ptr(),
        accumulate,
        settings.is_exact(x.dtype),
    )
