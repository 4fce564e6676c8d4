"""Ladders whose versions are Python files: of what is composed of several ops, and has no kernel of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from genfuse_bench.lab import LabRow
from genfuse_bench.timing import Call, Effort, measure


def read_version(path: Path, function: str, arguments: str) -> Callable[..., Any]:
    """The file's function of that name. ValueError where it has none."""
    found = importlib.util.spec_from_file_location(path.stem, path)
    if found is None or found.loader is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    version = getattr(module, function, None)
    if not callable(version):
        raise ValueError(f"{path} has no function {function}({arguments})")
    made: Callable[..., Any] = version
    return made


def rows(
    op: str,
    workload: str,
    shape: tuple[int, ...],
    runs: Mapping[str, Callable[[], object]],
    files: Mapping[str, object],
    errors: Mapping[str, float],
    bound: float,
    effort: Effort,
) -> list[LabRow]:
    """Those of `runs` whose error is within the bound, timed in turn; `files`: which of them are versions."""
    refused = {
        name: f"error {error:.1e}, expected at most {bound:.1e}"
        for name, error in errors.items()
        if not error <= bound
    }
    right = {name: Call(run) for name, run in runs.items() if name not in refused}
    taken = measure(right, range(1), torch.device("cpu"), effort)
    return [
        LabRow(
            op=op,
            workload=workload,
            shape=shape,
            dtype="float32",
            device="cpu",
            threads=torch.get_num_threads(),
            who=name,
            file=name if name in files else None,
            hash=None,
            us=taken.us.get(name),
            fastest_us=taken.fastest_us.get(name),
            error=errors[name],
            refused=refused.get(name),
            contended=taken.contended,
        )
        for name in runs
    ]
