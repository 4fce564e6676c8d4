"""How the Triton convolution is shared among programs, and how factors are multiplied: by shapes and dtype alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton

from genfuse_kernels.common.target import target
from genfuse_kernels.conv_norm_act.settings import Accuracy


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
        warps = 12 - self.warps if way.warps else self.warps
        return Blocks(pixels, outputs, self.inputs, warps, way.stages or self.stages)


class Way(NamedTuple):
    """How a block differs from the one by rule: halvings of its sides, 8 warps for 4 or 4 for 8, other stages."""

    pixels: int = 0
    outputs: int = 0
    warps: int = 0
    stages: int = 0


WAYS = {
    "": Way(),
    "half the pixels": Way(pixels=1),
    "half the outputs": Way(outputs=1),
    "other warps": Way(warps=1),
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
    warps = 8 if block_m * block_n >= 128 * 128 else 4
    return Blocks(block_m, block_n, block_k, warps, stages_for(precision))


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
