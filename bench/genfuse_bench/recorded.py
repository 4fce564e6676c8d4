"""What the calls that have cards move: recorded a call at a time, and kept until what a call depends on changes.

That is what it is given; the launcher's file and what it imports of the kernels'; of CUDA the sources of the ops that
these files launch; and what records it. So where one op changes, only calls that run its code are recorded anew, and a
run that was stopped goes on where it was.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from genfuse.env import version
from genfuse_bench.call import Call
from genfuse_bench.dependencies import file_of, imports
from genfuse_bench.moved import Moved
from genfuse_bench.steps import ROOT
from genfuse_kernels.common.cache_directory import cache_directory
from genfuse_kernels.common.cuda_kernel import fingerprint as source_of
from genfuse_kernels.common.cuda_kernel import write
from genfuse_kernels.cuda_kernels import cases

RECORDERS = {
    "triton": (
        "engine/genfuse/lab/interpreter.py",
        "tests/triton_proof/moved.py",
        "bench/genfuse_bench/call.py",
        "bench/genfuse_bench/moved.py",
    ),
    "cuda": (
        "engine/genfuse/lab/compiler.py",
        "engine/genfuse/lab/emulated.py",
        "engine/genfuse/lab/emulation",
        "tests/cuda_proof/build.py",
        "tests/cuda_proof/emulation/recorder.cpp",
        "tests/cuda_proof/moved.py",
        "kernels/genfuse_kernels/cuda_kernels.py",
        "bench/genfuse_bench/call.py",
        "bench/genfuse_bench/moved.py",
    ),
}
"""What runs a backend's calls and counts."""


def recorded(backend: str, dtype: torch.dtype) -> dict[tuple[str, str], Moved]:
    """By kernel and case, the first call of several; RuntimeError where a run fails.

    In a process of its own (`triton_proof.moved`, `cuda_proof.moved`), which the interpreter has to itself.
    """
    command = [sys.executable, "-m", f"{backend}_proof.moved", str(dtype).removeprefix("torch.")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"`{' '.join(command)}` failed:\n{run.stderr}")
    found: dict[tuple[str, str], Moved] = {}
    for line in run.stdout.splitlines():
        row = Moved(**json.loads(line))
        found.setdefault((row.kernel, row.case), row)
    return found


def kept(
    backend: str, calls: Iterable[Call], dtype: str, record: Callable[[Call], Iterable[Moved]]
) -> Iterator[Moved]:
    """What `record` finds of each call, or found the last time; in ``$GENFUSE_CACHE/cards``."""
    # All fingerprints come first: a call that is recorded changes tensors, of which some are another's.
    for call, key in [(call, fingerprint(backend, call)) for call in calls]:
        path = cache_directory() / "cards" / f"moved-{backend}-{dtype}-{key}.json"
        if not path.is_file():
            write(path, json.dumps([asdict(row) for row in record(call)]).encode())
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        yield from (Moved(**row) for row in rows)


def fingerprint(backend: str, call: Call) -> str:
    """Of everything that a recorded number could depend on."""
    versions = version("triton"), version("torch")
    named = versions, _named(call.function), call.case, call.kernels, call.flops, call.ring
    digest = hashlib.sha256(repr(named).encode())
    for part in _given(call):
        digest.update(part)
    for path in sources(backend, call):
        digest.update(path.encode())
        digest.update((ROOT / path).read_bytes())
    if backend == "cuda":
        for kernel in _compiled(tuple(sorted(_closure(tuple(_modules(call.function)))))):
            digest.update(kernel.encode())
    return digest.hexdigest()[:16]


def sources(backend: str, call: Call) -> list[str]:
    """Files that run the call, those of csrc apart, by their paths in the repository."""
    recorders = {path for of in RECORDERS[backend] for path in _files(of)}
    return sorted(recorders | _closure(tuple(_modules(call.function))))


def _given(call: Call) -> Iterator[bytes]:
    """Of the arguments: how tensors lie, what is in them, which of them are the same; all else as it is written."""
    leaves, form = tree_flatten((call.arguments, call.options))
    yield str(form).encode()
    addresses = [leaf.data_ptr() if isinstance(leaf, Tensor) else None for leaf in leaves]
    for leaf, address in zip(leaves, addresses, strict=True):
        if isinstance(leaf, Tensor):
            yield repr((leaf.shape, leaf.stride(), leaf.dtype, addresses.index(address))).encode()
            yield leaf.contiguous().flatten().view(torch.uint8).numpy().tobytes() if leaf.numel() else b""
        else:
            yield repr(leaf).encode()


def _parts(function: Any) -> Iterator[Any]:
    """A function; of a partial one what it is made of, names of keywords with it."""
    if not isinstance(function, functools.partial):
        yield function
        return
    for part in (function.func, *function.args, *itertools.chain(*sorted(function.keywords.items()))):
        yield from _parts(part)


def _named(function: Any) -> list[str]:
    """What the function, and those that it is made of, are called, and what else is bound in it."""
    return [getattr(part, "__qualname__", repr(part)) for part in _parts(function)]


def _modules(function: Any) -> Iterator[str]:
    """Where the function, and those that it is made of, are defined."""
    return (part.__module__ for part in _parts(function) if callable(part))


@functools.cache
def _closure(modules: tuple[str, ...]) -> frozenset[str]:
    """The modules' files, and what they import of the kernels' package, directly or not."""
    found: set[str] = set()
    pending = list(modules)
    while pending:
        path = file_of(ROOT, pending.pop())
        if path is not None and path not in found:
            found.add(path)
            pending += [
                module
                for module in imports((ROOT / path).read_text(encoding="utf-8"))
                if module.startswith("genfuse_kernels.")
            ]
    return frozenset(found)


@functools.cache
def _compiled(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Of the CUDA kernels of each op that these files launch: sources, all that they include, and options."""
    texts = [(ROOT / path).read_text(encoding="utf-8") for path in paths]
    named = {op for text in texts for op in re.findall(r'\bKernel\(\s*"(\w+)"', text)}
    return tuple(source for op, of_op in _by_op().items() if op in named for source in of_op)


@functools.cache
def _by_op() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for case in cases():
        found.setdefault(case.kernel.op, []).append(source_of(case.kernel))
    return found


def _files(path: str) -> list[str]:
    whole = ROOT / path
    each = sorted(whole.iterdir()) if whole.is_dir() else [whole]
    return [str(file.relative_to(ROOT)) for file in each if file.is_file()]
