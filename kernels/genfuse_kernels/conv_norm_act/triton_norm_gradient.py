"""The gradient of what a unit does before its convolution, in Triton; `norm_gradient` has the mathematics.

Kept of the forward are x and its statistics: the normalised values, the activation's derivative and dropout's mask are
computed again, in the pass that sums and in the one that writes. The sums are float32 in a tile and double beyond it;
what is left then, a few numbers a channel, PyTorch's own ops do in double.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.activation import derivative
from genfuse_kernels.common.layout import is_wide
from genfuse_kernels.common.moments import LAUNCH, TILE, tiles
from genfuse_kernels.common.planes import as_planes, operand
from genfuse_kernels.conv_norm_act.dropout import Dropout
from genfuse_kernels.conv_norm_act.norm_sums import gradients_of, has_constant_stats, of_channels
from genfuse_kernels.conv_norm_act.norm_table import Table
from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors
from genfuse_kernels.conv_norm_act.triton_norm import norm_table
from genfuse_kernels.norm_act.triton_impl import mask_words


@triton.jit
def differentiated(
    gradient, x, table, pixels, seeds, stream, threshold, keep, slope, sample, channel, position, exists,
    row, of_channel, of_position, first_channel, positions,
    ACTIVATION: tl.constexpr, QUADS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """g, x̂, rstd and scale of a tile (channels, positions), float32; `channel` (C, 1), `position` (1, P)."""
    offset = channel * x.channel + position * x.position
    value = tl.load(x.pointer + sample * x.batch + offset, mask=exists, other=0.0).to(tl.float32)
    offset = channel * gradient.channel + position * gradient.position
    g = tl.load(gradient.pointer + sample * gradient.batch + offset, mask=exists, other=0.0).to(tl.float32)
    if table is None:
        rstd = tl.full((1, 1), 1.0, tl.float32)
        scale = rstd
        n = value
    else:
        mean = tl.load(table + row * 4, mask=of_channel, other=0.0)
        rstd = tl.load(table + row * 4 + 1, mask=of_channel, other=0.0)
        scale = tl.load(table + row * 4 + 2, mask=of_channel, other=0.0)
        if pixels is not None:
            pixel = (sample * positions + position) * 2
            mean = tl.load(pixels + pixel, mask=of_position, other=0.0)
            rstd = tl.load(pixels + pixel + 1, mask=of_position, other=0.0)
        value = (value - mean) * rstd
        n = value * scale + tl.load(table + row * 4 + 3, mask=of_channel, other=0.0)
    g *= derivative(n, ACTIVATION, slope)
    if seeds is not None:
        element = (first_channel + channel).to(tl.int64) * positions + position
        bits = mask_words(tl.load(seeds + sample), stream, element, QUADS, WIDE)
        g *= tl.where(bits.to(tl.int32) >= threshold, keep, 0.0)
    return tl.where(exists, g, 0.0), tl.where(exists, value, 0.0), rstd, scale


@triton.jit(do_not_specialize=["stream", "threshold", "first_channel"])
def gradient_sums_kernel(
    sums, gradient, x, table, pixels, seeds, stream, threshold, keep, slope, rows, table_channels,
    first_channel, channels, positions, channel_blocks, splits, span,
    ACTIVATION: tl.constexpr, QUADS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """Σg and Σg·x̂ of a block of channels over one span of positions, (2, splits, rows) float64."""
    split = tl.program_id(0) % splits
    channel = (tl.program_id(0) // splits) % channel_blocks * BLOCK_C + tl.arange(0, BLOCK_C)[:, None]
    sample = (tl.program_id(0) // (splits * channel_blocks)).to(tl.int64)
    if WIDE:
        channel = channel.to(tl.int64)
    of_channel = channel < channels
    row = sample * table_channels + first_channel + channel
    end = tl.minimum((split + 1) * span, positions)
    plain = tl.zeros((BLOCK_C,), tl.float64)
    weighted = tl.zeros((BLOCK_C,), tl.float64)
    for start in range(split * span, end, BLOCK_P):
        position = start + tl.arange(0, BLOCK_P)[None, :]
        of_position = position < end
        if WIDE:
            position = position.to(tl.int64)
        g, normalised, _, _ = differentiated(
            gradient, x, table, pixels, seeds, stream, threshold, keep, slope, sample, channel, position,
            of_channel & of_position, row, of_channel, of_position, first_channel, positions,
            ACTIVATION, QUADS, WIDE,
        )  # fmt: skip
        plain += tl.sum(g, 1).to(tl.float64)
        weighted += tl.sum(g * normalised, 1).to(tl.float64)
    row = tl.reshape(row, (BLOCK_C,))
    exists = tl.reshape(of_channel, (BLOCK_C,))
    tl.store(sums + split * rows + row, plain, mask=exists)
    tl.store(sums + (splits + split) * rows + row, weighted, mask=exists)


@triton.jit(do_not_specialize=["stream", "threshold", "first_channel"])
def pixel_sums_kernel(
    sums, gradient, x, table, pixels, seeds, stream, threshold, keep, slope, table_channels, first_channel,
    channels, positions, blocks,
    ACTIVATION: tl.constexpr, ADDS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """Σa·g and Σa·g·x̂ of some pixels over one image's channels, (N, H·W, 2) float32; ADDS: to the other image's."""
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    position = tl.program_id(0) % blocks * BLOCK_P + tl.arange(0, BLOCK_P)[None, :]
    if WIDE:
        position = position.to(tl.int64)
    of_position = position < positions
    plain = tl.zeros((BLOCK_P,), tl.float64)
    weighted = tl.zeros((BLOCK_P,), tl.float64)
    for start in range(0, channels, BLOCK_C):
        channel = start + tl.arange(0, BLOCK_C)[:, None]
        of_channel = channel < channels
        row = sample * table_channels + first_channel + channel
        g, normalised, _, scale = differentiated(
            gradient, x, table, pixels, seeds, stream, threshold, keep, slope, sample, channel, position,
            of_channel & of_position, row, of_channel, of_position, first_channel, positions,
            ACTIVATION, False, WIDE,
        )  # fmt: skip
        plain += tl.sum(g * scale, 0).to(tl.float64)
        weighted += tl.sum(g * scale * normalised, 0).to(tl.float64)
    at = sums + (sample * positions + tl.reshape(position, (BLOCK_P,))) * 2
    exists = tl.reshape(of_position, (BLOCK_P,))
    if ADDS:
        plain += tl.load(at, mask=exists, other=0.0)
        weighted += tl.load(at + 1, mask=exists, other=0.0)
    tl.store(at, plain.to(tl.float32), mask=exists)
    tl.store(at + 1, weighted.to(tl.float32), mask=exists)


@triton.jit(do_not_specialize=["stream", "threshold", "first_channel"])
def read_gradient_kernel(
    out, gradient, x, table, pixels, of_means, seeds, stream, threshold, keep, slope, table_channels,
    first_channel, channels, positions, channel_blocks, splits, span,
    ACTIVATION: tl.constexpr, QUADS: tl.constexpr, RMS: tl.constexpr, BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """r·(a·g − G1/M − x̂·G2/M): `of_means` has G1/M and G2/M a channel, or a pixel."""
    split = tl.program_id(0) % splits
    channel = (tl.program_id(0) // splits) % channel_blocks * BLOCK_C + tl.arange(0, BLOCK_C)[:, None]
    sample = (tl.program_id(0) // (splits * channel_blocks)).to(tl.int64)
    if WIDE:
        channel = channel.to(tl.int64)
    of_channel = channel < channels
    row = sample * table_channels + first_channel + channel
    end = tl.minimum((split + 1) * span, positions)
    for start in range(split * span, end, BLOCK_P):
        position = start + tl.arange(0, BLOCK_P)[None, :]
        of_position = position < end
        if WIDE:
            position = position.to(tl.int64)
        exists = of_channel & of_position
        g, normalised, rstd, scale = differentiated(
            gradient, x, table, pixels, seeds, stream, threshold, keep, slope, sample, channel, position,
            exists, row, of_channel, of_position, first_channel, positions, ACTIVATION, QUADS, WIDE,
        )  # fmt: skip
        g *= scale
        if of_means is not None:
            if pixels is None:
                at, there = of_means + row * 2, of_channel
            else:
                at, there = of_means + (sample * positions + position) * 2, of_position
            if not RMS:
                g -= tl.load(at, mask=there, other=0.0)
            g -= normalised * tl.load(at + 1, mask=there, other=0.0)
        address = out.pointer + sample * out.batch + channel * out.channel + position * out.position
        tl.store(address, (g * rstd).to(out.pointer.dtype.element_ty), mask=exists)


def _found(
    gradient: Tensor,
    x: Tensor,
    settings: Settings,
    tensors: UnitTensors,
    through_stats: bool,
    wanted: Collection[str],
) -> dict[str, Tensor]:
    skip = tensors.get("skip")
    table = norm_table(x, skip, settings, tensors)
    gradient = as_planes(gradient)
    images = [as_planes(part) for part in (x, skip) if part is not None]
    constant = has_constant_stats(settings, tensors, through_stats)
    of_pixel = table.pixels is not None
    means: Tensor | None = None
    found: dict[str, Tensor] = {}
    if not {"x", "skip"}.issuperset(wanted) or not (constant or of_pixel):
        sums = _channel_sums(gradient, images, settings, table, tensors)
        found, means = of_channels(sums, x.shape[2] * x.shape[3], settings, table, tensors, wanted)
    if of_pixel:
        means = _pixel_sums(gradient, images, settings, table, tensors)
    for name, first, part in _parts(images):
        if name in wanted:
            found[name] = torch.empty_like(part)
            _write(found[name], gradient, part, first, settings, table, None if constant else means, tensors)
    return found


def _parts(images: list[Tensor]) -> list[tuple[str, int, Tensor]]:
    """x and skip, with their first channel."""
    firsts = (0, images[0].shape[1])
    return list(zip(("x", "skip"), firsts, images, strict=False))


def _channel_sums(
    gradient: Tensor, images: list[Tensor], s: Settings, table: Table, tensors: UnitTensors
) -> Tensor:
    """Σg and Σg·x̂ of each channel over space: (2, N, C) float64."""
    batch, channels, positions = gradient.shape[0], gradient.shape[1], gradient.shape[2] * gradient.shape[3]
    plans = [tiles(part.shape[1], positions, operand(part).channel == 1, 2) for part in images]
    most = max(plan.splits for plan in plans)
    sums = torch.zeros((2, most, batch * channels), dtype=torch.float64, device=gradient.device)
    for (_, first, part), plan in zip(_parts(images), plans, strict=True):
        room = sums if plan.splits == most else torch.zeros_like(sums[:, : plan.splits])
        gradient_sums_kernel[(batch * plan.channel_blocks * plan.splits,)](
            room,
            operand(gradient[:, first : first + part.shape[1]]),
            operand(part),
            table.channels,
            table.pixels,
            *Dropout.of(s, tensors.get("seeds")),
            s.negative_slope,
            batch * channels,
            channels,
            first,
            part.shape[1],
            positions,
            ACTIVATION=s.activation,
            QUADS=positions % 4 == 0,
            WIDE=is_wide(part, gradient),
            **plan.arguments,
        )
        if room is not sums:
            sums[:, : plan.splits] += room
    return sums.sum(1).view(2, batch, channels)


def _pixel_sums(
    gradient: Tensor, images: list[Tensor], s: Settings, table: Table, tensors: UnitTensors
) -> Tensor:
    """Σa·g and Σa·g·x̂ of each pixel over its channels, over their number: (N, H·W, 2) float32."""
    batch, channels, positions = gradient.shape[0], gradient.shape[1], gradient.shape[2] * gradient.shape[3]
    sums = torch.empty((batch, positions, 2), dtype=torch.float32, device=gradient.device)
    block_c = min(triton.next_power_of_2(max(part.shape[1] for part in images)), 64)
    block_p = min(triton.next_power_of_2(positions), TILE // 2 // block_c)
    blocks = triton.cdiv(positions, block_p)
    for _, first, part in _parts(images):
        pixel_sums_kernel[(batch * blocks,)](
            sums,
            operand(gradient[:, first : first + part.shape[1]]),
            operand(part),
            table.channels,
            table.pixels,
            *Dropout.of(s, tensors.get("seeds")),
            s.negative_slope,
            channels,
            first,
            part.shape[1],
            positions,
            blocks,
            ACTIVATION=s.activation,
            ADDS=first > 0,
            BLOCK_C=block_c,
            BLOCK_P=block_p,
            WIDE=is_wide(part, gradient),
            **LAUNCH,
        )
    return sums / channels


def _write(
    out: Tensor,
    gradient: Tensor,
    x: Tensor,
    first: int,
    s: Settings,
    table: Table,
    means: Tensor | None,
    tensors: UnitTensors,
) -> None:
    batch, channels, positions = x.shape[0], x.shape[1], x.shape[2] * x.shape[3]
    plan = tiles(channels, positions, operand(x).channel == 1, 2, sums=False)
    of_part = gradient[:, first : first + channels]
    read_gradient_kernel[(batch * plan.channel_blocks * plan.splits,)](
        operand(out),
        operand(of_part),
        operand(x),
        table.channels,
        table.pixels,
        means,
        *Dropout.of(s, tensors.get("seeds")),
        s.negative_slope,
        gradient.shape[1],
        first,
        channels,
        positions,
        ACTIVATION=s.activation,
        QUADS=positions % 4 == 0,
        RMS=s.norm == "rms_pixel",
        WIDE=is_wide(x, gradient, out),
        **plan.arguments,
    )


read_gradient = partial(gradients_of, _found)
