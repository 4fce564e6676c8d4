"""The memory that a kernel's launches touch, as it was recorded where they ran without a GPU.

Triton's under the interpreter (`tests/triton_proof/moved.py`), CUDA's on the host emulation
(`tests/cuda_proof/moved.py`): each a process of its own, which prints a line of JSON a kernel.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from genfuse_bench.steps import ROOT
from genfuse_kernels.common.cache_directory import cache_directory
from genfuse_kernels.common.cuda_kernel import write

SECTOR = 32
"""Bytes of a sector, the least that memory moves."""

SOURCES = {
    "triton": (
        "kernels/genfuse_kernels",
        "engine/genfuse/lab",
        "tests/triton_proof",
        "bench/genfuse_bench",
    ),
    "cuda": (
        "kernels/genfuse_kernels",
        "csrc",
        "engine/genfuse/lab",
        "tests/triton_proof",
        "tests/cuda_proof",
        "bench/genfuse_bench",
    ),
}


@dataclass(frozen=True)
class Moved:
    """Of one kernel, in all its launches of one call.

    kernel     without "_kernel"; of CUDA the instantiation's words
    requested  bytes of all loads and stores, lane by lane
    touched    bytes of the sectors that a launch loads, each once, and of those that it stores
    minimum    bytes of the tensors that the kernel touches, each element of them once a direction
    flops      of a matrix product by its definition, else what the interpreter computed; 0: not counted
    call_touched  of all kernels of the call; call_minimum: of the tensors that the call was given or returned alone, so
               that what passes between its kernels through memory is beyond it
    """

    kernel: str
    case: str
    dtype: str
    blocks: int
    requested: int
    touched: int
    minimum: int
    flops: int
    call_touched: int
    call_minimum: int

    @property
    def figures(self) -> dict[str, int]:
        """What a card has of it."""
        return {
            name: value for name, value in asdict(self).items() if name not in ("kernel", "case", "dtype")
        }


def recorded(backend: str, dtype: torch.dtype) -> dict[tuple[str, str], Moved]:
    """By kernel and case; kept in ``$GENFUSE_CACHE/cards`` until a source changes. RuntimeError where a run fails."""
    name = str(dtype).removeprefix("torch.")
    path = cache_directory() / "cards" / f"moved-{backend}-{name}-{_fingerprint(backend)}.json"
    if not path.is_file():
        command = [sys.executable, "-m", f"{backend}_proof.moved", name]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"}
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(f"`{' '.join(command)}` failed:\n{run.stderr}")
        write(path, run.stdout.encode())
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    return {(row["kernel"], row["case"]): Moved(**row) for row in rows}


def _fingerprint(backend: str) -> str:
    """Of every source that a recorded number could depend on."""
    digest = hashlib.sha256()
    files = [path for of in SOURCES[backend] for path in sorted((ROOT / of).rglob("*")) if _is_source(path)]
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _is_source(path: Path) -> bool:
    if path.parent.name == "genfuse_bench":
        return path.name.startswith(("call", "card_c"))
    if path.name.startswith(("test_", "cpu")):
        return False
    return path.suffix in (".py", ".cu", ".h") or path.parent.name == "emulation"
