"""`sampler_step` by the CUDA kernel: csrc/sampler_step/cuda.cu."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from genfuse_kernels.common.cuda_kernel import Kernel
from genfuse_kernels.common.cuda_launch import launch
from genfuse_kernels.common.cuda_walk import OPERAND, WALK, addressed, operand_field, walk
from genfuse_kernels.common.planes import fit, fit_slots, give_back
from genfuse_kernels.sampler_step.cuda_row import ROW, row_field

_OPERANDS = ("out", "stored", "x", "model_output", "uncond", "variance", "noise", "noise_prev", "history")

ARGUMENTS = np.dtype(
    [
        *((name, OPERAND) for name in _OPERANDS),
        ("slots", "i8"),
        ("slot_stride", "i8"),
        ("row", ROW),
        ("seeds", "u8"),
        ("seeds_stride", "i8"),
        ("stream", "i8"),
        ("scales", "u8"),
        ("walk", WALK),
    ]
)
"""The kernel's `SamplerStepArguments`."""


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

    index: int, or int64 of one or N elements; in a captured graph, a device index that is advanced between
    replays moves the step on. A row that the table lacks, an input that a row needs and that is absent, and a
    slot that `history` lacks turn the sample NaN, as in Triton.
    Contiguous, channels-last and channel-sliced tensors are used where they lie, in any mix. Tensors whose
    positions don't collapse to one stride go through contiguous copies, outputs too.
    """
    if out.numel() == 0:
        return
    operands = [fit(t) for t in (out, stored, x, model_output, uncond, variance, noise, noise_prev)]
    ring = fit_slots(history)
    slots = [] if ring is None else list(ring)
    plan = walk([*operands, *slots], draws=seeds is not None)
    table, scales = table.contiguous(), None if scales is None else scales.contiguous()
    arguments = np.array(
        (
            *map(operand_field, operands),
            operand_field(slots[0] if slots else None),
            len(slots),
            0 if ring is None else ring.stride(0),
            row_field(table, index),
            *addressed(seeds),
            stream,
            0 if scales is None else scales.data_ptr(),
            plan.sizes,
        ),
        dtype=ARGUMENTS,
    )
    launch(Kernel("sampler_step", out.dtype, plan.order, plan.wide), plan.blocks, arguments, out.device)
    give_back((history, ring), (stored, operands[1]), (out, operands[0]))
