"""The convolution in Triton: an implicit GEMM of the output's pixels by its channels, sums over taps and inputs.

Every kind is one form, by `axes`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.activation import activated
from genfuse_kernels.common.layout import is_wide
from genfuse_kernels.common.moments import fold_moments, room_for_parts, store_moments, tile_moments
from genfuse_kernels.conv_norm_act.axes import Axis
from genfuse_kernels.conv_norm_act.settings import Settings
from genfuse_kernels.conv_norm_act.triton_descriptors import pixel_tiles, weight_tiles
from genfuse_kernels.conv_norm_act.triton_norm import load_or, normalised
from genfuse_kernels.conv_norm_act.triton_plan import (
    WAYS,
    Way,
    most_registers,
    plan_for,
)

FACTORS = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


class Image(NamedTuple):
    """(N, C, H, W) by its strides, any; `pointer` None: absent."""

    pointer: Tensor | None
    batch: int
    channel: int
    row: int
    column: int


class Weights(NamedTuple):
    """By the strides of a group, an input and an output channel in it, and a tap's row and column."""

    pointer: Tensor | None
    group: int
    input: int
    output: int
    row: int
    column: int


def image(tensor: Tensor | None) -> Image:
    """`tensor` as a kernel argument."""
    return Image(None, 0, 0, 0, 0) if tensor is None else Image(tensor, *_strides(tensor))


def _strides(tensor: Tensor) -> list[int]:
    """0 along axes of size 1, which keeps what is known of an address: its alignment."""
    return [0 if size == 1 else stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)]


@triton.jit
def of_phase(axes, number):
    """The axis of phase `number`. What all phases share stays known to the compiler."""
    axis = axes[0]
    if len(axes) > 1:
        made, start, taps, first, phase = axis.made, axis.start, axis.taps, axis.first, axis.phase
        for i in tl.static_range(1, len(axes)):
            made = tl.where(number == i, axes[i].made, made)
            start = tl.where(number == i, axes[i].start, start)
            taps = tl.where(number == i, axes[i].taps, taps)
            first = tl.where(number == i, axes[i].first, first)
            phase = tl.where(number == i, axes[i].phase, phase)
        axis = Axis(made, axis.stride, start, taps, axis.step, first, axis.tap_step, phase, axis.phase_step)
    return axis


@triton.jit
def source_pixel(made, tap, axis, size, MODE: tl.constexpr, UPSAMPLE: tl.constexpr):
    """What the pixel reads with the tap, along one axis, and whether it is inside."""
    pixel = made * axis.stride + (axis.start + tap * axis.step)
    if MODE == "reflect":
        last = size * UPSAMPLE - 1
        pixel = tl.where(pixel < 0, -pixel, pixel)
        pixel = tl.where(pixel > last, 2 * last - pixel, pixel)
    elif MODE == "circular":
        pixel = tl.where(pixel < 0, pixel + size * UPSAMPLE, pixel)
        pixel = tl.where(pixel >= size * UPSAMPLE, pixel - size * UPSAMPLE, pixel)
    inside = (pixel >= 0) & (pixel < size * UPSAMPLE)
    return pixel // UPSAMPLE if UPSAMPLE > 1 else pixel, inside


