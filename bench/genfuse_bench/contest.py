"""Everyone on one workload in this process: held against float64 first, then timed in turn."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import genfuse
from genfuse_bench.measurement import Window
from genfuse_bench.module_peers import ModulePeer
from genfuse_bench.timing import Call, Effort, Trajectory, warm_up, window
from genfuse_bench.traffic import Traffic
from genfuse_bench.workload import Inputs, Run, Workload, cast, channels_last, first
from genfuse_kernels.conv_norm_act import spec
from genfuse_kernels.conv_norm_act.settings import Accuracy

ACCURACIES: dict[torch.dtype, dict[str, Accuracy | None]] = {
    torch.float32: {"fast": "fast"},
    torch.bfloat16: {"default": None, "exact": "exact", "fast": "fast"},
}
"""What a user may ask for, by its name here: exact float32 is not what anybody times."""

PEER_TOLERANCE = {torch.float32: 2e-2, torch.bfloat16: 1.0}
"""The error above which a peer computes something else; relative to the root mean square of the output."""

NETWORK_TOLERANCE = 1e-3
"""Of a network in float32."""

EXACT_GROWTH, FAST_GROWTH = 2.0, 4.0
"""How many times the error of PyTorch's own kernels ours may have in half precision: "exact" and default of anything,
"fast" of a network; of a unit `spec.tolerance` bounds it."""

_STEPS, _CPU = range(1), torch.device("cpu")


@dataclass(frozen=True)
class Facts:
    """What is known of a workload before it is timed; errors are relative to the output's root mean square."""

    workload: str
    shape: tuple[int, ...]
    dtype: str
    flops: int
    torch_error: float
    """of eager PyTorch in this dtype"""
    errors: dict[str, float]
    """by competitor; of ours the largest of all ways to call it"""
    tolerances: dict[str, float]
    """of ours, by accuracy"""
    unfit: dict[str, str]
    """peers that cannot run it or run it wrong, and why"""
    moved: dict[str, int]
    """bytes of ours, by accuracy"""
    minimum: int
    backends: dict[str, str]
    """whose kernels ours runs on, by accuracy"""


def label(accuracy: str, form: str = "") -> str:
    """The name under which ours competes."""
    return f"ours {accuracy} {form}".rstrip()


def bare(peer: str) -> str:
    """The name under which a peer's convolution alone competes."""
    return f"{peer} bare"


