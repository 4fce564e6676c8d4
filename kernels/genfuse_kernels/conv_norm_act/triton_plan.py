"""How the Triton convolution is shared among programs, and how factors are multiplied: by shapes and dtype alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton

from genfuse_kernels.common.target import target
from genfuse_kernels.conv_norm_act.axes import Axis, axes_of
from genfuse_kernels.conv_norm_act.settings import Accuracy, Pair, Settings, kernel_size

_MOST_WARPS = 8
"""Of the largest blocks, of half precision."""


class Blocks(NamedTuple):
    """Sizes of a program's block, by shapes and dtype alone."""

    pixels: int
    outputs: int
    inputs: int
    warps: int
    stages: int = 3

    def by(self, way: Way) -> Blocks:
        """What a way makes of it."""
        pixels, outputs = max(16, self.pixels >> way.pixels), max(16, self.outputs >> way.outputs)
        warps = _MOST_WARPS if way.warps else self.warps
        may_differ = 0 < way.stages < self.stages or (way.stages > self.stages and self.warps == _MOST_WARPS)
        return Blocks(pixels, outputs, self.inputs, warps, way.stages if may_differ else self.stages)


class Way(NamedTuple):
    """How a block differs from the one by rule: halvings of its sides, 8 warps for 4, other stages.

    Not 4 warps for 8, nor more stages but in the largest blocks: the sums of others leave the registers.
    """

    pixels: int = 0
    outputs: int = 0
    warps: int = 0
    stages: int = 0


WAYS = {
    "": Way(),
    "half the pixels": Way(pixels=1),
    "half the outputs": Way(outputs=1),
    "8 warps": Way(warps=1),
    "2 stages": Way(stages=2),
    "4 stages": Way(stages=4),
}
"""What is measured where results need not be reproducible."""


def blocks_for(pixels: int, outputs: int, inputs: int, precision: str, half: bool) -> Blocks:
    """Of `pixels` that lie in a row, outputs of a group, and its inputs, taps counted where they are one axis."""
    most = 128 if half else 64
    block_m = min(max(triton.next_power_of_2(pixels), 16), most)
    block_n = min(max(triton.next_power_of_2(outputs), 16), most)
    block_k = min(max(triton.next_power_of_2(inputs), 16), 64 if half else 16 if precision == "ieee" else 32)
    warps = _MOST_WARPS if block_m * block_n >= 128 * 128 else 4
    return Blocks(block_m, block_n, block_k, warps, stages_for(precision))


class Plan(NamedTuple):
    """How programs share a convolution.

    few, joined   no product: each thread has its own sums; taps and inputs are one axis of the product
    per_sample    whether a block's pixels are of one sample, which then has `blocks` of them in each phase
    row_blocks, column_blocks   of all pixels of a phase, and of a group's outputs
    """

    block: Blocks
    precision: str
    few: bool
    joined: bool
    per_sample: bool
    blocks: int
    row_blocks: int
    column_blocks: int
    programs: int


def plan_for(
    phases: Sequence[tuple[Axis, Axis]],
    batch: int,
    outputs: int,
    inputs: int,
    groups: int,
    dtype: torch.dtype,
    accuracy: Accuracy | None,
    *,
    by_sample: bool,
    way: Way = WAYS[""],
) -> Plan:
    """For a group's outputs and inputs; by_sample: a block may not have pixels of two samples."""
    few = groups > 1 and min(outputs, inputs) < 16
    joined = not few and inputs < 16
    precision = precision_of(dtype, accuracy)
    pixels = max(rows.made * columns.made for rows, columns in phases)
    taps = max(rows.taps * columns.taps for rows, columns in phases)
    per_sample = by_sample or pixels >= 128 or batch * pixels >= 2**31
    of_columns = outputs * groups if few else outputs
    block = blocks_for(
        pixels if per_sample else 128,
        of_columns,
        inputs * taps if joined else inputs,
        precision,
        dtype != torch.float32,
    )
    if (
        joined
    ):  # addresses of every tap and channel at once take all registers: no other way has room for them
        block, way = block._replace(pixels=min(block.pixels, 64)), WAYS[""]
    if few:  # no product, all in registers
        block = Blocks(min(block.pixels, 64), min(block.outputs, 32), 16, 4)
    block = block.by(way)
    blocks = triton.cdiv(pixels, block.pixels) if per_sample else 1
    row_blocks = batch * blocks if per_sample else triton.cdiv(batch * pixels, block.pixels)
    column_blocks = triton.cdiv(of_columns, block.outputs)
    programs = len(phases) * row_blocks * column_blocks * (1 if few else groups)
    return Plan(block, precision, few, joined, per_sample, blocks, row_blocks, column_blocks, programs)


def programs_of_one(weight_shape: Sequence[int], s: Settings, made: Pair, dtype: torch.dtype) -> int:
    """Of one picture of a unit, whose convolution makes `made` pixels."""
    rows, columns = axes_of(s, kernel_size(weight_shape), made)
    phases = [(of_row, of_column) for of_row in rows for of_column in columns]
    first, second = weight_shape[0] // s.groups, weight_shape[1]
    inputs, outputs = (first, second) if s.transposed else (second, first)
    return plan_for(phases, 1, outputs, inputs, s.groups, dtype, s.accuracy, by_sample=False).programs


def stages_for(precision: str) -> int:
    """Blocks of factors on their way: three, which change no bit.

    Two on sm_100 where each takes three products, as with three the assembler spills two registers there, to make room
    for another program.
    """
    of = target()
    return 2 if precision == "tf32x3" and of is not None and of.arch == 100 else 3


def most_registers(few: bool, dtype: torch.dtype) -> dict[str, int]:
    """Of a thread, as a launch takes it, where the assembler's own choice is wrong: without tensor cores on sm_90.

    There it takes 80, to make room for another program, of which bfloat16 spills two.
    """
    of = target()
    few_there = few and of is not None and of.arch == 90
    return {"maxnreg": 96} if few_there and dtype == torch.bfloat16 else {}


def precision_of(dtype: torch.dtype, accuracy: Accuracy | None) -> str:
    """How factors are multiplied: half precision as it is; float32 in three parts, "fast" in one, "exact" as it is.

    AMD's matrix units multiply float32 as it is, and Triton has no three parts of it there.
    """
    of = target()
    if dtype != torch.float32 or (of is not None and of.backend == "hip"):
        return "ieee"
    return {"exact": "ieee", "fast": "tf32", None: "tf32x3"}[accuracy]
