"""The gradient of a unit's weights by the C++ kernels: csrc/conv_norm_act/weight_gradient.h."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.cpu_tensor import DTYPE_CODES
from genfuse_kernels.conv_norm_act.cpu_impl import convolution, image, prologue_of, read_by, readable
from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors

if TYPE_CHECKING:
    from typing_extensions import Unpack


def weight_gradient(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    settings: Settings,
    *,
    into: Tensor | None = None,
    **tensors: Unpack[UnitTensors],
) -> Tensor:
    """The gradient of `weight`, of its shape; of its dtype where that is bfloat16, else in float32.

    gradient  of what the convolution put out, in x's dtype
    into      float32 and contiguous: what it is added to, and returned
    """
    dtype = torch.bfloat16 if weight.dtype == torch.bfloat16 else torch.float32
    if x.shape[0] == 0:  # a skip or seeds without memory would pass for absent
        return torch.zeros(weight.shape, dtype=dtype) if into is None else into
    out = torch.empty(weight.shape, dtype=dtype) if into is None else into
    room = out.unsqueeze(2) if out.ndim == 3 else out
    if _is_one_pixel(x, settings):
        # A GEMM: each weight meets one pixel of the output, so that these are outputs of a 1x1 kernel.
        room = room.view(out.shape[0], -1, 1, 1)
        gradient = gradient.contiguous().view(x.shape[0], -1, 1, 1)
        settings = settings._replace(stride=(1, 1))
    _launch(room, gradient, x, settings, into is not None, tensors)
    return out


def _is_one_pixel(x: Tensor, s: Settings) -> bool:
    """Whether the unit makes a whole picture of each sample's one pixel, as a generator's first layer does."""
    whole = s.padding == (0, 0) and s.output_padding == (0, 0) and s.dilation == (1, 1)
    return s.transposed and whole and s.groups == 1 and x.shape[2] == x.shape[3] == 1


def _launch(
    out: Tensor, gradient: Tensor, x: Tensor, settings: Settings, accumulate: bool, tensors: UnitTensors
) -> None:
    x, gradient = readable(x), readable(gradient)
    skip = tensors.get("skip")
    skip = None if skip is None else readable(skip)
    conv = convolution(tuple(out.shape), settings, x.dtype, (x.shape[2], x.shape[3]), _cpu.isa())
    channels = x.shape[1] + (0 if skip is None else skip.shape[1])
    prologue, _held = prologue_of(settings, channels, tensors)
    conv.weight_gradient(
        *read_by(x, skip),
        prologue,
        image(gradient),
        out.data_ptr(),
        DTYPE_CODES[out.dtype],
        accumulate,
        # Winograd in float32 is exact beside the rounding of half precision.
        settings.accuracy == "exact" and x.dtype == torch.float32,
    )
