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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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


@contextmanager
def standin_driver(target: int) -> Iterator[None]:
    """Make Triton compile for `sm_<target>` in this process, with no GPU and no driver."""
    from triton.backends.compiler import GPUTarget
    from triton.backends.driver import DriverBase
    from triton.runtime import driver

    class StandIn(DriverBase):  # type: ignore[misc]
        """Knows a target and nothing else."""

        @classmethod
        def is_active(cls) -> bool:
            return True

        def get_current_target(self) -> Any:
            return GPUTarget("cuda", target, 32)

        def get_active_torch_device(self) -> torch.device:
            return torch.device("cpu")

        def get_current_device(self) -> int:
            return target  # Triton caches by device: one a target

        def get_current_stream(self, device: int) -> int:
            return 0

        def get_benchmarker(self) -> Any:
            raise RuntimeError("a stand-in driver times nothing")

        def map_python_to_cpp_type(self, ty: str) -> str:
            return ty

    before = driver._active
    driver.set_active(StandIn())
    try:
        yield
    finally:
        driver._active = before


@contextmanager
def compiling_only() -> Iterator[list[tuple[str, Any]]]:
    """Inside, kernels are compiled and not launched: (name, binary) of each launch, in order."""
    from triton.runtime.jit import JITFunction

    run = JITFunction.run
    found: list[tuple[str, Any]] = []

    def compile_only(self: Any, *arguments: Any, warmup: bool, **options: Any) -> Any:
        found.append((self.fn.__name__, run(self, *arguments, warmup=True, **options)))
        return found[-1][1]

    JITFunction.run = compile_only
    try:
        yield found
    finally:
        JITFunction.run = run


def compile_call(module: Any, op: str, *arguments: Any, **options: Any) -> Any:
    """The binary that `module.<op>(...)` would launch, from its launcher's own arguments."""
    with compiling_only() as found:
        getattr(module, op)(*arguments, **options)
    return dict(found)[f"{op}_kernel"]


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


def compiled_calls(dtype: torch.dtype) -> Iterator[tuple[str, str, Any]]:
    """(kernel, case, binary) of the calls that have a card, for the active target."""
    yield from sampler_calls(dtype)
    if dtype != torch.float64:
        yield from norm_calls(dtype)


def norm_calls(dtype: torch.dtype) -> Iterator[tuple[str, str, Any]]:
    """Norms of 128 channels at 64 x 64, each kernel once a case."""
    from genfuse_kernels.conv_norm_act.settings import Settings
    from genfuse_kernels.norm_act.triton_impl import norm_act

    parameters = {"norm_weight": torch.empty(128), "norm_bias": torch.empty(128)}
    seeds = torch.zeros(4, dtype=torch.int64)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x, y = (torch.empty(4, 128, 64, 64, dtype=dtype, memory_format=memory_format) for _ in "xy")
        layout = "channels_last" if memory_format == torch.channels_last else "contiguous"
        silu = Settings(norm="group", num_groups=32, activation="silu")
        calls: dict[str, tuple[Settings, dict[str, Any]]] = {
            "group, silu": (silu, {}),
            "group, silu, dropout, residual, statistics": (
                silu._replace(dropout=0.1),
                {"residual": y, "seeds": seeds, "stats_out": torch.empty(4, 128, 2)},
            ),
            "layer_pixel, gelu": (Settings(norm="layer_pixel", activation="gelu"), {}),
            "batch, relu, pool": (Settings(norm="batch", activation="relu", pool=(2, 2)), {}),
        }
        for case, (settings, given) in list(calls.items())[: 2 if layout == "contiguous" else None]:
            out = y[:, :, :: settings.pool[0], :: settings.pool[1]].clone(memory_format=memory_format)
            with compiling_only() as found:
                norm_act(out, given.pop("stats_out", None), x, settings, **parameters, **given)
            for kernel, binary in dict(found).items():
                yield kernel.removesuffix("_kernel"), f"{case}, {layout}", binary


def sampler_calls(dtype: torch.dtype) -> Iterator[tuple[str, str, Any]]:
    """The ops of a sampler; the index is on the device."""
    from genfuse_kernels.philox_normal import triton_impl as philox_normal
    from genfuse_kernels.sampler_reduce import triton_impl as sampler_reduce
    from genfuse_kernels.sampler_step import triton_impl as sampler_step

    compute = torch.float64 if dtype == torch.float64 else torch.float32
    table, scales = torch.empty(8, 32, dtype=compute), torch.empty(4, 2, dtype=compute)
    index, seeds = torch.zeros(1, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)
    none = dict.fromkeys(("uncond", "variance", "history", "noise", "noise_prev", "seeds", "scales"))
    for memory_format in ("contiguous", "channels_last"):

        def new(*leading: int, memory_format: str = memory_format) -> Tensor:
            tensor = torch.empty(*leading, 4, 64, 64, dtype=dtype)
            return (
                tensor if memory_format == "contiguous" else tensor.view(*leading, 64, 64, 4).movedim(-1, -3)
            )

        x = new(4)

        def step(case: str, x: Tensor = x, **given: Any) -> tuple[str, str, Any]:
            inputs = none | {"stream": 0} | given
            call = (new(4), None, x, new(4), table, index)
            return "sampler_step", case, compile_call(sampler_step, "sampler_step", *call, **inputs)

        everything = {
            "uncond": new(4),
            "variance": new(4),
            "history": new(4, 4),
            "seeds": seeds,
            "scales": scales,
        }
        yield step(f"deterministic, {memory_format}")
        yield step(f"multistep, {memory_format}", history=new(2, 4))
        yield step(f"stochastic, {memory_format}", seeds=seeds)
        yield step(f"everything, {memory_format}", **everything)
        binary = compile_call(philox_normal, "philox_normal", new(4), seeds, index, 0)
        yield "philox_normal", memory_format, binary
        reduced = (scales, x, new(4), table, index)
        binary = compile_call(sampler_reduce, "sampler_reduce", *reduced, uncond=new(4))
        yield "sampler_reduce", memory_format, binary


def cards(targets: tuple[int, ...] = TARGETS, dtypes: tuple[torch.dtype, ...] = DTYPES) -> list[Card]:
    """Compile everything for every target and read the cards; RuntimeError under TRITON_INTERPRET."""
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        raise RuntimeError("TRITON_INTERPRET is set; cards need the compiler: start a process without it")
    found = []
    for target in targets:
        with standin_driver(target):
            for dtype in dtypes:
                for op, case, binary in compiled_calls(dtype):
                    found.append(read_card(binary, op, case, target, dtype))
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
        "| loads | stores | instructions |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        loads, stores = (
            ", ".join(f"{count}×{width}" for width, count in widths.items())
            for widths in (row.loads, row.stores)
        )
        lines.append(
            f"| {row.kernel} | {row.case} | {row.target} | {row.dtype} | {row.registers} "
            f"| {row.spill_bytes}, {row.local_bytes} | {row.shared_bytes} | {row.occupancy:.0%} "
            f"| {loads} | {stores} | {row.instructions} |"
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
