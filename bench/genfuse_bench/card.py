"""One kernel card: what a kernel costs on a target. What its figures mean: `cards`."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import torch

from genfuse_bench import amdgcn, sass
from genfuse_bench.binary import Binary, kept
from genfuse_bench.moved import Moved
from genfuse_bench.occupancy import limits, occupancy
from genfuse_bench.peaks import peak


@dataclass(frozen=True)
class Card(Binary):
    """One kernel, specialised for one call, on one target; `blocks` and what follows it of that call's launches.

    limiter       what keeps more blocks from a multiprocessor
    uniform       loads of a number that all threads share, among `loads`
    blocks        0: no call of it was recorded
    requested, touched, minimum, flops, call_touched, call_minimum   of `Moved`
    """

    backend: str
    kernel: str
    case: str
    target: str
    dtype: str
    threads: int
    occupancy: float
    limiter: str
    uniform: int
    blocks: int = 0
    requested: int = 0
    touched: int = 0
    minimum: int = 0
    flops: int = 0
    call_touched: int = 0
    call_minimum: int = 0

    @property
    def spills(self) -> bool:
        """Whether any value lives in local memory."""
        return bool(self.spill_bytes or self.local_bytes or self.local_accesses)

    @property
    def older(self) -> bool:
        """Whether it was committed before cards had kinds of tensor-core instructions and shortest ways."""
        return self.special is None

    @property
    def wide(self) -> float:
        """Share of accesses of 128 bits or more among `loads` and `stores`, those of uniform numbers apart."""
        accesses = Counter(self.loads) + Counter(self.stores)
        wide = sum(count for width, count in accesses.items() if int(width) >= 128)
        return min(1.0, wide / max(1, accesses.total() - self.uniform))

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.backend} {self.kernel} ({self.case}) {self.target} {self.dtype}"

    @property
    def floors(self) -> dict[str, float]:
        """Microseconds that the target's GPU takes at least, by its data sheet: each bound alone."""
        if not self.blocks:
            return {}
        of = peak(self.target)
        rate = of.half if self.dtype in ("bfloat16", "float16") else of.tf32
        if not self.tensor_core:
            rate = of.double if self.dtype == "float64" else of.single
        warps = self.blocks * -(-self.threads // limits(self.target).warp)
        clocks = of.processors * of.clock
        found = {"memory": self.minimum / of.memory, "arithmetic": self.flops / rate}
        if self.least_issued is not None:
            found["issue"] = warps * self.least_issued / (clocks * of.issue)
        if self.least_special is not None:
            found["special"] = warps * 32 * self.least_special / (clocks * of.special)
        return {name: seconds * 1e6 for name, seconds in found.items()}


def cuda_card(
    cubin: bytes,
    kernel: str,
    case: str,
    target: str,
    dtype: torch.dtype,
    threads: int,
    shared: int | None = None,
    moved: Moved | None = None,
) -> Card:
    """The card of a kernel that NVRTC compiled.

    shared    bytes of dynamic shared memory; None: what the kernel itself declares, by NVRTC's count
    """
    # NVRTC counts what the system takes from sm_90 on, of a kernel with any.
    reserved = limits(target).reserved if int(re.sub(r"\D", "", target)) >= 90 else 0
    binary = kept(cubin, lambda: sass.read(cubin, reserved))
    return _card(binary, shared, moved, "cuda", kernel, case, target, dtype, threads, 0)


def triton_card(
    compiled: Any, kernel: str, case: str, target: str, dtype: torch.dtype, moved: Moved | None = None
) -> Card:
    """The card of a kernel that Triton compiled, for NVIDIA or AMD."""
    metadata, assembly = compiled.metadata, compiled.asm
    if "amdgcn" in assembly:
        text = assembly["amdgcn"]
        binary = kept(text.encode(), lambda: amdgcn.read(text, metadata.shared))
        uniform = 0  # scalar registers have loads of their own
    else:
        cubin = assembly["cubin"]
        binary = kept(cubin, lambda: sass.read(cubin, 0))
        uniform = len(re.findall(r"tt\.load %[^\n]* : !tt\.ptr<", assembly["ttgir"]))
    threads = metadata.num_warps * limits(target).warp
    return _card(binary, metadata.shared, moved, "triton", kernel, case, target, dtype, threads, uniform)


def _card(
    binary: Binary,
    shared: int | None,
    moved: Moved | None,
    backend: str,
    kernel: str,
    case: str,
    target: str,
    dtype: torch.dtype,
    threads: int,
    uniform: int,
) -> Card:
    figures: dict[str, Any] = asdict(binary) | ({} if moved is None else moved.figures)
    if shared is not None:
        figures["shared_bytes"] = shared
    share, limiter = occupancy(target, binary.registers, figures["shared_bytes"], threads)
    return Card(
        **figures,
        backend=backend,
        kernel=kernel,
        case=case,
        target=target,
        dtype=str(dtype).removeprefix("torch."),
        threads=threads,
        occupancy=share,
        limiter=limiter,
        uniform=uniform,
    )
