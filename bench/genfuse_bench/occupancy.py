"""What of a multiprocessor a kernel's blocks can fill, and what keeps them from filling more."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Of a multiprocessor (AMD: a compute unit): what its resident blocks share.

    registers  of all threads, given to a warp by `granularity`
    reserved   bytes of shared memory that the system takes of each block
    """

    registers: int
    shared: int
    threads: int
    blocks: int
    warp: int = 32
    granularity: int = 256
    reserved: int = 1024


LIMITS = {
    "sm_80": Limits(65536, 164 * 1024, 2048, 32),
    "sm_90": Limits(65536, 228 * 1024, 2048, 32),
    "sm_100": Limits(65536, 228 * 1024, 2048, 32),
    "gfx942": Limits(131072, 64 * 1024, 2048, 32, warp=64, granularity=512, reserved=0),
}
"""CUDA C++ Programming Guide, "Compute Capabilities"; AMD Instinct MI300 ISA guide, "Register allocation"."""


def limits(target: str) -> Limits:
    """Of "sm_90a" as of "sm_90"."""
    return LIMITS[target.removesuffix("a")]


def occupancy(target: str, registers: int, shared: int, threads: int) -> tuple[float, str]:
    """Resident share of the threads, and what limits it, of a block of `threads` with `shared` bytes."""
    of = limits(target)
    warps = -(-threads // of.warp)
    of_warp = -(-registers * of.warp // of.granularity) * of.granularity
    blocks = {
        "threads": of.threads // threads,
        "registers": of.registers // max(1, of_warp) // 4 * 4 // warps,
        "shared memory": of.shared // max(1, -(-(shared + of.reserved) // 128) * 128),
        "blocks": of.blocks,
    }
    limiter = min(blocks, key=lambda name: blocks[name])
    return blocks[limiter] * threads / of.threads, limiter