class Contest:
    """A workload in a dtype, ready to be timed; float32 copies of its weights have values that the dtype holds."""

    def __init__(self, workload: Workload, dtype: torch.dtype, peers: Sequence[ModulePeer]) -> None:
        self._workload, self._dtype = workload, dtype
        self._module = copy.deepcopy(workload.module).to(dtype)
        self._inputs = cast(workload.inputs, dtype)
        self._runs: dict[str, Run] = {}
        self._errors: dict[str, float] = {}
        self._unfit: dict[str, str] = {}
        self._moved: dict[str, int] = {}
        self._backends: dict[str, str] = {}
        with torch.no_grad():
            want = _reference(self._module, self._inputs)
            self._peak = float(want.abs().max() / want.square().mean().sqrt())
            self._torch_error = _error(first(self._module(*self._inputs)), want)
            for accuracy in ACCURACIES[dtype]:
                self._enter_ours(accuracy, want)
            for peer in peers:
                if dtype in peer.dtypes:
                    self._enter(peer, want)
            self._trajectories: dict[str, Trajectory] = {
                name: Call(run.call) for name, run in self._runs.items()
            }
            warm_up(self._trajectories, _STEPS, _CPU)

    @property
    def facts(self) -> Facts:
        """What is known before it is timed."""
        images = sum(x.numel() for x in self._inputs) + first(self._module(*self._inputs)).numel()
        weights = sum(parameter.numel() for parameter in self._module.parameters())
        return Facts(
            workload=self._workload.name,
            shape=self._workload.shape,
            dtype=str(self._dtype).removeprefix("torch."),
            flops=self._workload.flops,
            torch_error=self._torch_error,
            errors=self._errors,
            tolerances={accuracy: self._tolerance(accuracy) for accuracy in ACCURACIES[self._dtype]},
            unfit=self._unfit,
            moved=self._moved,
            minimum=spec.bytes_minimum(self._dtype.itemsize, images, weights),
            backends=self._backends,
        )

    def call(self, name: str) -> Callable[[], object]:
        """A competitor's, as it is timed. KeyError for one that does not take part."""
        return torch.no_grad()(self._runs[name].call)

    def window(self, effort: Effort) -> Window:
        """Everyone's times, in turn."""
        with torch.no_grad():
            return window(self._trajectories, _STEPS, _CPU, effort)

    def _enter_ours(self, accuracy: str, want: Tensor) -> None:
        runs = self._ours(accuracy)
        with Traffic() as traffic:
            outputs = [next(iter(runs.values())).output()]
        self._moved[accuracy], self._backends[accuracy] = traffic.bytes, "+".join(sorted(traffic.backends))
        outputs += [run.output() for run in runs.values()]
        self._errors[label(accuracy)] = max(_error(output, want) for output in outputs)
        self._runs |= {label(accuracy, form): run for form, run in runs.items()}

    def _ours(self, accuracy: str) -> dict[str, Run]:
        """A unit's own call in both layouts, or the optimised network."""
        call: Callable[..., Tensor] | None = getattr(self._module, "ours", None)
        if call is None:
            frozen, guarded = (
                genfuse.optimize(copy.deepcopy(self._module), accuracy=ACCURACIES[self._dtype][accuracy])
                for _ in "12"
            )
            freeze: Any = frozen.freeze
            freeze()  # as OpenVINO, ONNX Runtime and a compiled model with freezing are
            calls = {"": (frozen, self._inputs), "guarded": (guarded, self._inputs)}
            return {form: Run(partial(f, *x), first) for form, (f, x) in calls.items()}
        last = channels_last(self._inputs)
        return {
            form: Run(partial(call, *x, accuracy=ACCURACIES[self._dtype][accuracy]), first)
            for form, x in (("", last), ("planar", self._inputs))
        }

    def _enter(self, peer: ModulePeer, want: Tensor) -> None:
        """The peer, if it computes what it should."""
        name, module, inputs = peer.name, self._module, self._inputs
        convolution = self._workload.convolution
        if peer.bare and convolution is not None:
            name, inputs = bare(name), self._inputs[:1]
            module = self._module.get_submodule("conv")
            want = _reference(module, inputs)
        try:
            run = peer.prepare(copy.deepcopy(module).float(), cast(inputs, torch.float32), self._dtype)
            error = _error(run.output(), want)
        except Exception as reason:  # whatever a converter does not take
            self._unfit[peer.name] = f"{type(reason).__name__}: {str(reason).strip().splitlines()[0][:160]}"
            return
        self._errors[name] = error
        if error <= PEER_TOLERANCE[self._dtype]:
            self._runs[name] = run
        else:
            self._unfit[peer.name] = f"wrong: error {error:.1e}"

    def _tolerance(self, accuracy: str) -> float:
        """What ours may be off by."""
        single = self._dtype == torch.float32
        if accuracy != "fast" and not single:
            return EXACT_GROWTH * self._torch_error
        reduction = self._workload.reduction
        if reduction is None:
            return NETWORK_TOLERANCE if single else FAST_GROWTH * self._torch_error
        # Relative to the largest sum of magnitudes: about √reduction times the root mean square of the sums, and no
        # less than the largest of them.
        tile = 6 if accuracy == "fast" else 0  # the largest that may run
        return spec.tolerance(self._dtype, reduction, tile) * max(math.sqrt(reduction), self._peak)


def _reference(module: nn.Module, inputs: Inputs) -> Tensor:
    """By the definition in float64."""
    wide = tuple(x.double() for x in inputs)
    return first(copy.deepcopy(module).double()(*wide))


def _error(output: Tensor, want: Tensor) -> float:
    """The largest, relative to the root mean square; infinite for another shape."""
    if output.shape != want.shape:
        return math.inf
    return float((output.double() - want).abs().max() / want.square().mean().sqrt())
