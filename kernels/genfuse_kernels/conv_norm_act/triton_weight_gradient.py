"""The gradient of a unit's weights in Triton: a GEMM whose sums run over the pixels of all samples.

    dW[a, b, tap] = Σ dense[n, a, pixel]·gathered[n, b, what the pixel meets with the tap]

Of a convolution the output's gradient is dense and what it read is gathered, of a transposed one the reverse; taps and
b are one axis. Programs that share a block of weights take spans of pixels, and a second kernel adds these in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.layout import is_wide
from genfuse_kernels.conv_norm_act.axes import forward_axis
from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors, kernel_size
from genfuse_kernels.conv_norm_act.triton_conv import FACTORS, image, read, source_pixel
from genfuse_kernels.conv_norm_act.triton_impl import staged
from genfuse_kernels.conv_norm_act.triton_norm import norm_table
from genfuse_kernels.conv_norm_act.triton_plan import precision_of, stages_for

if TYPE_CHECKING:
    from typing_extensions import Unpack

_PROGRAMS = 512
"""Programs that are worth having, on any device: the bits may not depend on which."""

_LEAST_SPAN = 512


@triton.jit
def weight_gradient_kernel(
    partial, dense, gathered, rows, columns, pixels, height, width, outputs, inputs, numel, blocks_a, blocks_b,
    splits, span,
    MODE: tl.constexpr, UP_H: tl.constexpr, UP_W: tl.constexpr, PRECISION: tl.constexpr, FACTOR: tl.constexpr,
    BLOCK_A: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_P: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """A block of a group's weights, its sum over one span of pixels: (splits, A, taps·B) float32."""
    split = tl.program_id(0) % splits
    block = tl.program_id(0) // splits
    a = block % blocks_a * BLOCK_A + tl.arange(0, BLOCK_A)
    joined = block // blocks_a % blocks_b * BLOCK_B + tl.arange(0, BLOCK_B)
    group = block // (blocks_a * blocks_b)
    taps = rows.taps * columns.taps
    tap = joined // inputs
    b = joined - tap * inputs
    of_a, of_b = a < outputs, joined < taps * inputs
    made = rows.made * columns.made
    end = tl.minimum((split.to(tl.int64) + 1) * span, pixels)
    acc = tl.zeros((BLOCK_A, BLOCK_B), tl.float32)
    for start in range(split.to(tl.int64) * span, end, BLOCK_P):
        pixel = start + tl.arange(0, BLOCK_P)
        inside = pixel < end
        sample = pixel // made
        pixel = (pixel - sample * made).to(tl.int32)
        row, column = pixel // columns.made, pixel % columns.made
        of_dense = read(
            dense, None, sample[None, :], row[None, :], column[None, :], (group * outputs + a)[:, None],
            of_a[:, None] & inside[None, :], outputs, 0.0, "none", FACTOR, WIDE,
        )  # fmt: skip
        y, inside_y = source_pixel(row[:, None], (tap // columns.taps)[None, :], rows, height, MODE, UP_H)
        z, inside_z = source_pixel(column[:, None], (tap % columns.taps)[None, :], columns, width, MODE, UP_W)
        of_gathered = read(
            gathered, None, sample[:, None], y, z, (group * inputs + b)[None, :],
            inside[:, None] & of_b[None, :] & inside_y & inside_z, inputs, 0.0, "none", FACTOR, WIDE,
        )  # fmt: skip
        acc = tl.dot(of_dense, of_gathered, acc, input_precision=PRECISION)
    weight = (group * outputs + a).to(tl.int64)[:, None] * (taps * inputs) + joined[None, :]
    tl.store(partial + split * numel + weight, acc, mask=of_a[:, None] & of_b[None, :])


@triton.jit(do_not_specialize=["splits"])
def fold_weights_kernel(out, partial, numel, splits, taps, inputs, BLOCK: tl.constexpr):
    """The spans' sums one after the other, in double; from (A, tap, B) to (A, B, tap)."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = i < numel
    total = tl.zeros((BLOCK,), tl.float64)
    for split in range(splits):
        total += tl.load(partial + split * numel + i, mask=exists, other=0.0)
    a, tap, b = i // (taps * inputs), i // inputs % taps, i % inputs
    tl.store(out + (a * inputs + b) * taps + tap, total.to(tl.float32), mask=exists)


def weight_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, settings: Settings, **tensors: Unpack[UnitTensors]
) -> Tensor:
    """The gradient of `weight`, of its shape, in float32.

    gradient  of what the convolution put out, in x's dtype
    """
    s = settings
    h = read_again(x, s, tensors)
    out = torch.empty(weight.shape, dtype=torch.float32, device=x.device)
    if gradient.numel() == 0:
        return out.zero_()
    dense, gathered = (h, gradient) if s.transposed else (gradient, h)
    size = kernel_size(weight.shape)
    made = (dense.shape[2], dense.shape[3])
    rows, columns = (
        forward_axis(made[i], s.stride[i], s.padding[i], size[i], s.dilation[i])[0] for i in (0, 1)
    )
    outputs, inputs, taps = dense.shape[1] // s.groups, weight.shape[1], size[0] * size[1]
    precision = precision_of(x.dtype, s.accuracy)
    half = x.dtype != torch.float32
    in_registers = precision == "ieee" and not half
    most = 128 if half else 64
    block_a = min(max(triton.next_power_of_2(outputs), 16), most)
    block_b = min(max(triton.next_power_of_2(taps * inputs), 16), most)
    block_p = 16 if in_registers else 32
    tiles = triton.cdiv(outputs, block_a), triton.cdiv(taps * inputs, block_b)
    pixels = dense.shape[0] * made[0] * made[1]
    splits = max(1, min(_PROGRAMS // (tiles[0] * tiles[1] * s.groups), triton.cdiv(pixels, _LEAST_SPAN)))
    span = triton.cdiv(triton.cdiv(pixels, splits), block_p) * block_p
    splits = triton.cdiv(pixels, span)
    partial = torch.empty((splits, weight.numel()), dtype=torch.float32, device=x.device)
    weight_gradient_kernel[(splits * tiles[0] * tiles[1] * s.groups,)](
        partial,
        image(dense),
        image(gathered),
        rows,
        columns,
        pixels,
        gathered.shape[2],
        gathered.shape[3],
        outputs,
        inputs,
        weight.numel(),
        *tiles,
        splits,
        span,
        MODE=s.padding_mode,
        UP_H=s.upsample[0],
        UP_W=s.upsample[1],
        PRECISION=precision,
        FACTOR=FACTORS[x.dtype],
        BLOCK_A=block_a,
        BLOCK_B=block_b,
        BLOCK_P=block_p,
        WIDE=is_wide(dense, gathered),
        num_warps=8 if block_a * block_b >= 128 * 128 or in_registers else 4,
        num_stages=stages_for(precision),
        enable_fp_fusion=True,
    )
    fold_weights_kernel[(triton.cdiv(weight.numel(), 256),)](
        out, partial, weight.numel(), splits, taps, inputs, BLOCK=256, enable_fp_fusion=True
    )
    return out


def read_again(x: Tensor, s: Settings, tensors: UnitTensors) -> Tensor:
    """What the convolution read: x itself, or staged as in the forward."""
    skip = tensors.get("skip")
    table = norm_table(x, skip, s, tensors)
    plain = table.channels is None and s.activation == "none" and s.dropout == 0 and skip is None
    return x if plain else staged(x, skip, table, s, tensors)
