"""Builds CUDA kernels ahead of time: machine code for the targets, and PTX for the newest of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from genfuse_kernels.common import cuda_built, nvrtc
from genfuse_kernels.common.cuda_driver import LEAST_CAPABILITY
from genfuse_kernels.common.cuda_kernel import STORED, Kernel, compile_to, fingerprint, key, write

ANY_DTYPE = ("fold_moments", "fold_weights")
"""Kernels that tensors of every dtype need: statistics and gradients of weights are float32."""


def check_targets(targets: Sequence[str]) -> list[str]:
    """The targets, the PTX besides. ValueError for what NVRTC, or the kernels, do not know."""
    known = nvrtc.architectures()
    for target in targets:
        try:
            capability = nvrtc.named(target)
        except ValueError:
            capability = (0, 0)
        if (
            not target.startswith("sm_")
            or capability[0] * 10 + capability[1] not in known
            or capability < LEAST_CAPABILITY
        ):
            of = ", ".join(f"sm_{number}" for number in known if number >= 80)
            raise ValueError(
                f"target is {target!r}, expected one that NVRTC {nvrtc.version()} and the kernels know: {of}, from "
                "sm_90 on with an a for all that the device has"
            )
    if not targets:
        raise ValueError("there are no targets, expected some, as sm_80,sm_90a")
    newest = max(nvrtc.named(target) for target in targets)
    return [*dict.fromkeys(targets), f"compute_{newest[0]}{newest[1]}"]


def of_dtypes(dtypes: Sequence[str] | None = None) -> list[Kernel]:
    """The kernels of tensors of these dtypes; None: all. ValueError for a name that there is not."""
    from genfuse_kernels.cuda_kernels import kernels  # which knows every op, and this is a part of each

    known = tuple(map(_name, STORED))
    for name in dtypes or ():
        if name not in known:
            raise ValueError(f"dtype is {name!r}, expected some of {', '.join(known)}")
    wanted = known if dtypes is None else dtypes
    return [kernel for kernel in kernels() if _name(kernel.dtype) in wanted or kernel.function in ANY_DTYPE]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def build(
    folder: Path,
    targets: Sequence[str],
    kernels: Sequence[Kernel],
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> int:
    """Compile what is not there yet by the last index, write the index, remove what it does not name; the bytes.

    targets   as "sm_80", "sm_90a"; PTX for the newest is made besides
    tell      hears how many binaries of how many there are

    Errors as `cuda_kernel.compile_to`.
    """
    of_targets = check_targets(targets)
    jobs = [(kernel, target) for kernel in kernels for target in of_targets]
    places = [folder / _file(kernel, target) for kernel, target in jobs]
    sound = _sound(folder)

    def make(job: tuple[Kernel, str], path: Path) -> None:
        if path.name not in sound:
            compile_to(path, *job)

    with ThreadPoolExecutor(_workers()) as pool:
        for done, _ in enumerate(pool.map(make, jobs, places), 1):
            tell(done, len(jobs))
    index: dict[str, Any] = {
        "format": cuda_built.FORMAT,
        "compiler": f"NVRTC {nvrtc.version()}",
        "targets": of_targets,
        "sources": {str(kernel): fingerprint(kernel) for kernel in kernels},
        "kernels": {str(kernel): {} for kernel in kernels},
    }
    size = 0
    for (kernel, target), path in zip(jobs, places, strict=True):
        size += path.stat().st_size
        binary = cuda_built.Binary(path.name, _hash(path))
        index["kernels"][str(kernel)][target] = binary._asdict()
    write(folder / cuda_built.INDEX, json.dumps(index, indent=1).encode())
    cuda_built.read.cache_clear()
    for path in folder.glob("*-*-*.bin"):
        if path not in places:
            path.unlink()
    return size


def _sound(folder: Path) -> set[str]:
    """Files that are as an earlier index says."""
    try:
        kernels = json.loads((folder / cuda_built.INDEX).read_text(encoding="utf-8"))["kernels"]
        binaries = {b["file"]: b["sha256"] for of in kernels.values() for b in of.values()}
        there = {name: sha256 for name, sha256 in binaries.items() if (folder / name).is_file()}
        return {name for name, sha256 in there.items() if _hash(folder / name) == sha256}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _file(kernel: Kernel, target: str) -> str:
    return f"{kernel.function}-{target}-{key(kernel, target)}.bin"


def _workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