@triton.jit
def read(
    x, table, sample, row, column, channel, exists, channels, slope,
    ACTIVATION: tl.constexpr, FACTOR: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """x normalised and activated, zeros outside, as a factor of the product; everything broadcasts to the tile."""
    if WIDE:
        row, column, channel = row.to(tl.int64), column.to(tl.int64), channel.to(tl.int64)
    address = x.pointer + sample * x.batch + (row * x.row + column * x.column + channel * x.channel)
    value = tl.load(address, mask=exists, other=0.0)
    if table is not None or ACTIVATION != "none":
        value = value.to(tl.float32)
        of_row = (channel >= 0) & (channel < channels)
        value = normalised(value, table, None, sample * channels + channel, None, of_row, None)
        value = tl.where(exists, activated(value, ACTIVATION, slope), 0.0)
    return value.to(FACTOR)


@triton.jit
def pixel_tile(
    tiles, rows, columns, tap, sample, row, column, channel, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr
):
    """What a rectangle of pixels, the first of these numbers, reads with a tap, by a tensor descriptor."""
    y = row + (rows.start + tap // columns.taps * rows.step)
    z = column + (columns.start + tap % columns.taps * columns.step)
    return tl.reshape(tiles.load([sample, y, z, channel]), (BLOCK_M, BLOCK_K))


@triton.jit
def weight_tile(
    tiles, rows, columns, tap, group, c, k, inputs, outputs,
    INPUTS_FIRST: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """A tap's weights (BLOCK_K, BLOCK_N) from input c and output k of a group on, by a tensor descriptor."""
    at_row = rows.first + tap // columns.taps * rows.tap_step
    at_column = columns.first + tap % columns.taps * columns.tap_step
    if INPUTS_FIRST:
        tile = tl.reshape(tiles.load([group * inputs + c, at_row, at_column, k]), (BLOCK_K, BLOCK_N))
    else:
        tile = tl.reshape(tiles.load([group * outputs + k, at_row, at_column, c]), (BLOCK_N, BLOCK_K)).T
    return tile


@triton.jit
def _products(
    acc, x, x_tiles, table, weight, weight_tiles, rows, columns, sample, row, column, first, inside, group, k, outputs,
    height, width, channels, inputs, slope,
    MODE: tl.constexpr, UP_H: tl.constexpr, UP_W: tl.constexpr, ACTIVATION: tl.constexpr, JOINED: tl.constexpr,
    PRECISION: tl.constexpr, FACTOR: tl.constexpr, BLOCK_K: tl.constexpr, WIDE: tl.constexpr,
    INPUTS_FIRST: tl.constexpr,
):  # fmt: skip
    """acc plus the products of a group's taps and `inputs` channels; JOINED: these are one axis, for few channels.

    first  the block's sample, row, column and output, where its tiles begin
    """
    taps = rows.taps * columns.taps
    blocks = tl.cdiv(inputs, BLOCK_K)
    steps = tl.cdiv(taps * inputs, BLOCK_K) if JOINED else taps * blocks
    for step in range(steps):
        if JOINED:
            index = step * BLOCK_K + tl.arange(0, BLOCK_K)
            tap = index // inputs
            c = index - tap * inputs
            live = index < taps * inputs
            of_a, of_b = tap[None, :], tap[:, None]
        else:
            tap = step // blocks
            c = step % blocks * BLOCK_K + tl.arange(0, BLOCK_K)
            live = c < inputs
            of_a, of_b = tap, tap
        if x_tiles is not None:
            channel = group * inputs + step % blocks * BLOCK_K
            a = pixel_tile(
                x_tiles, rows, columns, tap, first[0], first[1], first[2], channel, acc.shape[0], BLOCK_K
            )  # fmt: skip
        else:
            y, inside_y = source_pixel(row[:, None], of_a // columns.taps, rows, height, MODE, UP_H)
            z, inside_z = source_pixel(column[:, None], of_a % columns.taps, columns, width, MODE, UP_W)
            exists = inside[:, None] & inside_y & inside_z & live[None, :]
            a = read(
                x, table, sample, y, z, (group * inputs + c)[None, :], exists, channels, slope,
                ACTIVATION, FACTOR, WIDE,
            )  # fmt: skip
        if weight_tiles is not None:
            b = weight_tile(
                weight_tiles, rows, columns, tap, group, step % blocks * BLOCK_K, first[3], inputs, outputs,
                INPUTS_FIRST, BLOCK_K, acc.shape[1],
            ).to(FACTOR)  # fmt: skip
        else:
            at_row = rows.first + of_b // columns.taps * rows.tap_step
            at_column = columns.first + of_b % columns.taps * columns.tap_step
            address = weight.pointer + group.to(tl.int64) * weight.group
            address += c[:, None] * weight.input + k[None, :] * weight.output
            address += at_row * weight.row + at_column * weight.column
            b = tl.load(address, mask=live[:, None] & (k < outputs)[None, :], other=0.0).to(FACTOR)
        acc = tl.dot(a, b, acc, input_precision=PRECISION)
    return acc


@triton.jit
def _few_products(
    acc, x, table, weight, rows, columns, sample, row, column, inside, k, outputs, all_outputs, height, width,
    channels, inputs, slope,
    MODE: tl.constexpr, UP_H: tl.constexpr, UP_W: tl.constexpr, ACTIVATION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Of groups of few channels, where a matrix product would be mostly zeros: each output its own inputs."""
    group = k // outputs
    for step in range(rows.taps * columns.taps * inputs):
        tap = step // inputs
        c = step % inputs
        y, inside_y = source_pixel(row[:, None], tap // columns.taps, rows, height, MODE, UP_H)
        z, inside_z = source_pixel(column[:, None], tap % columns.taps, columns, width, MODE, UP_W)
        of_k = (k < all_outputs)[None, :]
        exists = inside[:, None] & inside_y & inside_z & of_k
        channel = (group * inputs + c)[None, :]
        a = read(
            x, table, sample, y, z, channel, exists, channels, slope, ACTIVATION, tl.float32, WIDE
        )  # fmt: skip
        address = (
            weight.pointer + group * weight.group + c * weight.input + (k - group * outputs) * weight.output
        )
        address += (rows.first + tap // columns.taps * rows.tap_step) * weight.row
        address += (columns.first + tap % columns.taps * columns.tap_step) * weight.column
        acc += a * tl.load(address, mask=k < all_outputs, other=0.0).to(tl.float32)[None, :]
    return acc


@triton.jit
def _projected(
    acc, x, weight, first, sample, row, column, inside, k, outputs, inputs,
    PRECISION: tl.constexpr, FACTOR: tl.constexpr, BLOCK_K: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """acc plus a 1x1 convolution of the residual, by the weights of its channels from `first` on."""
    if x.pointer is not None:
        for start in range(0, inputs, BLOCK_K):
            c = start + tl.arange(0, BLOCK_K)
            exists = inside[:, None] & (c < inputs)[None, :]
            a = read(
                x, None, sample, row[:, None], column[:, None], c[None, :], exists, inputs, 0.0,
                "none", FACTOR, WIDE,
            )  # fmt: skip
            address = weight.pointer + (first + c)[:, None] * weight.input + k[None, :] * weight.output
            mask = (c < inputs)[:, None] & (k < outputs)[None, :]
            b = tl.load(address, mask=mask, other=0.0).to(FACTOR)
            acc = tl.dot(a, b, acc, input_precision=PRECISION)
    return acc


@triton.jit
def conv_norm_act_kernel(
    out, stats, partial, x, x_tiles, table, weight, weight_tiles, bias, shift, residual, residual_skip, residual_weight,
    row_axes, column_axes, batch, height, width, channels, inputs, outputs, all_outputs, residual_channels,
    skip_channels, stats_rows, row_blocks, blocks, column_blocks, slope, scale,
    MODE: tl.constexpr, UP_H: tl.constexpr, UP_W: tl.constexpr, POOL_H: tl.constexpr, POOL_W: tl.constexpr,
    ACTIVATION: tl.constexpr, OUT_ACTIVATION: tl.constexpr, FEW: tl.constexpr, JOINED: tl.constexpr,
    PER_SAMPLE: tl.constexpr, PRECISION: tl.constexpr, FACTOR: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, WIDE: tl.constexpr, INPUTS_FIRST: tl.constexpr,
):  # fmt: skip
    """A block of a phase's pixels times one of a group's outputs; PER_SAMPLE: the pixels are those of one sample.

    The phases of a stride follow each other block by block: they read the same pixels, which a cache has then.
    """
    phases = len(row_axes) * len(column_axes)
    phase, block = tl.program_id(0) % phases, tl.program_id(0) // phases
    rows = of_phase(row_axes, phase // len(column_axes))
    columns = of_phase(column_axes, phase % len(column_axes))
    made = rows.made * columns.made
    row_block, column_block = block % row_blocks, block // row_blocks
    if PER_SAMPLE:
        sample = (row_block // blocks).to(tl.int64)
        first_sample, first_pixel = row_block // blocks, row_block % blocks * BLOCK_M
        pixel = row_block % blocks * BLOCK_M + tl.arange(0, BLOCK_M)
        inside = pixel < made
    else:
        pixel = row_block * BLOCK_M + tl.arange(0, BLOCK_M)
        first_sample, first_pixel = row_block * BLOCK_M // made, row_block * BLOCK_M % made
        inside = pixel < made * batch
        sample = (pixel // made).to(tl.int64)[:, None]
        pixel = pixel % made
    group = column_block // column_blocks
    k = column_block % column_blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    first_k = column_block % column_blocks * BLOCK_N
    first = (first_sample, first_pixel // columns.made, first_pixel % columns.made, first_k)
    output = group * outputs + k
    of_k = k < (all_outputs if FEW else outputs)
    exists = inside[:, None] & of_k[None, :]
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for member in tl.static_range(POOL_H * POOL_W):
        row = pixel // columns.made * POOL_H + member // POOL_W
        column = pixel % columns.made * POOL_W + member % POOL_W
        acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        if FEW:
            acc = _few_products(
                acc, x, table, weight, rows, columns, sample, row, column, inside, k, outputs, all_outputs,
                height, width, channels, inputs, slope, MODE, UP_H, UP_W, ACTIVATION, WIDE,
            )  # fmt: skip
        else:
            acc = _products(
                acc, x, x_tiles, table, weight, weight_tiles, rows, columns, sample, row, column, first, inside,
                group, k, outputs, height, width, channels, inputs, slope, MODE, UP_H, UP_W, ACTIVATION,
                JOINED, PRECISION, FACTOR, BLOCK_K, WIDE, INPUTS_FIRST,
            )  # fmt: skip
        row = rows.phase + row * rows.phase_step
        column = columns.phase + column * columns.phase_step
        if residual_weight.pointer is not None:
            acc = _projected(
                acc, residual, residual_weight, 0, sample, row, column, inside, output, all_outputs,
                residual_channels, PRECISION, FACTOR, BLOCK_K, WIDE,
            )  # fmt: skip
            acc = _projected(
                acc, residual_skip, residual_weight, residual_channels, sample, row, column, inside, output,
                all_outputs, skip_channels, PRECISION, FACTOR, BLOCK_K, WIDE,
            )  # fmt: skip
        acc += load_or(bias, output, of_k, 0.0)[None, :]
        if shift is not None:
            acc += load_or(shift, sample * all_outputs + output[None, :], exists, 0.0)
        if residual.pointer is not None and residual_weight.pointer is None:
            acc += read(
                residual, None, sample, row[:, None], column[:, None], output[None, :], exists, all_outputs,
                0.0, "none", tl.float32, WIDE,
            )  # fmt: skip
        total += activated(acc * scale, OUT_ACTIVATION, slope)
    total *= 1.0 / (POOL_H * POOL_W)
    if stats is not None:
        here = tl.minimum(BLOCK_M, made - row_block % blocks * BLOCK_M)
        here = tl.maximum(here, 0)  # another phase may have a block more
        mean, squares = tile_moments(total, exists, tl.maximum(here, 1).to(tl.float32), 0)
        store_moments(
            stats, partial, sample * all_outputs + output, stats_rows, phase * blocks + row_block % blocks,
            phases * blocks, here.to(tl.float64), mean, squares, of_k,
        )  # fmt: skip
    row = rows.phase + pixel // columns.made * rows.phase_step
    column = columns.phase + pixel % columns.made * columns.phase_step
    if WIDE:
        row, column, output = row.to(tl.int64), column.to(tl.int64), output.to(tl.int64)
    address = out.pointer + sample * out.batch
    address += (row * out.row + column * out.column)[:, None] + (output * out.channel)[None, :]
    tl.store(address, total.to(out.pointer.dtype.element_ty), mask=exists)


def kernel_strides(weight: Tensor, groups: int, inputs_first: bool) -> Weights:
    """(K, C/groups, height, width), or with `inputs_first` (C, K/groups, height, width)."""
    first, second, row, column = _strides(weight)
    group = weight.shape[0] // groups * first
    return Weights(weight, group, *((first, second) if inputs_first else (second, first)), row, column)


def convolve(
    out: Tensor,
    stats_out: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    s: Settings,
    axes: tuple[list[Axis], list[Axis]],
    *,
    inputs_first: bool,
    table: Tensor | None = None,
    shift: Tensor | None = None,
    residual: Tensor | None = None,
    residual_weight: Tensor | None = None,
    residual_skip: Tensor | None = None,
    way: Way = WAYS[""],
) -> None:
    """Fill `out` and `stats_out`, all phases in one launch; of `s` what is not geometry.

    table         of x, whose activation then is `s.activation`
    inputs_first  weight is (C, K/groups, height, width), else (K, C/groups, height, width)
    """
    batch, channels, height, width = x.shape
    outputs, inputs = out.shape[1] // s.groups, channels // s.groups
    weights = kernel_strides(weight, s.groups, inputs_first)
    projection = (
        Weights(None, 0, 0, 0, 0, 0) if residual_weight is None else kernel_strides(residual_weight, 1, False)
    )
    phases = [(rows, columns) for rows in axes[0] for columns in axes[1]]
    plan = plan_for(
        phases,
        batch,
        outputs,
        inputs,
        s.groups,
        x.dtype,
        s.accuracy,
        by_sample=stats_out is not None or table is not None,
        way=way,
    )
    block, plain = plan.block, not plan.few and not plan.joined
    partial = (
        None if stats_out is None else room_for_parts(len(phases) * plan.blocks, batch * out.shape[1], x)
    )
    conv_norm_act_kernel[(plan.programs,)](
        image(out),
        stats_out,
        partial,
        image(x),
        pixel_tiles(x, s, axes, block, inputs, per_sample=plan.per_sample)
        if plain and table is None
        else None,
        table,
        weights,
        weight_tiles(weight, s, block, inputs, inputs_first=inputs_first) if plain else None,
        bias,
        None if shift is None else shift.contiguous(),
        image(residual),
        image(residual_skip),
        projection,
        tuple(axes[0]),
        tuple(axes[1]),
        batch,
        height,
        width,
        channels,
        inputs,
        outputs,
        out.shape[1],
        0 if residual is None else residual.shape[1],
        0 if residual_skip is None else residual_skip.shape[1],
        batch * out.shape[1],
        plan.row_blocks,
        plan.blocks,
        plan.column_blocks,
        s.negative_slope,
        s.scale,
        MODE=s.padding_mode,
        UP_H=s.upsample[0],
        UP_W=s.upsample[1],
        POOL_H=s.pool[0],
        POOL_W=s.pool[1],
        ACTIVATION=s.activation,
        OUT_ACTIVATION=s.out_activation,
        FEW=plan.few,
        JOINED=plan.joined,
        PER_SAMPLE=plan.per_sample,
        PRECISION=plan.precision,
        FACTOR=FACTORS[x.dtype],
        BLOCK_M=block.pixels,
        BLOCK_N=block.outputs,
        BLOCK_K=block.inputs,
        WIDE=is_wide(x, out, residual, residual_skip),
        INPUTS_FIRST=inputs_first,
        num_warps=block.warps,
        num_stages=block.stages,
        enable_fp_fusion=True,
        **most_registers(plan.few, x.dtype),
    )
    if stats_out is not None:
        fold_moments(stats_out, partial)
