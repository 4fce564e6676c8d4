"""Kernels and host reads of a step, counted as they would be on a GPU, without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from genfuse_bench.peers import Peer
from genfuse_bench.solvers import TIMED, Solver
from genfuse_bench.trajectories import Scheduler, StepObject, face, inputs


@dataclass(frozen=True)
class LaunchRow:
    """Of one competitor's step: calls that would launch a kernel, and reads that would wait for it."""

    op: str
    solver: str
    who: str
    kernels: float
    host_reads: float


_READS = ("aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::equal")
_NO_KERNEL = ("aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty", "aten::detach")


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations on tensors of the device: those given here, and whatever is computed from them.

    Views and empty tensors launch nothing. Tensors that a scheduler keeps on the host stay on the host.
    """

    def __init__(self, device_tensors: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels = 0
        self.host_reads = 0
        self._on_device: Any = WeakTensorKeyDictionary()
        for tensor in device_tensors:
            self._on_device[tensor] = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count, and run."""
        result = func(*args, **(kwargs or {}))
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(tensor in self._on_device for tensor in given):
            name = func.name().split(".")[0]
            self.host_reads += name in _READS
            self.kernels += name not in (*_READS, *_NO_KERNEL) and not func.is_view
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self._on_device[leaf] = True
        return result


def launch_rows(solver: Solver, peer: Peer | None) -> list[LaunchRow]:
    """Ours, the face, and the peer."""
    x, model_output = inputs((2, 4, 32, 32), torch.float32, torch.device("cpu"))
    runs: dict[str, StepObject | Scheduler] = {
        "ours": StepObject(solver, x, model_output),
        "face": face(solver, x, model_output),
    }
    if peer:
        runs[peer.name] = peer.trajectory(solver, x, model_output)
    return [_launch_row(solver, name, run) for name, run in runs.items()]


def _launch_row(solver: Solver, name: str, run: StepObject | Scheduler) -> LaunchRow:
    run.begin()
    with torch.no_grad(), Launches(run.device_tensors) as counted:
        for i in range(TIMED.start):
            run.step(i)
        kernels, host_reads = counted.kernels, counted.host_reads
        for i in TIMED:
            run.step(i)
    each = len(TIMED)
    return LaunchRow(
        op="launches",
        solver=solver.sampler,
        who=name,
        kernels=(counted.kernels - kernels) / each,
        host_reads=(counted.host_reads - host_reads) / each,
    )
