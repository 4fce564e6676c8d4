"""AMD's machine code as Triton's backend prints it: a kernel's resources and instructions."""

from __future__ import annotations

import re
from collections import Counter

from genfuse_bench.binary import Binary

_INSTRUCTION = re.compile(r"^\s+([vsdgb][a-z0-9]*_[a-z0-9_]+)\b", re.MULTILINE)
_SPECIAL = re.compile(r"v_(exp|log|rcp|rsq|sqrt|sin|cos)_")
_WIDTHS = {"dwordx4": "128", "dwordx3": "96", "dwordx2": "64", "dword": "32"}


def read(assembly: str, shared: int) -> Binary:
    """What one compiled kernel is; vector and matrix registers together, as they share a file.

    Scalar registers spill to lanes of a vector register; where there is none left, `local_bytes` shows it.
    """

    def resource(name: str) -> int:
        found = re.search(rf"^\s+[-\s]*\.{name}:\s+(\d+)", assembly, re.MULTILINE)
        if found is None:
            raise ValueError(f"the assembly does not say .{name}: another format than Triton 3.9's")
        return int(found[1])

    counts = Counter(_INSTRUCTION.findall(assembly))
    tensor = Counter({name: count for name, count in counts.items() if name.startswith("v_mfma_")})
    return Binary(
        registers=resource("vgpr_count"),
        spill_bytes=4 * resource("vgpr_spill_count"),
        local_bytes=resource("private_segment_fixed_size"),
        local_accesses=sum(count for name, count in counts.items() if name.startswith("scratch_")),
        shared_bytes=shared,
        tensor_core=tensor.total(),
        tensor_instruction="MFMA" if tensor else "",
        loads=_widths(counts, "load"),
        stores=_widths(counts, "store"),
        read_only={},
        special=sum(count for name, count in counts.items() if _SPECIAL.match(name)),
        instructions=counts.total(),
        least_issued=None,
        least_special=None,
    )


def _widths(counts: Counter[str], kind: str) -> dict[str, int]:
    """Instructions by bits a thread moves; a scalar's own loads are not among them."""
    widths: Counter[str] = Counter()
    for name, count in counts.items():
        if found := re.match(rf"(?:global|buffer)_{kind}_(?:lds_)?(\w+)", name):
            narrow = "8" if "byte" in found[1] else "16"
            widths[_WIDTHS.get(found[1].split("_")[0], narrow)] += count
    return dict(sorted(widths.items(), key=lambda item: int(item[0])))
