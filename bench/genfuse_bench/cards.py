"""Kernel cards: what each Triton kernel costs on each target, read from the binary, without a GPU.

    python -m genfuse_bench.cards        writes bench/results/cards.json and bench/results/cards.md

A stand-in driver names the target; each launcher runs on CPU tensors and its kernels are compiled only, so that the
specialisation is the real one. ptxas, cuobjdump and nvdisasm come with Triton. A card is a floor and a gate (no spill,
128-bit accesses where the layout has them), never a time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from genfuse_bench.card_calls import all_calls
from genfuse_bench.compiled import standin_driver

Calls = Callable[[torch.dtype], Iterator[tuple[str, str, Any]]]

RESULTS = Path(__file__).parents[1] / "results"
TARGETS = (80, 90, 100)
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

Limits = tuple[int, int, int, int]
SM_LIMITS: dict[int, Limits] = {
    80: (65536, 164 * 1024, 2048, 32),
    90: (65536, 228 * 1024, 2048, 32),
    100: (65536, 228 * 1024, 2048, 32),
}
"""Registers, bytes of shared memory, threads and blocks of a multiprocessor (CUDA C++ Programming Guide)."""


@dataclass(frozen=True)
class Card:
    """One kernel, specialised for one call, on one target.

    spill_bytes   stack bytes of a thread; local_bytes: bytes of local memory declared. Both 0, or it spills.
    local_accesses  load and store instructions on local memory
    occupancy     share of a multiprocessor's threads that can be resident
    loads, stores instructions on global memory by width, scalars of the row and the seeds among them
    """

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
    instructions: int

    @property
    def spills(self) -> bool:
        """Whether any value lives in local memory."""
        return bool(self.spill_bytes or self.local_bytes or self.local_accesses)


def _tool(name: str, cubin: bytes, *options: str) -> str:
    import triton

    path = Path(triton.__file__).parent / "backends/nvidia/bin" / name
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([path, *options, file.name], capture_output=True, text=True, check=True).stdout


_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]+)", re.MULTILINE)


def _widths(instructions: Counter[str], prefix: str) -> dict[str, int]:
    """Instructions by bits a thread moves: LDG.E.128 → 128, LDG.E.U16 → 16, no suffix → 32."""
    widths: Counter[str] = Counter()
    for name, count in instructions.items():
        if name.split(".")[0] == prefix:
            suffix = re.search(r"\.[US]?(8|16|64|128)(\.|$)", name)
            widths[suffix[1] if suffix else "32"] += count
    return dict(sorted(widths.items(), key=lambda item: int(item[0])))


def occupancy(target: int, registers: int, shared: int, threads: int) -> float:
    """Resident share of a multiprocessor's threads: registers by 256 a warp, shared memory by 128 bytes."""
    all_registers, all_shared, all_threads, all_blocks = SM_LIMITS[target]
    warps = threads // 32
    by_registers = all_registers // (-(-registers * 32 // 256) * 256) // 4 * 4 // warps
    by_shared = all_shared // (-(-(shared + 1024) // 128) * 128)
    return min(by_registers, by_shared, all_threads // threads, all_blocks) * threads / all_threads


def read_card(compiled: Any, kernel: str, case: str, target: int, dtype: torch.dtype) -> Card:
    """The card of one compiled kernel."""
    usage = _tool("cuobjdump", compiled.asm["cubin"], "--dump-resource-usage")
    resources = {name: int(value) for name, value in re.findall(r"(\w+):(\d+)", usage.split("Function")[-1])}
    instructions = Counter(_INSTRUCTION.findall(_tool("nvdisasm", compiled.asm["cubin"], "-c")))
    threads = compiled.metadata.num_warps * 32
    return Card(
        kernel=kernel,
        case=case,
        target=f"sm_{target}",
        dtype=str(dtype).removeprefix("torch."),
        registers=resources["REG"],
        spill_bytes=resources["STACK"],
        local_bytes=resources["LOCAL"],
        local_accesses=sum(n for name, n in instructions.items() if name.split(".")[0] in ("LDL", "STL")),
        shared_bytes=compiled.metadata.shared,
        threads=threads,
        occupancy=occupancy(target, resources["REG"], compiled.metadata.shared, threads),
        tensor_core=sum(n for name, n in instructions.items() if re.match(r"\w*MMA", name)),
        loads=_widths(instructions, "LDG"),
        stores=_widths(instructions, "STG"),
        instructions=sum(instructions.values()),
    )


def cards(
    targets: tuple[int, ...] = TARGETS, dtypes: tuple[torch.dtype, ...] = DTYPES, calls: Calls = all_calls
) -> list[Card]:
    """Compile the calls for every target and read the cards; RuntimeError under TRITON_INTERPRET."""
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        raise RuntimeError("TRITON_INTERPRET is set; cards need the compiler: start a process without it")
    found = []
    for target in targets:
        with standin_driver(target):
            for dtype in dtypes:
                for kernel, case, binary in calls(dtype):
                    found.append(read_card(binary, kernel, case, target, dtype))
    return found


def markdown(rows: list[Card]) -> str:
    """The cards as a table."""
    lines = [
        "# Kernel cards",
        "",
        "Read from binaries compiled offline, on no GPU: `python -m genfuse_bench.cards`. Loads and stores are",
        "instructions by bits a thread moves. None of this is a time.",
        "",
        "| kernel | case | target | dtype | registers | spill, local (bytes) | shared (bytes) | occupancy "
        "| tensor cores | loads | stores | instructions |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        loads, stores = (
            ", ".join(f"{count}×{width}" for width, count in widths.items())
            for widths in (row.loads, row.stores)
        )
        lines.append(
            f"| {row.kernel} | {row.case} | {row.target} | {row.dtype} | {row.registers} "
            f"| {row.spill_bytes}, {row.local_bytes} | {row.shared_bytes} | {row.occupancy:.0%} "
            f"| {row.tensor_core} | {loads} | {stores} | {row.instructions} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the cards; fail on a spill."""
    rows = cards()
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "cards.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    (RESULTS / "cards.md").write_text(markdown(rows))
    spilled = [f"{row.kernel} ({row.case}) {row.target} {row.dtype}" for row in rows if row.spills]
    if spilled:
        raise SystemExit(f"spills to local memory: {'; '.join(spilled)}")


if __name__ == "__main__":
    main()
