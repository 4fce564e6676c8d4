"""Rows of `genfuse bench tensor_lists`: the passes over all weights or gradients of a network beside PyTorch's.

Each competitor has tensors of its own, and all run on the threads of one process, in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genfuse.ops import clip_grad_norm, clip_weights, ema_update
from genfuse_bench.largest_error import largest_error
from genfuse_bench.measurement import TimedRow
from genfuse_bench.timing import Call, Effort, measure
from genfuse_kernels.clip_grad_norm import spec as clip_grad_norm_spec
from genfuse_kernels.clip_weights import spec as clip_weights_spec
from genfuse_kernels.ema_update import spec as ema_update_spec

OURS, FLOOR = "ours", "floor"
PEERS = ("foreach", "loop")

DECAY, BOUND = 0.9995, 0.01
TOLERANCE = 1e-5
"""Largest error of a row that reports a speed, relative to the largest value."""


@dataclass(frozen=True)
class ListRow(TimedRow):
    """Milliseconds, medians."""

    op: str
    workload: str
    tensors: int
    elements: int
    dtype: str
    threads: int
    device: str
    ours_ms: float | None
    peers_ms: dict[str, float]
    floor_ms: float
    """of one PyTorch kernel that reads and writes as much, on a single tensor"""
    best_peer: str | None
    ratio: float | None
    gb_per_s: float | None
    """bytes that have to be moved, by ours"""
    fastest_ms: dict[str, float]
    """first deciles of all"""
    error: float
    torch_error: float

    @property
    def refused(self) -> bool:
        """Whether the error forbids to report a speed."""
        return not self.error <= TOLERANCE


@dataclass(frozen=True)
class Pass:
    """One pass over a list: how everyone makes it, from tensors of his own, and what it should give."""

    bytes_moved: int
    calls: dict[str, Callable[[], object]]
    results: dict[str, list[Tensor]]
    """what each one's calls change or return"""
    exact: list[Tensor]
    """what one call makes of `results`, in float64"""


def list_rows(name: str, network: nn.Module, peers: list[str], effort: Effort) -> list[ListRow]:
    """All passes over a network's parameters, held against float64 first."""
    weights = [parameter.detach() for parameter in network.parameters()]
    rows = []
    with torch.no_grad():
        for op, make in PASSES.items():
            made = make(weights, [OURS, *peers])
            rows.append(_row(op, name, weights, made, peers, effort))
    return rows


def _averages(weights: list[Tensor], who: list[str]) -> Pass:
    averages = {name: [torch.randn_like(w) for w in weights] for name in who}
    start = averages[OURS]
    for name in who:
        torch._foreach_copy_(averages[name], start)
    exact = [a.double() * DECAY + w.double() * (1 - DECAY) for a, w in zip(start, weights, strict=True)]

    def loop() -> None:
        for average, weight in zip(averages["loop"], weights, strict=True):
            average.lerp_(weight, 1 - DECAY)

    a, p = _flat(weights), _flat(weights)
    calls: dict[str, Callable[[], object]] = {
        OURS: lambda: ema_update(averages[OURS], weights, DECAY),
        "foreach": lambda: torch._foreach_lerp_(averages["foreach"], weights, 1 - DECAY),
        "loop": loop,
        FLOOR: lambda: a.lerp_(p, 1 - DECAY),
    }
    return Pass(ema_update_spec.bytes_moved(start, weights), calls, averages, exact)


def _clipped_weights(weights: list[Tensor], who: list[str]) -> Pass:
    mine = {name: [w.clone() for w in weights] for name in who}

    def foreach() -> None:
        torch._foreach_clamp_min_(mine["foreach"], -BOUND)
        torch._foreach_clamp_max_(mine["foreach"], BOUND)

    def loop() -> None:
        for weight in mine["loop"]:
            weight.clamp_(-BOUND, BOUND)

    flat = _flat(weights)
    calls: dict[str, Callable[[], object]] = {
        OURS: lambda: clip_weights(mine[OURS], BOUND),
        "foreach": foreach,
        "loop": loop,
        FLOOR: lambda: flat.clamp_(-BOUND, BOUND),
    }
    exact = [w.double().clamp(-BOUND, BOUND) for w in weights]
    return Pass(clip_weights_spec.bytes_moved(weights), calls, mine, exact)


