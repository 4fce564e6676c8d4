"""Instruction sets and threads for the tests of the CPU kernels, and the calls and layouts that they share with all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from genfuse_kernels import _cpu
from genfuse_kernels.common.guarded import LAYOUTS, laid_out, own_elements, untouched_elsewhere
from genfuse_kernels.sampler_step.cases import Call, random_call, random_row, row

__all__ = [
    "DTYPES",
    "ISAS",
    "LAYOUTS",
    "Call",
    "instruction_set",
    "laid_out",
    "own_elements",
    "random_call",
    "random_row",
    "row",
    "threads",
    "untouched_elsewhere",
]

ISAS = _cpu.available_isas()
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@contextmanager
def instruction_set(name: str) -> Iterator[None]:
    before = _cpu.isa()
    _cpu.set_isa(name)
    try:
        yield
    finally:
        _cpu.set_isa(before)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
