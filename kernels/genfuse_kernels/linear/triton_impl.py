"""`linear` in Triton: the convolution of one pixel a row, whose tile has 128 rows however few there are."""

from __future__ import annotations

from torch import Tensor

from genfuse_kernels.conv_norm_act.axes import forward_axis
from genfuse_kernels.conv_norm_act.settings import Settings
from genfuse_kernels.conv_norm_act.triton_conv import convolve


def linear(
    out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings, residual: Tensor | None
) -> None:
    """Fill `out`; see `spec`. Shapes, dtypes and devices are the caller's to check."""
    pixel = forward_axis(1, 1, 0, 1, 1)
    to, rows, factors = out[:, :, None, None], x[:, :, None, None], weight[:, :, None, None]
    added = None if residual is None else residual[:, :, None, None]
    convolve(to, None, rows, factors, bias, settings, (pixel, pixel), inputs_first=False, residual=added)
