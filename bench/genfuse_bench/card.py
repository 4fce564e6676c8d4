"""One kernel card: what a kernel costs on a target, read from its binary with the tools that Triton brings."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

Limits = tuple[int, int, int, int]
SM_LIMITS: dict[int, Limits] = {
    80: (65536, 164 * 1024, 2048, 32),
    90: (65536, 228 * 1024, 2048, 32),
    100: (65536, 228 * 1024, 2048, 32),
}
"""Registers, bytes of shared memory, threads and blocks of a multiprocessor (CUDA C++ Programming Guide)."""

RESERVED_SHARED = 1024
"""Bytes of shared memory that the system takes of each block; NVRTC counts them from sm_90 on, of a kernel with any."""


@dataclass(frozen=True)
class Card:
    """One kernel, specialised for one call, on one target.

    spill_bytes   stack bytes of a thread; local_bytes: bytes of local memory declared. Both 0, or it spills.
    local_accesses  load and store instructions on local memory
    occupancy     share of a multiprocessor's threads that can be resident
    loads, stores instructions on global memory by width; in Triton scalars of the row and the seeds among them
    read_only     loads of the read-only path, likewise: what CUDA kernels read a sample's row and seed with
    """

    backend: str
    kernel: str
    case: str
    target: str
    dtype: str
    registers: int
    spill_bytes: int
    local_bytes: int
    local_accesses: int
    shared_bytes: int
    threads: int
    occupancy: float
    tensor_core: int
    loads: dict[str, int]
    stores: dict[str, int]
    read_only: dict[str, int]
    instructions: int

    @property
    def spills(self) -> bool:
        """Whether any value lives in local memory."""
        return bool(self.spill_bytes or self.local_bytes or self.local_accesses)

    @property
    def wide(self) -> float:
        """Share of 128-bit accesses among `loads` and `stores`."""
        accesses = Counter(self.loads) + Counter(self.stores)
        return accesses["128"] / max(1, accesses.total())


def _tool(name: str, cubin: bytes, *options: str) -> str:
    import triton

    path = Path(triton.__file__).parent / "backends/nvidia/bin" / name
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([path, *options, file.name], capture_output=True, text=True, check=True).stdout


_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]+)", re.MULTILINE)


def _widths(instructions: Counter[str], prefix: str, *, constant: bool = False) -> dict[str, int]:
    """Instructions by bits a thread moves: LDG.E.128 → 128, LDG.E.U16 → 16, no suffix → 32.

    constant    those of the read-only path, LDG.E.CONSTANT, instead of the others
    """
    widths: Counter[str] = Counter()
    for name, count in instructions.items():
        first, *suffixes = name.split(".")
        if first == prefix and ("CONSTANT" in suffixes) == constant:
            suffix = re.search(r"\.[US]?(8|16|64|128)(\.|$)", name)
            widths[suffix[1] if suffix else "32"] += count
    return dict(sorted(widths.items(), key=lambda item: int(item[0])))


def capability(target: str) -> int:
    """90 of "sm_90a"."""
    return int(re.sub(r"\D", "", target))


def occupancy(target: int, registers: int, shared: int, threads: int) -> float:
    """Resident share of a multiprocessor's threads: registers by 256 a warp, shared memory by 128 bytes."""
    all_registers, all_shared, all_threads, all_blocks = SM_LIMITS[target]
    warps = threads // 32
    by_registers = all_registers // (-(-registers * 32 // 256) * 256) // 4 * 4 // warps
    by_shared = all_shared // (-(-(shared + RESERVED_SHARED) // 128) * 128)
    return min(by_registers, by_shared, all_threads // threads, all_blocks) * threads / all_threads


def read_card(
    cubin: bytes,
    backend: str,
    kernel: str,
    case: str,
    target: str,
    dtype: torch.dtype,
    threads: int,
    shared: int | None = None,
) -> Card:
    """The card of one compiled kernel.

    shared    bytes of shared memory; None: what the kernel itself declares, by NVRTC's count
    """
    usage = _tool("cuobjdump", cubin, "--dump-resource-usage")
    resources = {name: int(value) for name, value in re.findall(r"(\w+):(\d+)", usage.split("Function")[-1])}
    instructions = Counter(_INSTRUCTION.findall(_tool("nvdisasm", cubin, "-c")))
    if shared is None:
        shared = max(0, resources["SHARED"] - (RESERVED_SHARED if capability(target) >= 90 else 0))
    return Card(
        backend=backend,
        kernel=kernel,
        case=case,
        target=target,
        dtype=str(dtype).removeprefix("torch."),
        registers=resources["REG"],
        spill_bytes=resources["STACK"],
        local_bytes=resources["LOCAL"],
        local_accesses=sum(n for name, n in instructions.items() if name.split(".")[0] in ("LDL", "STL")),
        shared_bytes=shared,
        threads=threads,
        occupancy=occupancy(capability(target), resources["REG"], shared, threads),
        tensor_core=sum(n for name, n in instructions.items() if re.match(r"\w*MMA", name)),
        loads=_widths(instructions, "LDG"),
        stores=_widths(instructions, "STG"),
        read_only=_widths(instructions, "LDG", constant=True),
        instructions=sum(instructions.values()),
    )
