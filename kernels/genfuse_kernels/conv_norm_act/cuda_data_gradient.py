"""The gradient of what a unit's convolution read, in CUDA: one more convolution, by the forward's kernel.

Of a convolution it is the transposed one, a launch a phase of the stride, of a transposed one a convolution. What
upsampling repeated is summed in the weights: behind it a kernel of k taps is one of k + 1 that strides by 2, whose taps
are the sums of two neighbours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse_kernels.conv_norm_act.axes import Axis
from genfuse_kernels.conv_norm_act.border import summed, without_border
from genfuse_kernels.conv_norm_act.cuda_arguments import Read
from genfuse_kernels.conv_norm_act.cuda_conv import convolve, convolve_back
from genfuse_kernels.conv_norm_act.cuda_plan import axes_back, folds_upsampling
from genfuse_kernels.conv_norm_act.settings import Pair, Settings, kernel_size


def data_gradient(gradient: Tensor, weight: Tensor, settings: Settings, size: Pair) -> Tensor:
    """(N, C, *size), channels last: the gradient of what the convolution read, from that of what it put out.

    size  height and width before upsampling
    """
    s = settings
    ends = [s.padding[i] + s.extra_padding[i] for i in (0, 1)]
    out, weight, axes = _prepared(gradient, weight, s, size)
    if gradient.numel():
        back = Settings(groups=s.groups, accuracy=s.accuracy)
        convolve(out, None, gradient, weight, None, back, axes, inputs_first=not s.transposed)
    if s.padding_mode != "zeros":  # the border's gradient goes to the pixels that it repeats
        out = without_border(out, 2, s.padding[0], ends[0], s.padding_mode)
        out = without_border(out, 3, s.padding[1], ends[1], s.padding_mode)
    return out if folds_upsampling(s) else summed(out, s.upsample)


def read_back(
    gradient: Tensor, weight: Tensor, settings: Settings, size: Pair, read: Read
) -> tuple[Tensor, Tensor | None]:
    """Likewise, or with `read.ends` of x and skip, and the sums (2, N, C) where `read` wants them.

    ValueError where pixels are repeated behind the activation: a border that is no zeros, or upsampling that
    `folds_upsampling` does not take.
    """
    s = settings
    if s.padding_mode != "zeros" or not folds_upsampling(s):
        raise ValueError(
            f"padding_mode is {s.padding_mode!r} and upsample {s.upsample}, expected no pixel that is read as several"
        )
    out, weight, axes = _prepared(gradient, weight, s, size)
    back = Settings(groups=s.groups, accuracy=s.accuracy, negative_slope=s.negative_slope)
    sums = convolve_back(out, gradient, weight, back, axes, read, inputs_first=not s.transposed)
    return out, None if sums is None else sums.sum(1)


def _prepared(
    gradient: Tensor, weight: Tensor, s: Settings, size: Pair
) -> tuple[Tensor, Tensor, tuple[list[Axis], list[Axis]]]:
    """Where the gradient goes, its border included, the weights that make it, and where these read."""
    axes, whole = axes_back(s, kernel_size(weight.shape), size)
    channels = weight.shape[0] if s.transposed else weight.shape[1] * s.groups
    out = torch.empty(
        (gradient.shape[0], channels, *whole),
        dtype=gradient.dtype,
        device=gradient.device,
        memory_format=torch.channels_last,
    )
    if folds_upsampling(s):
        weight = _summed_taps(weight.unsqueeze(2) if weight.ndim == 3 else weight, s.upsample)
    return out, weight, axes


def _summed_taps(weight: Tensor, upsample: Pair) -> Tensor:
    """Each two neighbours along the axes that are upsampled, zeros outside."""
    for axis, factor in ((2, upsample[0]), (3, upsample[1])):
        if factor == 2:
            before, behind = ((0, 0, 1, 0), (0, 0, 0, 1)) if axis == 2 else ((1, 0), (0, 1))
            weight = F.pad(weight.float(), before) + F.pad(weight.float(), behind)
    return weight
