"""Peak figures of GPUs that targets stand for, from their makers' data sheets: what a roofline floor is counted from.

    A100  NVIDIA A100 80GB SXM data sheet (2021); multiprocessors and clock: A100 architecture white paper, table 4
    H100  NVIDIA H100 SXM5 data sheet (2023), its tenths from the H100 architecture white paper, table 3
    B200  NVIDIA Blackwell architecture technical brief (2024), HGX B200: 4.5 and 2.2 PFLOPS with sparsity, 80 and 40
          TFLOPS, 8 TB/s; TF32 by the HGX data sheet's 18 PFLOPS of eight. Its data sheet of 2025 has 75, 37 and 7.7
    MI300X  AMD Instinct MI300X data sheet (2023)

Dense, without sparsity. Where sheets of one GPU differ the larger figure stands here, so that a floor stays one. B200's
name no clock: 80 TFLOPS of 148 multiprocessors of 128 lanes are 2.11 GHz; of the others clock, lanes and TFLOPS agree.
"""

from __future__ import annotations

from typing import NamedTuple


class Peak(NamedTuple):
    """A GPU: bytes and operations a second.

    half, tf32   matrix products of 16-bit and of float32 factors on tensor cores
    single, double  arithmetic of float32 and float64 outside them
    processors   multiprocessors (compute units); `clock` their highest, in Hz
    issue        instructions that one of them issues a clock
    special      exponentials, logarithms, roots and reciprocals that one of them starts a clock
    """

    name: str
    memory: float
    half: float
    tf32: float
    single: float
    double: float
    processors: int
    clock: float
    issue: int = 4
    special: int = 16


PEAKS = {
    "sm_80": Peak("A100", 2.039e12, 312e12, 156e12, 19.5e12, 9.7e12, 108, 1.41e9),
    "sm_90": Peak("H100", 3.35e12, 989.4e12, 494.7e12, 66.9e12, 33.5e12, 132, 1.98e9),
    "sm_100": Peak("B200", 8.0e12, 2.25e15, 1.125e15, 80e12, 40e12, 148, 2.112e9),
    "gfx942": Peak("MI300X", 5.3e12, 1307.4e12, 653.7e12, 163.4e12, 81.7e12, 304, 2.1e9),
}


def peak(target: str) -> Peak:
    """Of "sm_90a" as of "sm_90"."""
    return PEAKS[target.removesuffix("a")]
