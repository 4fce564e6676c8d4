"""`sampler_reduce` in Triton: one program a sample, which reads it a few times from the L2 cache.

The quantile is a radix selection on the bits of |x0|, which order like the numbers: each pass counts the
next 8 bits of the values that share the prefix found so far. Four passes in float32, one more for the order
statistic above; bisection would take 31, a sort would need memory.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.layout import tile_elements, walk
from genfuse_kernels.common.planes import fit, operand
from genfuse_kernels.sampler_step.row import COLUMN
from genfuse_kernels.sampler_step.triton_impl import column, guided, load_live, row_of

_X0_X = tl.constexpr(COLUMN["x0_x"])
_X0_M = tl.constexpr(COLUMN["x0_m"])
_RESCALE = tl.constexpr(COLUMN["rescale"])
_QUANTILE = tl.constexpr(COLUMN["quantile"])
_THRESHOLD_MAX = tl.constexpr(COLUMN["threshold_max"])
_INT64_MAX = tl.constexpr(2**63 - 1)

THREADS = {torch.float64: 256}
"""Threads of a program, else 512: what keeps every target's registers from spilling (bench/results/cards.md)."""


@triton.jit
def _outputs(
    model_output, uncond, table, row, known, sample, tile, channels, positions,
    ORDER: tl.constexpr, QUADS: tl.constexpr, WIDE: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """A tile of the conditional and of the guided output, and which elements exist."""
    _, c, s, exists = tile_elements(tile, channels, positions, ORDER, QUADS, WIDE)
    conditional = load_live(model_output, sample, c, s, exists, True, ORDER, COMPUTE)
    m = guided(model_output, uncond, table, row, known, sample, c, s, exists, True, ORDER, COMPUTE)
    return conditional, m, exists


@triton.jit
def _rescale(
    model_output, uncond, table, row, known, sample, numel, tiles, channels, positions,
    ORDER: tl.constexpr, QUADS: tl.constexpr, WIDE: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """φ·std(conditional)/std(guided) + 1 − φ; the mean first, from the first element, then the squares around it."""
    phi = column(table, row, known, _RESCALE, COMPUTE)
    factor = tl.full((), 1, COMPUTE)
    if (phi != 0) & (numel > 1):
        zero = tl.zeros((1,), tl.int32)
        first = load_live(model_output, sample, zero, zero, zero == 0, True, ORDER, COMPUTE)
        first_m = guided(
            model_output, uncond, table, row, known, sample, zero, zero, zero == 0, True, ORDER, COMPUTE
        )
        sum_conditional = tl.zeros((QUADS * 4,), COMPUTE)
        sum_m = tl.zeros((QUADS * 4,), COMPUTE)
        for tile in range(tiles):
            conditional, m, exists = _outputs(
                model_output, uncond, table, row, known, sample, tile, channels, positions,
                ORDER, QUADS, WIDE, COMPUTE,
            )  # fmt: skip
            sum_conditional += tl.where(exists, conditional - first, 0.0)
            sum_m += tl.where(exists, m - first_m, 0.0)
        mean_conditional = first + tl.sum(sum_conditional) / numel
        mean_m = first_m + tl.sum(sum_m) / numel
        square_conditional = tl.zeros((QUADS * 4,), COMPUTE)
        square_m = tl.zeros((QUADS * 4,), COMPUTE)
        for tile in range(tiles):
            conditional, m, exists = _outputs(
                model_output, uncond, table, row, known, sample, tile, channels, positions,
                ORDER, QUADS, WIDE, COMPUTE,
            )  # fmt: skip
            conditional = tl.where(exists, conditional - mean_conditional, 0.0)
            m = tl.where(exists, m - mean_m, 0.0)
            square_conditional += conditional * conditional
            square_m += m * m
        variance_m = tl.sum(square_m)
        ratio = tl.sqrt(tl.sum(square_conditional)) / tl.sqrt(variance_m)
        factor = tl.where(variance_m == 0, 1.0, phi * ratio + (1.0 - phi))
    return factor


@triton.jit
def _magnitude_bits(
    x, model_output, uncond, factor, table, row, known, sample, tile, channels, positions,
    ORDER: tl.constexpr, QUADS: tl.constexpr, WIDE: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """Bits of |x0| of a tile as int64, which order like the values (NaN above all), and which exist."""
    _, c, s, exists = tile_elements(tile, channels, positions, ORDER, QUADS, WIDE)
    x0_x = column(table, row, known, _X0_X, COMPUTE)
    x0_m = column(table, row, known, _X0_M, COMPUTE)
    x_value = load_live(x, sample, c, s, exists, x0_x != 0, ORDER, COMPUTE)
    m = guided(model_output, uncond, table, row, known, sample, c, s, exists, x0_m != 0, ORDER, COMPUTE)
    magnitude = tl.abs(x0_x * x_value + x0_m * (m * factor))
    if COMPUTE == tl.float64:  # noqa: SIM300
        bits = magnitude.to(tl.int64, bitcast=True)
    else:
        bits = magnitude.to(tl.int32, bitcast=True).to(tl.int64)
    return bits, exists


@triton.jit
def _value(bits, COMPUTE: tl.constexpr):
    if COMPUTE == tl.float64:  # noqa: SIM300
        value = bits.to(tl.float64, bitcast=True)
    else:
        value = bits.to(tl.int32).to(tl.float32, bitcast=True)
    return value


@triton.jit
def _threshold(
    x, model_output, uncond, factor, table, row, known, sample, numel, tiles, channels, positions,
    ORDER: tl.constexpr, QUADS: tl.constexpr, WIDE: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """The quantile of |x0|, interpolated, within [1, threshold_max]; NaN where any |x0| is."""
    INFINITY: tl.constexpr = 0x7FF0000000000000 if COMPUTE == tl.float64 else 0x7F800000  # noqa: SIM300
    DIGITS: tl.constexpr = COMPUTE.primitive_bitwidth // 8
    COUNT: tl.constexpr = tl.int64 if WIDE else tl.int32
    quantile = column(table, row, known, _QUANTILE, tl.float64)
    threshold = tl.full((), float("inf"), COMPUTE)
    if quantile != 0:
        at = quantile * (numel - 1)
        rank = tl.floor(at).to(COUNT)
        weight = (at - tl.floor(at)).to(COMPUTE)
        prefix = tl.full((), 0, tl.int64)
        above = tl.full((), 0, COUNT)
        unordered = tl.zeros((QUADS * 4,), tl.int1)
        for digit in range(DIGITS):
            shift = (DIGITS - 1 - digit) * 8
            counts = tl.zeros((256,), COUNT)
            for tile in range(tiles):
                bits, exists = _magnitude_bits(
                    x, model_output, uncond, factor, table, row, known, sample, tile, channels, positions,
                    ORDER, QUADS, WIDE, COMPUTE,
                )  # fmt: skip
                unordered |= exists & (bits > INFINITY)
                high = bits >> shift
                counts += tl.histogram((high & 255).to(tl.int32), 256, mask=exists & ((high >> 8) == prefix))
            upto = tl.cumsum(counts)
            found = tl.sum((upto <= rank).to(tl.int32))
            before = tl.sum(tl.where(tl.arange(0, 256) < found, counts, 0))
            above = tl.sum(tl.where(tl.arange(0, 256) == found, counts, 0)) - (rank - before)
            rank -= before
            prefix = prefix * 256 + found
        # `above` counts the values equal to the one found from its rank on: 1, and the next is a larger one.
        following = tl.full((QUADS * 4,), _INT64_MAX, tl.int64)
        if above == 1:
            for tile in range(tiles):
                bits, exists = _magnitude_bits(
                    x, model_output, uncond, factor, table, row, known, sample, tile, channels, positions,
                    ORDER, QUADS, WIDE, COMPUTE,
                )  # fmt: skip
                following = tl.minimum(following, tl.where(exists & (bits > prefix), bits, _INT64_MAX))
        smallest = tl.min(following)
        low = _value(prefix, COMPUTE)
        high = _value(tl.where((smallest == _INT64_MAX) | (weight == 0), prefix, smallest), COMPUTE)
        # torch.lerp's two forms: with infinities they are NaN where PyTorch's is
        difference = high - low
        value = tl.where(weight < 0.5, low + weight * difference, high - (1 - weight) * difference)
        value = tl.where(tl.max(unordered.to(tl.int32)) != 0, float("nan"), value)
        most = column(table, row, known, _THRESHOLD_MAX, COMPUTE)
        threshold = tl.clamp(value, tl.full((), 1, COMPUTE), most, propagate_nan=tl.PropagateNan.ALL)
    return threshold


@triton.jit(do_not_specialize=["rows", "index"])
def sampler_reduce_kernel(
    scales, x, model_output, uncond, table, rows, index, index_stride, tiles, channels, positions,
    ORDER: tl.constexpr, QUADS: tl.constexpr, WIDE: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """Both numbers of one sample."""
    sample = tl.program_id(0).to(tl.int64)
    row, known = row_of(index, index_stride, sample, rows)
    numel = channels.to(tl.int64) * positions
    factor = tl.full((), 1, COMPUTE)
    if uncond.pointer is not None:
        factor = _rescale(
            model_output, uncond, table, row, known, sample, numel, tiles, channels, positions,
            ORDER, QUADS, WIDE, COMPUTE,
        )  # fmt: skip
    threshold = _threshold(
        x, model_output, uncond, factor, table, row, known, sample, numel, tiles, channels, positions,
        ORDER, QUADS, WIDE, COMPUTE,
    )  # fmt: skip
    tl.store(scales + sample * 2, tl.where(known, factor, float("nan")))
    tl.store(scales + sample * 2 + 1, threshold)


def sampler_reduce(
    scales: Tensor,
    x: Tensor,
    model_output: Tensor,
    table: Tensor,
    index: int | Tensor,
    *,
    uncond: Tensor | None,
) -> None:
    """Fill `scales` (N, 2) as `spec` says, without a host synchronisation; a row the table lacks gives NaN.

    index: int, or int64 of one or N elements. Strides as in `sampler_step`.
    """
    if scales.numel() == 0:
        return
    written = scales.contiguous()
    if x.numel() == 0:
        written[:, 0] = 1
        written[:, 1] = float("inf")
    else:
        operands = [fit(tensor) for tensor in (x, model_output, uncond)]
        plan = walk(operands, draws=False, threads=THREADS.get(x.dtype, 512))
        if plan.arguments["WIDE"]:  # of which more would spill
            plan = walk(operands, draws=False, threads=128)
        sampler_reduce_kernel[(x.shape[0],)](
            written,
            *(operand(tensor) for tensor in operands),
            table.contiguous(),
            table.shape[0],
            index,
            index.stride(0) if isinstance(index, Tensor) and index.numel() > 1 else 0,
            **plan.arguments,
        )
    if written is not scales:
        scales.copy_(written)