def _norm(weights: list[Tensor], who: list[str]) -> Pass:
    """Of gradients that are not too large: nothing is scaled."""
    parameters = {name: _with_gradients(weights) for name in who}
    results: dict[str, list[Tensor]] = {name: [torch.empty(())] for name in who}
    exact = _exact_norm(parameters[OURS])
    flat = _flat(weights)
    calls = _clips(parameters, results, lambda name: 1e9) | {FLOOR: lambda: torch.dot(flat, flat)}
    moved = clip_grad_norm_spec.bytes_moved(_gradients(parameters[OURS]), clipped=False)
    return Pass(moved, calls, results, [exact])


def _clipped_gradients(weights: list[Tensor], who: list[str]) -> Pass:
    """Of gradients that are always a thousandth too large: from call to call hardly smaller, so never subnormal."""
    parameters = {name: _with_gradients(weights) for name in who}
    norm = _exact_norm(parameters[OURS])
    bounds = dict.fromkeys(who, float(norm))

    def shrinking(name: str) -> float:
        bounds[name] *= 0.999
        return bounds[name]

    results = {name: _gradients(parameters[name]) for name in who}
    exact = [g.double() * (float(norm) * 0.999 / (norm + 1e-6)) for g in results[OURS]]
    flat = _flat(weights)

    def floor() -> None:
        torch.dot(flat, flat)
        flat.mul_(1.0)

    calls = _clips(parameters, {}, shrinking) | {FLOOR: floor}
    return Pass(clip_grad_norm_spec.bytes_moved(results[OURS], clipped=True), calls, results, exact)


PASSES = {
    "ema_update": _averages,
    "clip_weights": _clipped_weights,
    "clip_grad_norm, within": _norm,
    "clip_grad_norm, above": _clipped_gradients,
}


def _clips(
    parameters: dict[str, list[nn.Parameter]],
    results: dict[str, list[Tensor]],
    max_norm: Callable[[str], float],
) -> dict[str, Callable[[], object]]:
    def ours() -> None:
        results[OURS] = [clip_grad_norm(parameters[OURS], max_norm(OURS))]

    def peer(name: str) -> None:
        clip = nn.utils.clip_grad_norm_
        results[name] = [clip(parameters[name], max_norm(name), foreach=name == "foreach")]

    return {OURS: ours, "foreach": lambda: peer("foreach"), "loop": lambda: peer("loop")}


def _with_gradients(weights: list[Tensor]) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    parameters = [nn.Parameter(weight) for weight in weights]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return parameters


def _gradients(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _exact_norm(parameters: list[nn.Parameter]) -> Tensor:
    squares = [gradient.double().square().sum() for gradient in _gradients(parameters)]
    return torch.stack(squares).sum().sqrt()


def _flat(weights: list[Tensor]) -> Tensor:
    return torch.randn(sum(weight.numel() for weight in weights))


def _row(
    op: str, workload: str, weights: list[Tensor], made: Pass, peers: list[str], effort: Effort
) -> ListRow:
    who = [OURS, *peers]
    for name in who:
        made.calls[name]()
    error, eager = (
        largest_error(made.results[name], made.exact) if name in who else float("nan")
        for name in (OURS, "loop")
    )
    taken = measure(
        {name: Call(made.calls[name]) for name in (*who, FLOOR)}, range(1), torch.device("cpu"), effort
    )
    ours = taken.us[OURS] / 1e3 if error <= TOLERANCE else None
    theirs = {name: taken.us[name] / 1e3 for name in peers}
    best = min(theirs, key=lambda name: theirs[name], default=None)
    return ListRow(
        op=op,
        workload=workload,
        tensors=len(weights),
        elements=sum(weight.numel() for weight in weights),
        dtype="float32",
        threads=torch.get_num_threads(),
        device="cpu",
        ours_ms=ours,
        peers_ms=theirs,
        floor_ms=taken.us[FLOOR] / 1e3,
        best_peer=best,
        ratio=theirs[best] / ours if best and ours else None,
        gb_per_s=made.bytes_moved / ours / 1e6 if ours else None,
        fastest_ms={name: us / 1e3 for name, us in taken.fastest_us.items()},
        error=error,
        torch_error=eager,
        timing=taken.timing(OURS if ours else None),
    )
