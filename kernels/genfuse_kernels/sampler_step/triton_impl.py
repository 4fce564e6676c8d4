"""`sampler_step` in Triton: one kernel, one program a tile of a sample, every solver."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from genfuse_kernels.common.layout import pointers, tile_elements, walk
from genfuse_kernels.common.philox import normal_quads
from genfuse_kernels.common.planes import fit, fit_slots, give_back, operand
from genfuse_kernels.sampler_step import row as layout
from genfuse_kernels.sampler_step.row import COLUMN, TERMS

_ROW = tl.constexpr(layout.ROW)
_Y = tl.constexpr(layout.Y)
_S = tl.constexpr(layout.S)
_X = tl.constexpr(TERMS.index("x"))
_M = tl.constexpr(TERMS.index("m"))
_X0 = tl.constexpr(TERMS.index("x0"))
_H0 = tl.constexpr(TERMS.index("h0"))
_NOISE = tl.constexpr(TERMS.index("noise"))
_NOISE_PREV = tl.constexpr(TERMS.index("noise_prev"))
_HISTORY_SLOTS = tl.constexpr(layout.HISTORY_SLOTS)
_X0_X = tl.constexpr(COLUMN["x0_x"])
_X0_M = tl.constexpr(COLUMN["x0_m"])
_CLIP_MIN = tl.constexpr(COLUMN["clip_min"])
_CLIP_MAX = tl.constexpr(COLUMN["clip_max"])
_GUIDANCE = tl.constexpr(COLUMN["guidance"])
_RESCALE = tl.constexpr(COLUMN["rescale"])
_QUANTILE = tl.constexpr(COLUMN["quantile"])
_LOG_STD = tl.constexpr(COLUMN["log_std"])
_LOG_STD_V = tl.constexpr(COLUMN["log_std_v"])
_STORE = tl.constexpr(COLUMN["store"])


@triton.jit
def row_of(index, index_stride, sample, rows):
    """The table row of a sample, int64, and whether the table has it."""
    row = tl.load(index + sample * index_stride) if index.dtype.is_ptr() else index.to(tl.int64)
    return row, (row >= 0) & (row < rows)


@triton.jit
def column(table, row, known, COLUMN: tl.constexpr, COMPUTE: tl.constexpr):
    """One coefficient; NaN where the table has no such row, so that the sample turns NaN."""
    address = table + tl.where(known, row, 0) * _ROW + COLUMN
    return tl.load(address, mask=known, other=float("nan")).to(COMPUTE)


@triton.jit
def load_live(operand, sample, channel, position, exists, live, ORDER: tl.constexpr, COMPUTE: tl.constexpr):
    """A tile of an operand where the scalar `live` says so, else zeros, and nothing is read.

    Upcast at once: arithmetic is float32 or float64. A live operand that is absent reads as NaN.
    """
    if operand.pointer is None:
        value = tl.full(exists.shape, 0, COMPUTE) + tl.where(live, float("nan"), 0.0).to(COMPUTE)
    else:
        address = pointers(operand, sample, channel, position, ORDER)
        value = tl.load(address, mask=exists & live, other=0.0).to(COMPUTE)
    return value


@triton.jit
def guided(
    model_output, uncond, table, row, known, sample, channel, position, exists, live,
    ORDER: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """The model output after classifier-free guidance (Ho & Salimans 2022), before its rescale."""
    if uncond.pointer is None:
        m = load_live(model_output, sample, channel, position, exists, live, ORDER, COMPUTE)
    else:
        guidance = column(table, row, known, _GUIDANCE, COMPUTE)
        reads = live & (guidance != 0)
        conditional = load_live(model_output, sample, channel, position, exists, reads, ORDER, COMPUTE)
        reads = live & (guidance != 1)
        unconditional = load_live(uncond, sample, channel, position, exists, reads, ORDER, COMPUTE)
        # What guidance 0 or 1 leaves out was read as zeros; 0 stands apart because 0·inf is NaN.
        m = unconditional + guidance * (conditional - unconditional)
        m = tl.where(guidance == 0, unconditional, m)
    return m


@triton.jit
def _scale(scales, sample, WHICH: tl.constexpr, live, COMPUTE: tl.constexpr):
    """What `sampler_reduce` found for the sample; 1 where not `live`, NaN where live and absent."""
    if scales is None:
        value = tl.where(live, float("nan"), 1.0)
    else:
        value = tl.load(scales + sample * 2 + WHICH, mask=live, other=1.0)
    return value.to(COMPUTE)


@triton.jit
def _coefficients(table, row, known, TERM: tl.constexpr, STORES: tl.constexpr, COMPUTE: tl.constexpr):
    """A term's coefficients in the next sample and in what is stored; the latter 0 where nothing is."""
    y = column(table, row, known, _Y + TERM, COMPUTE)
    s = column(table, row, known, _S + TERM, COMPUTE) if STORES else tl.full((), 0, COMPUTE)
    return y, s, (y != 0) | (s != 0)


