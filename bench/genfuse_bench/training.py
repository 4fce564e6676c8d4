"""Rows of `genfuse bench training`: whole steps of networks, and a convolution's two gradients, beside PyTorch's.

A step is forward, the mean squared error to a fixed target, and backward; weights are edited before each, as an
optimizer would. Everyone runs in one process in which glibc keeps freed memory.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import genfuse
from genfuse_bench.largest_error import largest_error
from genfuse_bench.measurement import Measurement, TimedRow
from genfuse_bench.timing import Call, Effort, measure
from genfuse_bench.workload import Inputs, cast, channels_last, first

OURS, LOW, PEERS = "ours", "ours low", ("eager", "eager channels-last", "compile")

GROWTH = 2.0
TOLERANCE = {"float32": (1e-3, 1e-2), "bfloat16": (1e-1, 5e-1)}
"""Of ours, relative to the largest gradient: of a network the first, or twice what PyTorch's own are off by, but never
more than the last."""

KINK = 5e-3
"""In the first's place where activations have a kink: of a million ReLUs some input lies within rounding of 0, and the
side of it that a pixel falls on makes up to 2.4e-3 in DCGAN's networks, by PyTorch's own kernels on one processor, not
on another."""


def allowed(torch_error: float, dtype: str = "float32", kinked: bool = False) -> float:
    """The error of a row that reports a speed; of PyTorch's NaN where it did not run."""
    least, most = TOLERANCE[dtype]
    least = max(least, KINK) if kinked else least
    return max(least, min(GROWTH * torch_error, most)) if torch_error == torch_error else least


_STEPS, _CPU = range(1), torch.device("cpu")


@dataclass(frozen=True)
class TrainingRow(TimedRow):
    """Milliseconds, medians; errors are of gradients against float64, relative to the largest of them."""

    op: str
    """training_step, training_system, weight_gradient, data_gradient, system_step or system_sample"""
    workload: str
    shape: tuple[int, ...]
    dtype: str
    threads: int
    device: str
    ours_ms: float | None
    peers_ms: dict[str, float]
    best_peer: str | None
    ratio: float | None
    fastest_ms: dict[str, float]
    """first deciles of all"""
    error: float
    torch_error: float
    low_ms: float | None = None
    """of a step with `optimize(memory="low")`"""
    activation_mb: dict[str, float] = field(default_factory=dict)
    """what autograd keeps from forward to backward, beside the parameters; of a step"""
    peak_mb: dict[str, float] = field(default_factory=dict)
    """how far a step raises the peak of resident memory, each in a process of its own"""
    kinked: bool = False
    """whether the network's activations have a kink"""

    @property
    def refused(self) -> bool:
        """Whether the error forbids to report a speed."""
        return not self.error <= allowed(self.torch_error, self.dtype, self.kinked)


class Step:
    """A training step as something to be timed: the weights are edited before each."""

    def __init__(self, module: nn.Module, call: Callable[..., Any], inputs: Inputs, target: Tensor) -> None:
        self.module, self._call, self._inputs, self._target = module, call, inputs, target

    def begin(self) -> None:
        """What an optimizer would do, without its time."""
        with torch.no_grad():
            for parameter in self.module.parameters():
                parameter.mul_(1)
                parameter.grad = None

    def step(self, i: int) -> None:
        """Forward and backward."""
        y = first(self._call(*self._inputs))
        torch.autograd.backward((y - self._target.to(y.dtype)).square().mean())

    def gradients(self) -> list[Tensor]:
        """Of all parameters, in order."""
        self.begin()
        self.step(0)
        return [p.grad.detach().clone() for p in self.module.parameters() if p.grad is not None]

    def activation_bytes(self) -> int:
        """Of the storages that autograd keeps from forward to backward, beside the parameters'."""
        own = {p.untyped_storage().data_ptr() for p in self.module.parameters()}
        kept: weakref.WeakSet[_Kept] = weakref.WeakSet()

        def pack(tensor: Tensor) -> _Kept:
            holder = _Kept(tensor)
            kept.add(holder)
            return holder

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda holder: holder.tensor):
            y = first(self._call(*self._inputs))
        storages = [each.tensor.untyped_storage() for each in kept if each.tensor.layout == torch.strided]
        sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
        del y  # until here: what nobody can ask for any more is not kept
        return sum(size for pointer, size in sizes.items() if pointer not in own)


