"""NVIDIA's machine code: a kernel's resources and instructions, read with the tools that Triton brings."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from genfuse_bench.binary import Binary


class _Instruction(NamedTuple):
    """`conditional`: under a predicate, or a branch on one."""

    name: str
    conditional: bool
    target: str

    @property
    def kind(self) -> str:
        return self.name.split(".")[0]


_LINE = re.compile(r"^\s*/\*[0-9a-f]+\*/\s+(@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*([^;]*);")
_LABEL = re.compile(r"^(\.L\w+):")
_STORES = ("STG", "RED", "REDG", "ATOMG", "UTMASTG")


def read(cubin: bytes, reserved: int) -> Binary:
    """What one compiled kernel is. `reserved`: bytes of shared memory that its count has of the system's."""
    usage = tool("cuobjdump", cubin, "--dump-resource-usage")
    resources = {name: int(value) for name, value in re.findall(r"(\w+):(\d+)", usage.split("Function")[-1])}
    code, labels = _parsed(tool("nvdisasm", cubin, "-c"))
    counts = Counter(instruction.name for instruction in code)
    tensor = Counter(found[0] for name in counts.elements() if (found := re.match(r"\w*MMA", name)))
    loads = _widths(counts, "LDG") + _widths(counts, "LDGSTS")
    return Binary(
        registers=resources["REG"],
        spill_bytes=resources["STACK"],
        local_bytes=resources["LOCAL"],
        local_accesses=sum(instruction.kind in ("LDL", "STL") for instruction in code),
        shared_bytes=max(0, resources["SHARED"] - reserved),
        tensor_core=tensor.total(),
        tensor_instruction=" ".join(sorted(tensor)),
        loads=_sorted(loads),
        stores=_sorted(_widths(counts, "STG")),
        read_only=_sorted(_widths(counts, "LDG", constant=True)),
        special=sum(instruction.kind == "MUFU" for instruction in code),
        instructions=len(code),
        least_issued=_least(code, labels, lambda instruction: 1),
        least_special=_least(code, labels, lambda instruction: int(instruction.kind == "MUFU")),
    )


def tool(name: str, cubin: bytes, *options: str) -> str:
    import triton

    path = Path(triton.__file__).parent / "backends/nvidia/bin" / name
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([path, *options, file.name], capture_output=True, text=True, check=True).stdout


def _parsed(text: str) -> tuple[list[_Instruction], dict[str, int]]:
    code: list[_Instruction] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if label := _LABEL.match(line):
            labels[label[1]] = len(code)
        elif found := _LINE.match(line):
            target = re.search(r"`\((\.L\w+)\)", found[3])
            on_predicate = bool(found[1]) or not found[3].startswith("`")
            code.append(_Instruction(found[2], on_predicate, target[1] if target else ""))
    return code, labels


def _widths(counts: Counter[str], kind: str, *, constant: bool = False) -> Counter[str]:
    """Instructions by bits a thread moves: LDG.E.128 → 128, LDG.E.U16 → 16, no suffix → 32.

    constant    those of the read-only path, LDG.E.CONSTANT, instead of the others
    """
    widths: Counter[str] = Counter()
    for name, count in counts.items():
        first, *suffixes = name.split(".")
        if first == kind and ("CONSTANT" in suffixes) == constant:
            suffix = re.search(r"\.[US]?(8|16|64|128|256)(\.|$)", name)
            widths[suffix[1] if suffix else "32"] += count
    return widths


def _sorted(widths: Counter[str]) -> dict[str, int]:
    return dict(sorted(widths.items(), key=lambda item: int(item[0])))


def _least(
    code: list[_Instruction], labels: dict[str, int], weight: Callable[[_Instruction], int]
) -> int | None:
    """The least sum of weights, 0 or 1, on any way from the entry past a store to the end; None: a jump is unknown.

    A loop's body counts once where every way leads through it, and a called function not at all.
    """
    if any(instruction.kind in ("BRX", "JMX", "JMP") for instruction in code):
        return None
    least = {(0, False): 0}
    waiting = deque(least)
    while waiting:
        at, stored = waiting.popleft()
        if at >= len(code):
            continue
        instruction, cost = code[at], least[at, stored] + weight(code[at])
        stored = stored or instruction.kind in _STORES
        ends = instruction.kind in ("EXIT", "RET")
        if ends and stored and instruction.kind == "EXIT":
            return cost
        branches = instruction.kind == "BRA" and instruction.target
        following = [labels.get(instruction.target, len(code))] if branches else []
        if not (branches or ends) or instruction.conditional:
            following.append(at + 1)
        for then in following:
            if cost < least.get((then, stored), 1 << 30):
                least[then, stored] = cost
                (waiting.append if weight(instruction) else waiting.appendleft)((then, stored))
    return None
