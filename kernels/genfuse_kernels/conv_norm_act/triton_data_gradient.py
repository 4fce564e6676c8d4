"""The gradient of what a unit's convolution read, in Triton: one more convolution, by the forward's kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act.axes import forward_axis, transposed_axes
from genfuse_kernels.conv_norm_act.border import summed, without_border
from genfuse_kernels.conv_norm_act.settings import Pair, Settings, kernel_size
from genfuse_kernels.conv_norm_act.triton_conv import convolve
from genfuse_kernels.conv_norm_act.triton_impl import channels_last


def data_gradient(gradient: Tensor, weight: Tensor, settings: Settings, size: Pair) -> Tensor:
    """(N, C, *size), channels last: the gradient of what the convolution read, from that of what it put out.

    size  height and width before upsampling
    """
    s = settings
    whole: list[int] = [size[i] * s.upsample[i] for i in (0, 1)]
    padding: list[int] = list(s.padding)
    ends = [s.padding[i] + s.extra_padding[i] for i in (0, 1)]
    if (
        s.padding_mode != "zeros"
    ):  # the border has a gradient of its own, which goes to the pixels that it repeats
        whole, padding = [padding[i] + whole[i] + ends[i] for i in (0, 1)], [0, 0]
    taps = kernel_size(weight.shape)
    axis_of = forward_axis if s.transposed else transposed_axes
    rows, columns = (axis_of(whole[i], s.stride[i], padding[i], taps[i], s.dilation[i]) for i in (0, 1))
    pool = s.upsample if s.stride == (1, 1) and s.padding_mode == "zeros" else (1, 1)
    if pool != (1, 1):  # what upsampling repeated is summed on the way out
        rows, columns = (
            [axis._replace(made=axis.made // pool[i]) for axis in axes]
            for i, axes in enumerate((rows, columns))
        )
    channels = weight.shape[0] if s.transposed else weight.shape[1] * s.groups
    out = torch.empty(
        (gradient.shape[0], channels, whole[0] // pool[0], whole[1] // pool[1]),
        dtype=gradient.dtype,
        device=gradient.device,
        memory_format=torch.channels_last,
    )
    back = Settings(groups=s.groups, accuracy=s.accuracy, pool=pool, scale=float(pool[0] * pool[1]))
    if gradient.numel():
        convolve(
            out,
            None,
            gradient,
            channels_last(weight),
            None,
            back,
            (rows, columns),
            inputs_first=not s.transposed,
        )
    if s.padding_mode != "zeros":
        out = without_border(out, 2, s.padding[0], ends[0], s.padding_mode)
        out = without_border(out, 3, s.padding[1], ends[1], s.padding_mode)
    return out if pool != (1, 1) else summed(out, s.upsample)
