"""The gradient of what a unit's convolution read: a convolution itself, by the forward's kernels.

A convolution's is a transposed one with the same weights, and at stride 1 a convolution with the kernel turned by half
a turn and its channels swapped, which Winograd has; a transposed convolution's is a convolution with the same weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.common.packed_weights import packed
from genfuse_kernels.conv_norm_act.cpu_impl import convolution, pack, packing, run
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
    inner = _without_border(_without_border(whole, 2, top, bottom, s), 3, left, right, s)
    return _summed(inner, s.upsample)


def _ends(s: Settings) -> Pair:
    """Rows of padding at the bottom and columns at the right."""
    return s.padding[0] + s.extra_padding[0], s.padding[1] + s.extra_padding[1]


def _fitted(gradient: Tensor, weight: Tensor, s: Settings, size: Pair, channels_last: bool) -> Tensor:
    """Of a convolution whose border is of zeros; `size` is that of the upsampled image."""
    kernel = kernel_size(weight.shape)
    room = [s.dilation[axis] * (kernel[axis] - 1) for axis in (0, 1)]
    groups, stride, dilation = s.groups, s.stride, s.dilation
    common = Settings(groups=groups, stride=stride, dilation=dilation, accuracy=s.accuracy)
    out_size = (gradient.shape[2], gradient.shape[3])
    if s.transposed:
        return _run(gradient, weight, common._replace(padding=s.padding), size, channels_last)
    if stride == (1, 1) and all(s.padding[axis] <= room[axis] for axis in (0, 1)):
        before = (room[0] - s.padding[0], room[1] - s.padding[1])
        behind = (
            size[0] - out_size[0] + room[0] - 2 * before[0],
            size[1] - out_size[1] + room[1] - 2 * before[1],
        )
        if all(behind[a] >= -before[a] for a in (0, 1)):
            turned = common._replace(
                padding=before,
                extra_padding=behind,
                pool=s.upsample,
                scale=float(s.upsample[0] * s.upsample[1]),
            )
            wanted = (size[0] // s.upsample[0], size[1] // s.upsample[1])
            return _run(gradient, weight, turned, wanted, channels_last, turns=True)
    # A transposed convolution takes as much from the end as from the beginning: what the end has less, that much
    # more of the beginning is cut afterwards.
    less = (min(s.extra_padding[0], 0), min(s.extra_padding[1], 0))
    padding = (s.padding[0] + less[0], s.padding[1] + less[1])
    whole = (size[0] - less[0], size[1] - less[1])
    bare = [(out_size[a] - 1) * stride[a] - 2 * padding[a] + room[a] + 1 for a in (0, 1)]
    most = [max(stride[a], dilation[a]) - 1 for a in (0, 1)]
    further = (min(max(whole[0] - bare[0], 0), most[0]), min(max(whole[1] - bare[1], 0), most[1]))
    back = common._replace(transposed=True, padding=padding, output_padding=further)
    found = _run(gradient, weight, back, whole, channels_last)[:, :, -less[0] :, -less[1] :]
    return _summed(found, s.upsample)


def _run(
    gradient: Tensor, weight: Tensor, s: Settings, size: Pair, channels_last: bool, turns: bool = False
) -> Tensor:
    """The unit's result, cut or filled with zeros to `size`: pixels that no output read have no gradient."""
    shape = _turned_shape(weight, s.groups) if turns else tuple(weight.shape)
    conv = convolution(shape, s, gradient.dtype, (gradient.shape[2], gradient.shape[3]), _cpu.isa())
    weights = packed(
        weight,
        ("turned" if turns else "", packing(conv, s)),
        lambda dense: pack(conv, _turned(dense, s.groups) if turns else dense),
    )
    channels = shape[1] * s.groups if s.transposed else shape[0]
    height, width = conv.output(gradient.shape[2], gradient.shape[3])
    made = (height // s.pool[0], width // s.pool[1])
    out = torch.empty(
        (gradient.shape[0], channels, *made),
        dtype=gradient.dtype,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    )
    if gradient.shape[0]:
        run(conv, weights, out, None, gradient, None, s)
    if made == size:
        return out
    cut = out[:, :, : size[0], : size[1]]
    missing = (size[0] - cut.shape[2], size[1] - cut.shape[3])
    return F.pad(cut, (0, missing[1], 0, missing[0])) if max(missing) > 0 else cut


def _turned_shape(weight: Tensor, groups: int) -> tuple[int, ...]:
    outputs, channels = weight.shape[:2]
    return (channels * groups, outputs // groups, *weight.shape[2:])


def _turned(weight: Tensor, groups: int) -> Tensor:
    """(K, C/groups, ...) as (C, K/groups, ...), each kernel turned by half a turn."""
    outputs, channels = weight.shape[:2]
    of_group = weight.reshape(groups, outputs // groups, channels, *weight.shape[2:])
    turned = of_group.transpose(1, 2).flip(*range(3, of_group.ndim))
    return turned.reshape(_turned_shape(weight, groups)).contiguous()


def _summed(gradient: Tensor, factors: Pair) -> Tensor:
    """The sum over the copies that upsampling made of each pixel."""
    if factors == (1, 1):
        return gradient
    return F.avg_pool2d(gradient, factors) * float(factors[0] * factors[1])


def _without_border(gradient: Tensor, axis: int, before: int, behind: int, s: Settings) -> Tensor:
    """The border's gradient added to that of the pixels that it repeats."""
    size = gradient.shape[axis] - before - behind
    inner = gradient.narrow(axis, before, size).clone()
    first, last = gradient.narrow(axis, 0, before), gradient.narrow(axis, before + size, behind)
    if s.padding_mode == "reflect":
        inner.narrow(axis, 1, before).add_(first.flip(axis))
        inner.narrow(axis, size - 1 - behind, behind).add_(last.flip(axis))
    else:
        inner.narrow(axis, size - before, before).add_(first)
        inner.narrow(axis, 0, behind).add_(last)
    return inner
