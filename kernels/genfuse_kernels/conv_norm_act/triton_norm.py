"""The table of `norm_table` by Triton kernels."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.moments import TILE, merged, tile_moments
from genfuse_kernels.common.planes import as_planes, fit, operand
from genfuse_kernels.conv_norm_act.norm_table import Table, is_identity
from genfuse_kernels.conv_norm_act.settings import NormTensors, Settings
from genfuse_kernels.norm_stats.triton_impl import norm_stats

_LANES = 128


@triton.jit
def load_or(pointer, index, exists, DEFAULT: tl.constexpr):
    """float32 of a tensor that may be absent."""
    if pointer is None:
        value = tl.full(index.shape, DEFAULT, tl.float32)
    else:
        value = tl.load(pointer + index, mask=exists, other=DEFAULT).to(tl.float32)
    return value


@triton.jit
def reciprocal_deviation(variance, eps):
    """1/√(variance + eps), float32; NaN, and not 0, where the squares have left float32."""
    rounded = variance.to(tl.float32)
    return tl.where(rounded == float("inf"), float("nan"), tl.rsqrt(rounded + eps))


@triton.jit
def channel_table_kernel(
    table, stats, given_mean, given_var, given_stride, weight, weight_stride, bias, bias_stride, film_scale,
    film_shift, channels, groups, size, group_blocks, eps, BLOCK_G: tl.constexpr, BLOCK_S: tl.constexpr,
):  # fmt: skip
    """The rows of some groups of one sample, each of `size` channels that are normalised together."""
    sample = (tl.program_id(0) // group_blocks).to(tl.int64)
    group = tl.program_id(0) % group_blocks * BLOCK_G + tl.arange(0, BLOCK_G)[:, None]
    member = tl.arange(0, BLOCK_S)[None, :]
    channel = group * size + member
    exists = (group < groups) & (member < size)
    row = sample * channels + channel
    if stats is not None:
        means = tl.load(stats + row * 2, mask=exists, other=0.0).to(tl.float64)
        variances = tl.load(stats + row * 2 + 1, mask=exists, other=0.0).to(tl.float64)
        mean = (tl.sum(means, 1) / size)[:, None]
        apart = tl.where(exists, means - mean, 0.0)
        variance = (tl.sum(variances + apart * apart, 1) / size)[:, None]
        rstd = reciprocal_deviation(variance, eps) + tl.zeros(channel.shape, tl.float32)
        mean = mean.to(tl.float32) + tl.zeros(channel.shape, tl.float32)
    elif given_mean is not None:
        mean = load_or(given_mean, channel * given_stride, exists, 0.0)
        rstd = reciprocal_deviation(load_or(given_var, channel * given_stride, exists, 1.0), eps)
    else:
        mean = tl.zeros(channel.shape, tl.float32)
        rstd = tl.full(channel.shape, 1.0, tl.float32)
    film = 1.0 + load_or(film_scale, row, exists, 0.0)
    scale = film * load_or(weight, sample * weight_stride + channel, exists, 1.0)
    offset = film * load_or(bias, sample * bias_stride + channel, exists, 0.0)
    offset += load_or(film_shift, row, exists, 0.0)
    tl.store(table + row * 4, mean, mask=exists)
    tl.store(table + row * 4 + 1, rstd, mask=exists)
    tl.store(table + row * 4 + 2, scale, mask=exists)
    tl.store(table + row * 4 + 3, offset, mask=exists)


@triton.jit
def batch_moments_kernel(moments, stats, batch, channels, BLOCK: tl.constexpr):
    """Mean and variance of each channel over the samples, (C, 2) float32, from theirs over space."""
    channel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = channel < channels
    mean = tl.zeros((BLOCK,), tl.float64)
    address = stats + channel * 2
    for _ in range(batch):
        mean += tl.load(address, mask=exists, other=0.0)
        address += channels * 2
    mean /= batch
    variance = tl.zeros((BLOCK,), tl.float64)
    address = stats + channel * 2
    for _ in range(batch):
        apart = tl.load(address, mask=exists, other=0.0).to(tl.float64) - mean
        variance += tl.load(address + 1, mask=exists, other=0.0) + apart * apart
        address += channels * 2
    tl.store(moments + channel * 2, mean.to(tl.float32), mask=exists)
    tl.store(moments + channel * 2 + 1, (variance / batch).to(tl.float32), mask=exists)


@triton.jit
def _joined_moments(
    image, sample, position, inside, channels, count, mean, squares,
    RMS: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The moments so far, merged with those of one image's channels at each pixel."""
    for start in range(0, channels, BLOCK_C):
        channel = start + tl.arange(0, BLOCK_C)[:, None]
        exists = (channel < channels) & inside[None, :]
        address = image.pointer + sample * image.batch + channel.to(tl.int64) * image.channel
        value = tl.load(address + position[None, :] * image.position, mask=exists, other=0.0).to(tl.float32)
        here = tl.minimum(BLOCK_C, channels - start).to(tl.float32)
        if RMS:
            count += here.to(tl.float64)
            squares += tl.sum(value * value, 0).to(tl.float64)
        else:
            mean_b, squares_b = tile_moments(value, exists, here, 0)
            count, mean, squares = merged(count, mean, squares, here.to(tl.float64), mean_b, squares_b)
    return count, mean, squares


