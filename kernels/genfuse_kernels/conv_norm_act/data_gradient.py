"""The gradient of what a unit's convolution read: a convolution itself, by the forward's kernels.

A convolution's is a transposed one with the same weights, a transposed convolution's is a convolution with them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.conv_norm_act.border import summed, without_border
from genfuse_kernels.conv_norm_act.cpu_impl import convolution, run, weights_for
from genfuse_kernels.conv_norm_act.settings import Pair, Settings, kernel_size


def data_gradient(
    gradient: Tensor, weight: Tensor, settings: Settings, size: Pair, *, channels_last: bool = False
) -> Tensor:
    """(N, C, *size): the gradient of what the convolution read, from that of what it put out, of its dtype.

    size  height and width before upsampling
    """
    s = settings
    height, width = size[0] * s.upsample[0], size[1] * s.upsample[1]
    if s.padding_mode == "zeros":
        return _fitted(gradient, weight, s, (height, width), channels_last)
    (top, left), (bottom, right) = s.padding, _ends(s)
    bordered = s._replace(padding=(0, 0), extra_padding=(0, 0), upsample=(1, 1))
    whole = _fitted(gradient, weight, bordered, (top + height + bottom, left + width + right), channels_last)
    inner = without_border(
        without_border(whole, 2, top, bottom, s.padding_mode), 3, left, right, s.padding_mode
    )
    return summed(inner, s.upsample)


def _ends(s: Settings) -> Pair:
    """Rows of padding at the bottom and columns at the right."""
    return s.padding[0] + s.extra_padding[0], s.padding[1] + s.extra_padding[1]


def _fitted(gradient: Tensor, weight: Tensor, s: Settings, size: Pair, channels_last: bool) -> Tensor:
    """Of a convolution whose border is of zeros; `size` is that of the upsampled image, the result's is without."""
    back = _back(s, (gradient.shape[2], gradient.shape[3]), size, kernel_size(weight.shape))
    made = _run(gradient, weight, back.settings, back.size, channels_last)
    if back.cut != (0, 0):
        made = made[:, :, back.cut[0] :, back.cut[1] :]
    return summed(made, back.repeated)


class _Back(NamedTuple):
    """The convolution that gives the gradient, of this size with the rows and columns in front that are cut off.

    repeated   how often its pixels stand for one of the image
    """

    settings: Settings
    size: Pair
    cut: Pair = (0, 0)
    repeated: Pair = (1, 1)


@lru_cache(maxsize=4096)
def _back(s: Settings, read: Pair, size: Pair, kernel: Pair) -> _Back:
    """From a gradient of `read` pixels."""
    back = Settings(
        groups=s.groups, stride=s.stride, dilation=s.dilation, padding=s.padding, accuracy=s.accuracy
    )
    if s.transposed:
        return _Back(back, size)
    # A transposed convolution takes as much from the end as from the beginning: what the end has less, that much
    # more of the beginning is cut afterwards.
    cut = (-min(s.extra_padding[0], 0), -min(s.extra_padding[1], 0))
    padding = (s.padding[0] - cut[0], s.padding[1] - cut[1])
    further = [0, 0]
    for axis in (0, 1):
        reach = s.dilation[axis] * (kernel[axis] - 1) + 1
        made = (read[axis] - 1) * s.stride[axis] - 2 * padding[axis] + reach
        most = max(s.stride[axis], s.dilation[axis]) - 1
        further[axis] = min(max(size[axis] + cut[axis] - made, 0), most)
    back = back._replace(transposed=True, padding=padding, output_padding=(further[0], further[1]))
    if s.stride == (1, 1) and s.extra_padding == (0, 0):
        # What upsampling repeated is summed on the way out.
        back = back._replace(pool=s.upsample, scale=float(s.upsample[0] * s.upsample[1]))
        return _Back(back, (size[0] // s.upsample[0], size[1] // s.upsample[1]))
    return _Back(back, (size[0] + cut[0], size[1] + cut[1]), cut, s.upsample)


def _run(gradient: Tensor, weight: Tensor, s: Settings, size: Pair, channels_last: bool) -> Tensor:
    """The unit's result, cut or filled with zeros to `size`: pixels that no output read have no gradient."""
    read = (gradient.shape[2], gradient.shape[3])
    conv = convolution(tuple(weight.shape), s, gradient.dtype, read, _cpu.isa())
    weights = weights_for(conv, s, weight)
    channels = weight.shape[1] * s.groups if s.transposed else weight.shape[0]
    height, width = conv.output(*read)
    out = torch.empty(
        (gradient.shape[0], channels, height // s.pool[0], width // s.pool[1]),
        dtype=gradient.dtype,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    )
    if gradient.shape[0]:
        run(conv, weights, out, None, gradient, None, s)
    if (out.shape[2], out.shape[3]) == size:
        return out
    cut = out[:, :, : size[0], : size[1]]
    missing = (size[0] - cut.shape[2], size[1] - cut.shape[3])
    return F.pad(cut, (0, missing[1], 0, missing[0])) if max(missing) > 0 else cut