class _Kept:
    """What autograd holds in a tensor's place, for as long as it does."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def step_row(
    name: str,
    module: nn.Module,
    inputs: Inputs,
    peers: Sequence[str],
    effort: Effort,
    dtype: torch.dtype = torch.float32,
) -> TrainingRow:
    """Ours beside the peers, held against float64 first; parameters and images in this dtype."""
    module.train()
    target = target_of(module, inputs)
    steps = {who: step_of(who, module, inputs, target, dtype) for who in (OURS, LOW, *peers)}
    exact = copy.deepcopy(module).double()
    want = Step(exact, exact, tuple(x.double() for x in inputs), target.double()).gradients()
    error, low, eager = (
        largest_error(steps[who].gradients(), want) if who in steps else float("nan")
        for who in (OURS, LOW, PEERS[0])
    )
    kept = {who: step.activation_bytes() / 1e6 for who, step in steps.items()}
    taken = measure(dict(steps), _STEPS, _CPU, effort)
    of = (error if low != low else max(error, low), eager)
    kinked = any(isinstance(part, (nn.ReLU, nn.LeakyReLU)) for part in module.modules())
    shape, named = tuple(inputs[0].shape), str(dtype).split(".")[-1]
    return row_of("training_step", name, shape, taken, *of, kept, named, kinked)


def gradient_rows(
    name: str, shape: tuple[int, ...], conv: nn.Conv2d | nn.ConvTranspose2d, effort: Effort
) -> list[TrainingRow]:
    """A convolution's weight gradient alone and its data gradient alone."""
    from genfuse_kernels.conv_norm_act.data_gradient import data_gradient
    from genfuse_kernels.conv_norm_act.settings import Settings
    from genfuse_kernels.conv_norm_act.weight_gradient import weight_gradient

    x = torch.randn(shape)
    weight = conv.weight.detach()
    gradient = torch.randn_like(conv(x).detach())
    transposed = isinstance(conv, nn.ConvTranspose2d)
    stride: Any = conv.stride
    padding: Any = conv.padding
    settings = Settings(stride=stride, padding=padding, transposed=transposed)
    x_last, gradient_last, weight_last = (
        t.contiguous(memory_format=torch.channels_last) for t in (x, gradient, weight)
    )

    def theirs(which: int, g: Tensor, image: Tensor, kernel: Tensor) -> Tensor:
        wanted = [which == 0, which == 1, False]
        found: Tensor = torch.ops.aten.convolution_backward(
            g, image, kernel, None, conv.stride, conv.padding, conv.dilation, transposed, (0, 0), 1, wanted
        )[which]
        return found

    size = (x.shape[2], x.shape[3])
    ours: dict[str, tuple[int, Callable[[], Tensor]]] = {
        "data_gradient": (
            0,
            lambda: data_gradient(gradient_last, weight, settings, size, channels_last=True),
        ),
        "weight_gradient": (1, lambda: weight_gradient(gradient_last, x_last, weight, settings)),
    }
    rows = []
    for op, (which, call) in ours.items():
        want = theirs(which, gradient.double(), x.double(), weight.double())
        calls: dict[str, Callable[[], Tensor]] = {
            OURS: call,
            "eager": lambda which=which: theirs(which, gradient, x, weight),  # type: ignore[misc]
            "eager channels-last": lambda which=which: theirs(which, gradient_last, x_last, weight_last),  # type: ignore[misc]
        }
        error, eager = (largest_error([calls[who]()], [want]) for who in (OURS, "eager"))
        taken = measure({who: Call(each) for who, each in calls.items()}, _STEPS, _CPU, effort)
        rows.append(row_of(op, name, shape, taken, error, eager, {}))
    return rows


def target_of(module: nn.Module, inputs: Inputs) -> Tensor:
    """Like the output, random."""
    with torch.no_grad():
        return torch.randn_like(first(copy.deepcopy(module)(*inputs)))


def step_of(who: str, module: nn.Module, inputs: Inputs, target: Tensor, dtype: torch.dtype) -> Step:
    """A competitor's, on a copy of the module."""
    twin, inputs = copy.deepcopy(module).to(dtype), cast(inputs, dtype)
    if who in (OURS, LOW):
        optimized = genfuse.optimize(twin, memory="low" if who == LOW else None)
        return Step(twin, optimized, inputs, target)
    if who == "eager channels-last":
        last: Any = twin.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Step(twin, last, channels_last(inputs), channels_last((target,))[0])
    return Step(twin, torch.compile(twin, dynamic=False) if who == "compile" else twin, inputs, target)


def row_of(
    op: str,
    workload: str,
    shape: tuple[int, ...],
    taken: Measurement,
    error: float,
    torch_error: float,
    kept: dict[str, float],
    dtype: str = "float32",
    kinked: bool = False,
) -> TrainingRow:
    """Of what was timed; no speed where the error is larger than allowed."""
    peers = {who: us / 1e3 for who, us in taken.us.items() if who not in (OURS, LOW)}
    best = min(peers, key=lambda who: peers[who], default=None)
    ours, low = (
        taken.us[who] / 1e3 if who in taken.us and error <= allowed(torch_error, dtype, kinked) else None
        for who in (OURS, LOW)
    )
    return TrainingRow(
        op=op,
        workload=workload,
        shape=shape,
        dtype=dtype,
        threads=torch.get_num_threads(),
        device="cpu",
        ours_ms=ours,
        peers_ms=peers,
        best_peer=best,
        ratio=peers[best] / ours if best and ours else None,
        fastest_ms={who: us / 1e3 for who, us in taken.fastest_us.items()},
        error=error,
        torch_error=torch_error,
        low_ms=low,
        activation_mb=kept,
        timing=taken.timing(OURS if ours else None),
        kinked=kinked,
    )