@triton.jit
def pixel_table_kernel(
    table, x, skip, channels, skip_channels, positions, blocks, eps,
    RMS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """Mean and rstd of some pixels of one sample, over their channels."""
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    position = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK_P + tl.arange(0, BLOCK_P)
    inside = position < positions
    count = tl.zeros((), tl.float64)
    mean = tl.zeros((BLOCK_P,), tl.float64)
    squares = tl.zeros((BLOCK_P,), tl.float64)
    count, mean, squares = _joined_moments(
        x, sample, position, inside, channels, count, mean, squares, RMS, BLOCK_C
    )
    if skip.pointer is not None:
        count, mean, squares = _joined_moments(
            skip, sample, position, inside, skip_channels, count, mean, squares, RMS, BLOCK_C
        )
    row = (sample * positions + position) * 2
    tl.store(table + row, mean.to(tl.float32), mask=inside)
    tl.store(table + row + 1, reciprocal_deviation(squares / count, eps), mask=inside)


@triton.jit
def normalised(value, table, pixels, row, pixel, of_row, of_pixel):
    """n of values whose row of the table is `row`, whose pixel is `pixel`; the masks where there are such."""
    if table is not None:
        mean = tl.load(table + row * 4, mask=of_row, other=0.0)
        rstd = tl.load(table + row * 4 + 1, mask=of_row, other=0.0)
        scale = tl.load(table + row * 4 + 2, mask=of_row, other=0.0)
        offset = tl.load(table + row * 4 + 3, mask=of_row, other=0.0)
        if pixels is not None:
            mean = tl.load(pixels + pixel * 2, mask=of_pixel, other=0.0)
            rstd = tl.load(pixels + pixel * 2 + 1, mask=of_pixel, other=0.0)
        value = (value - mean) * rstd * scale + offset
    return value


def measured(x: Tensor, skip: Tensor | None) -> Tensor:
    """Statistics (N, C, 2) of the channels of x and skip."""
    found = []
    for part in (x,) if skip is None else (x, skip):
        found.append(torch.empty((*part.shape[:2], 2), dtype=torch.float32, device=x.device))
        norm_stats(found[-1], part)
    return found[0] if len(found) == 1 else torch.cat(found, 1)


def norm_table(x: Tensor, skip: Tensor | None, s: Settings, tensors: NormTensors) -> Table:
    """Of what a unit does to x and skip before it is activated."""
    weight, bias = tensors.get("norm_weight"), tensors.get("norm_bias")
    film_scale, film_shift = tensors.get("film_scale"), tensors.get("film_shift")
    of_pixel = s.norm in ("layer_pixel", "rms_pixel")
    if is_identity(s, tensors):
        return Table(None, None)
    batch, channels = x.shape[0], x.shape[1] + (0 if skip is None else skip.shape[1])
    groups = {"layer": 1, "group": s.num_groups}.get(s.norm, channels)
    stats = mean = var = None
    if s.norm != "none" and not of_pixel:
        mean, var = tensors.get("running_mean"), tensors.get("running_var")
        if mean is None:
            given = tensors.get("stats")
            stats = (measured(x, skip) if given is None else given).contiguous()
        if stats is not None and s.norm == "batch":
            moments = torch.empty((channels, 2), dtype=torch.float32, device=x.device)
            batch_moments_kernel[(triton.cdiv(channels, _LANES),)](
                moments, stats, batch, channels, BLOCK=_LANES, enable_fp_fusion=True
            )
            stats, mean, var = None, moments[:, 0], moments[:, 1]
    if mean is not None and var is not None and mean.stride(0) != var.stride(0):
        mean, var = mean.contiguous(), var.contiguous()
    size = channels // groups
    block_s = triton.next_power_of_2(size)
    block_g = min(max(_LANES // block_s, 1), triton.next_power_of_2(groups))
    blocks = triton.cdiv(groups, block_g)
    table = torch.empty((batch, channels, 4), dtype=torch.float32, device=x.device)
    channel_table_kernel[(batch * blocks,)](
        table,
        stats,
        mean,
        var,
        1 if mean is None else mean.stride(0),
        *_parameter(weight),
        *_parameter(bias),
        _dense(film_scale),
        _dense(film_shift),
        channels,
        groups,
        size,
        blocks,
        s.eps,
        BLOCK_G=block_g,
        BLOCK_S=block_s,
        enable_fp_fusion=True,
    )
    return Table(table, _pixel_table(x, skip, s) if of_pixel else None)


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _parameter(tensor: Tensor | None) -> tuple[Tensor | None, int]:
    """(C,) or (N, C), and the stride of its samples."""
    if tensor is None:
        return None, 0
    dense = tensor.contiguous()
    return dense, dense.stride(0) if dense.ndim == 2 else 0


def _pixel_table(x: Tensor, skip: Tensor | None, s: Settings) -> Tensor:
    x, skip = as_planes(x), fit(skip)
    batch, channels, positions = x.shape[0], x.shape[1], x.shape[2] * x.shape[3]
    widest = triton.next_power_of_2(max(channels, 0 if skip is None else skip.shape[1]))
    block_c = min(widest, 64 if operand(x).channel == 1 else 32)
    block_p = min(triton.next_power_of_2(positions), TILE // block_c)
    blocks = triton.cdiv(positions, block_p)
    table = torch.empty((batch, positions, 2), dtype=torch.float32, device=x.device)
    pixel_table_kernel[(batch * blocks,)](
        table,
        operand(x),
        operand(skip),
        channels,
        0 if skip is None else skip.shape[1],
        positions,
        blocks,
        s.eps,
        RMS=s.norm == "rms_pixel",
        BLOCK_C=block_c,
        BLOCK_P=block_p,
        enable_fp_fusion=True,
    )
    return table