@triton.jit
def _add(total, coefficient, value):
    """total + coefficient·value, where a zero coefficient adds nothing even to an infinite value."""
    return total + tl.where(coefficient != 0, coefficient * value, 0.0)


@triton.jit
def _exp(value, COMPUTE: tl.constexpr):
    """exp to 3e-7 relative: `tl.exp` in float32 rounds value·log₂e, which at −20 already costs 1e-6."""
    if COMPUTE == tl.float64:  # noqa: SIM300
        result = tl.exp(value)
    else:
        # Beyond ±200 float32 is at 0 or infinity already, and the correction below would be as large as 1.
        value = tl.clamp(value, -200.0, 200.0, propagate_nan=tl.PropagateNan.ALL)
        high = value * 1.4426950216293335
        low = tl.fma(value, 1.4426950216293335, -high) + value * 1.925963033500e-08
        result = tl.exp2(high) * (1.0 + low * 0.6931471805599453)
    return result


@triton.jit
def _normal(
    given, seeds, seeds_stride, sample, row, stream, block, channel, position, exists, live,
    ORDER: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """The given noise, else a Philox normal, drawn only where `live`."""
    if given.pointer is None and seeds is not None:
        value = tl.full(exists.shape, 0, COMPUTE)
        if live:
            seed = tl.load(seeds + sample * seeds_stride)
            value = normal_quads(seed, row, stream, block, COMPUTE)
    else:
        value = load_live(given, sample, channel, position, exists, live, ORDER, COMPUTE)
    return value


@triton.jit
def _load_slot(
    history, slot_stride, SLOT: tl.constexpr, SLOTS: tl.constexpr, sample, channel, position, exists, live,
    ORDER: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """A tile of history slot `SLOT`, as `load_live`: NaN where a row needs a slot that `history` lacks."""
    if SLOT < SLOTS:
        address = pointers(history, sample, channel, position, ORDER) + SLOT * slot_stride
        value = tl.load(address, mask=exists & live, other=0.0).to(COMPUTE)
    else:
        value = tl.full(exists.shape, 0, COMPUTE) + tl.where(live, float("nan"), 0.0).to(COMPUTE)
    return value


@triton.jit(do_not_specialize=["rows", "index", "stream"])
def sampler_step_kernel(
    out, stored, x, model_output, uncond, variance, noise, noise_prev,
    history, slot_stride, seeds, seeds_stride, scales, table, rows, index, index_stride, stream,
    tiles, channels, positions,
    SLOTS: tl.constexpr, ORDER: tl.constexpr, QUADS: tl.constexpr, WIDE: tl.constexpr, COMPUTE: tl.constexpr,
):  # fmt: skip
    """A tile of one sample, in `spec`'s order of arithmetic; scalars are loaded once, dead inputs never."""
    STORES: tl.constexpr = stored.pointer is not None or SLOTS > 0
    sample = (tl.program_id(0) // tiles).to(tl.int64)
    block, c, s, exists = tile_elements(tl.program_id(0) % tiles, channels, positions, ORDER, QUADS, WIDE)
    row, known = row_of(index, index_stride, sample, rows)

    y_x, s_x, live_x = _coefficients(table, row, known, _X, STORES, COMPUTE)
    y_m, s_m, live_m = _coefficients(table, row, known, _M, STORES, COMPUTE)
    y_x0, s_x0, live_x0 = _coefficients(table, row, known, _X0, STORES, COMPUTE)
    x0_x = column(table, row, known, _X0_X, COMPUTE)
    x0_m = column(table, row, known, _X0_M, COMPUTE)
    live_x |= live_x0 & (x0_x != 0)
    live_m |= live_x0 & (x0_m != 0)

    x_value = load_live(x, sample, c, s, exists, live_x, ORDER, COMPUTE)
    m = guided(model_output, uncond, table, row, known, sample, c, s, exists, live_m, ORDER, COMPUTE)
    if uncond.pointer is not None:
        rescales = column(table, row, known, _RESCALE, COMPUTE) != 0
        m *= _scale(scales, sample, 0, rescales, COMPUTE)

    thresholds = column(table, row, known, _QUANTILE, COMPUTE) != 0
    threshold = _scale(scales, sample, 1, thresholds, COMPUTE)
    low = tl.where(thresholds, -threshold, column(table, row, known, _CLIP_MIN, COMPUTE))
    high = tl.where(thresholds, threshold, column(table, row, known, _CLIP_MAX, COMPUTE))
    x0 = _add(_add(tl.full(exists.shape, 0, COMPUTE), x0_x, x_value), x0_m, m)
    x0 = tl.clamp(x0, low, high, propagate_nan=tl.PropagateNan.ALL) / threshold

    y = _add(_add(_add(tl.full(exists.shape, 0, COMPUTE), y_x, x_value), y_m, m), y_x0, x0)
    stores = _add(_add(_add(tl.full(exists.shape, 0, COMPUTE), s_x, x_value), s_m, m), s_x0, x0)
    for slot in tl.static_range(_HISTORY_SLOTS):
        y_h, s_h, live = _coefficients(table, row, known, _H0 + slot, STORES, COMPUTE)
        h = _load_slot(history, slot_stride, slot, SLOTS, sample, c, s, exists, live, ORDER, COMPUTE)
        y = _add(y, y_h, h)
        stores = _add(stores, s_h, h)

    y_z, s_z, live = _coefficients(table, row, known, _NOISE, STORES, COMPUTE)
    z = _normal(noise, seeds, seeds_stride, sample, row, stream, block, c, s, exists, live, ORDER, COMPUTE)
    log_std_v = column(table, row, known, _LOG_STD_V, COMPUTE)
    v = load_live(variance, sample, c, s, exists, live & (log_std_v != 0), ORDER, COMPUTE)
    if live & (log_std_v != 0):
        z *= _exp(column(table, row, known, _LOG_STD, COMPUTE) + log_std_v * v, COMPUTE)
    y = _add(y, y_z, z)
    stores = _add(stores, s_z, z)

    y_z, s_z, live = _coefficients(table, row, known, _NOISE_PREV, STORES, COMPUTE)
    z = _normal(
        noise_prev, seeds, seeds_stride, sample, row - 1, stream, block, c, s, exists, live, ORDER, COMPUTE
    )  # fmt: skip
    y = _add(y, y_z, z)
    stores = _add(stores, s_z, z)

    # Outputs may be inputs, and loads and stores of different alignment are laid out differently over the
    # threads: one may read an element that another overwrites. So all have read before any writes.
    tl.debug_barrier()
    if stored.pointer is not None:
        tl.store(
            pointers(stored, sample, c, s, ORDER), stores.to(stored.pointer.dtype.element_ty), mask=exists
        )
    elif SLOTS > 0:
        slot = column(table, row, known, _STORE, COMPUTE)
        fits = slot < SLOTS
        y = tl.where(fits, y, float("nan"))
        writes = fits & (slot >= 0)
        address = pointers(history, sample, c, s, ORDER)
        address += tl.where(writes, slot, 0).to(tl.int64) * slot_stride
        tl.store(address, stores.to(history.pointer.dtype.element_ty), mask=exists & writes)
    tl.store(pointers(out, sample, c, s, ORDER), y.to(out.pointer.dtype.element_ty), mask=exists)


def sampler_step(
    out: Tensor,
    stored: Tensor | None,
    x: Tensor,
    model_output: Tensor | None,
    table: Tensor,
    index: int | Tensor,
    *,
    uncond: Tensor | None,
    variance: Tensor | None,
    history: Tensor | None,
    noise: Tensor | None,
    noise_prev: Tensor | None,
    seeds: Tensor | None,
    stream: int,
    scales: Tensor | None,
) -> None:
    """Launch the step of `spec`: no host synchronisation, the row is read on the device.

    index: int, or int64 of one or N elements. A row that the table lacks, an input that a row needs and that
    is absent, and a slot that `history` lacks turn the sample NaN: the host checks what it can see, the
    device must neither guess nor read out of bounds.
    Contiguous, channels-last and channel-sliced tensors are used where they lie, in any mix. Tensors whose
    positions don't collapse to one stride go through contiguous copies, outputs too.
    """
    if out.numel() == 0:
        return
    operands = [fit(t) for t in (out, stored, x, model_output, uncond, variance, noise, noise_prev)]
    ring = fit_slots(history)
    first_slot = None if ring is None else ring[0]
    plan = walk([*operands, first_slot], draws=seeds is not None)
    sampler_step_kernel[plan.grid](
        *(operand(t) for t in operands),
        operand(first_slot)._replace(pointer=ring),
        0 if ring is None else ring.stride(0),
        seeds,
        0 if seeds is None else seeds.stride(0),
        None if scales is None else scales.contiguous(),
        table.contiguous(),
        table.shape[0],
        index,
        index.stride(0) if isinstance(index, Tensor) and index.numel() > 1 else 0,
        stream,
        SLOTS=0 if ring is None else ring.shape[0],
        **plan.arguments,
    )
    give_back((history, ring), (stored, operands[1]), (out, operands[0]))
