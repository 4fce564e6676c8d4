"""What of a Triton convolution comes by tensor descriptors: tiles that the hardware copies as they are (TMA, sm_90 on).

A thread then computes no address and no mask: what lies outside an image is zeros, as a border is. Of half precision,
as products of float32 take their factors from registers, where they are split. Fit are the weights,
and pixels of an image in channels last that is read as it lies: at stride 1, which phases have, with a border of zeros,
what stands before the convolution staged, in pictures whose blocks are rectangles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from genfuse_kernels.common.target import target
from genfuse_kernels.conv_norm_act.axes import Axis
from genfuse_kernels.conv_norm_act.settings import Settings
from genfuse_kernels.conv_norm_act.triton_plan import Blocks


def has_descriptors() -> bool:
    """Whether the target copies by them."""
    of = target()
    return of is not None and of.backend == "cuda" and of.arch >= 90


def weight_tiles(
    weight: Tensor, s: Settings, plan: Blocks, inputs: int, *, inputs_first: bool
) -> TensorDescriptor | None:
    """Blocks of outputs by inputs of one tap, of weights channels last: (K, height, width, C), or with `inputs_first`
    (C, height, width, K); None where they do not fit.
    """
    if not has_descriptors() or (inputs_first and not _in_whole_blocks(s, plan, inputs)):
        return None
    rows, across = (plan.inputs, plan.outputs) if inputs_first else (plan.outputs, plan.inputs)
    return _descriptor(weight.movedim(1, -1), (rows, 1, 1, across))


def pixel_tiles(
    x: Tensor,
    s: Settings,
    axes: tuple[list[Axis], list[Axis]],
    plan: Blocks,
    inputs: int,
    *,
    per_sample: bool,
) -> TensorDescriptor | None:
    """Blocks of pixels by inputs, of x as (N, H, W, C), which nothing stands before; None where they do not fit."""
    as_it_lies = s.padding_mode == "zeros" and s.upsample == s.pool == (1, 1) and s.activation == "none"
    if not (has_descriptors() and as_it_lies and _in_whole_blocks(s, plan, inputs)):
        return None
    if any(axis.stride != 1 for along in axes for axis in along):
        return None
    box = _rectangle([{axis.made for axis in along} for along in axes], plan.pixels, per_sample)
    return None if box is None else _descriptor(x.movedim(1, -1), (*box, plan.inputs))


def _in_whole_blocks(s: Settings, plan: Blocks, inputs: int) -> bool:
    """Whether no block of inputs has some of another group, whose NaN would meet zeros."""
    return s.groups == 1 or inputs % plan.inputs == 0


def _rectangle(made: Sequence[set[int]], pixels: int, per_sample: bool) -> tuple[int, int, int] | None:
    """Samples, rows and columns of `pixels` that follow each other; None where they are no rectangle."""
    if any(len(sizes) > 1 for sizes in made):  # phases differ
        return None
    (height,), (width,) = made
    if not _is_power_of_two(width) or not (per_sample or _is_power_of_two(height)):
        return None
    columns = min(width, pixels)
    rows = pixels // columns if per_sample else min(height, pixels // columns)
    return pixels // (rows * columns), rows, columns


def _is_power_of_two(size: int) -> bool:
    return size & (size - 1) == 0


def _descriptor(tensor: Tensor, block: tuple[int, ...]) -> TensorDescriptor | None:
    """Of half precision that lies in multiples of 16 bytes."""
    if tensor.element_size() != 2:
        return None
    strides = _dense_where_one(tensor.shape, tensor.stride())
    apart = [stride * tensor.element_size() % 16 for stride in strides[:-1]]
    if strides[-1] != 1 or any(apart) or min(strides) < 1 or tensor.data_ptr() % 16:
        return None
    return TensorDescriptor(tensor, list(tensor.shape), strides, list(block))


def _dense_where_one(shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    """The stride along an axis of size 1 says nothing: what a dense tensor has."""
    return [
        math.prod(shape[i + 1 :]) if size == 1 else stride
        for i, (size, stride) in enumerate(zip(shape, strides, strict=True))
    ]
