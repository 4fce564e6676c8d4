"""Rows of `genfuse bench gradient_penalty`: penalties of critics, and whole critic steps, beside double backward.

The penalty is WGAN-GP's, value and weight gradients. A critic step is scores of real and generated pictures, penalty,
backward and Adam. Everyone has a critic of his own, and all run on the threads of one process, in turn. torch.compile
refuses double backward: of a step it takes the scores, and the penalty stays eager.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import genfuse
from genfuse.penalties.points import point_of
from genfuse_bench.critics import SECTIONS
from genfuse_bench.largest_error import largest_error
from genfuse_bench.measurement import TimedRow
from genfuse_bench.timing import Call, Effort, measure
from genfuse_bench.training import KINK

OURS = "ours"
PEERS = ("double backward", "double backward channels-last")
COMPILED = "compiled scores"
STEP_PEERS = (*PEERS, COMPILED)
WEIGHT = 10.0

BARS = {"gradient_penalty": (2.2, 1.5), "critic_step": (1.7, 1.4)}
"""Times as fast as the best peer: piecewise-linear critics; those with a curved activation or a norm of the input."""

GROWTH, LEAST = 2.0, 1e-5
"""The error of a row that reports a speed: of its gradients, relative to the largest; twice PyTorch's or the last."""


@dataclass(frozen=True)
class PenaltyRow(TimedRow):
    """Milliseconds, medians; errors are of weight gradients, the penalty's or the whole step's, against float64."""

    op: str
    """gradient_penalty or critic_step"""
    workload: str
    shape: tuple[int, ...]
    dtype: str
    threads: int
    device: str
    ours_ms: float | None
    peers_ms: dict[str, float]
    passes: int
    """through the layers with weights: the penalty's, and of a step those of real and generated pictures"""
    floor_ms: float
    """these passes' products, as many as their definition has, at the machine's best matrix product"""
    best_peer: str | None
    ratio: float | None
    fastest_ms: dict[str, float]
    """first deciles of all"""
    error: float
    torch_error: float
    peak_mb: dict[str, float] = field(default_factory=dict)
    """how far it raises the peak of resident memory, each in a process of its own, and our kernels' working memory"""
    kinked: bool = False
    """whether the critic's activations have a kink"""
    failed: dict[str, str] = field(default_factory=dict)
    """peers that take no part, and why"""

    @property
    def bar(self) -> float:
        """What the ratio is to reach."""
        of_penalty = self.passes - (STEP_PASSES if self.op == "critic_step" else 0)
        return BARS[self.op][of_penalty > LINEAR_PASSES]

    @property
    def refused(self) -> bool:
        """Whether the error forbids to report a speed."""
        return not self.error <= allowed(self.torch_error, self.kinked)


def allowed(torch_error: float, kinked: bool = False) -> float:
    """The error of a row that reports a speed; PyTorch's is NaN where it did not run.

    At a kink a rounding of any kernel may take a pixel to the other side, and the slope with it.
    """
    least = KINK if kinked else LEAST
    return max(least, GROWTH * torch_error) if torch_error == torch_error else least


class Critic:
    """One competitor's: a copy of the critic, real and generated pictures, an optimizer."""

    def __init__(self, who: str, network: nn.Module, real: Tensor, fake: Tensor) -> None:
        last = who.endswith("channels-last")
        form: Any = torch.channels_last if last else torch.contiguous_format
        self.network: nn.Module = copy.deepcopy(network).to(memory_format=form)  # type: ignore[call-overload]
        self.real, self.fake = (pictures.contiguous(memory_format=form) for pictures in (real, fake))
        self._penalty = self._ours if who == OURS else self._double_backward
        self._scores = scorer(who, self.network)
        self._optimizer = torch.optim.Adam(self.network.parameters(), 1e-6)

    def _ours(self) -> Tensor:
        penalty = genfuse.gradient_penalty(
            self.network, self.real, self.fake, kind="wgan-gp", weight=WEIGHT, seed=0
        )
        assert isinstance(penalty, Tensor)
        return penalty

    def _double_backward(self) -> Tensor:
        """As papers' code has it; at a fixed share between the pictures, so that errors can be compared."""
        x = _between(self.real, self.fake).requires_grad_()
        (gradient,) = torch.autograd.grad(self.network(x).sum(), x, create_graph=True)
        norms: Tensor = gradient.flatten(1).norm(dim=1)
        return WEIGHT * (norms - 1).square().mean()

    def gradients(self) -> list[Tensor]:
        """The penalty's, of all weights."""
        return weight_gradients(self._penalty(), self.network)

    def _backward(self) -> None:
        self._optimizer.zero_grad()
        loss = self._scores(self.fake).mean() - self._scores(self.real).mean() + self._penalty()
        torch.autograd.backward(loss)

    def step(self) -> None:
        """Of a critic in training."""
        self._backward()
        self._optimizer.step()

    def step_gradients(self) -> list[Tensor]:
        """What the optimizer is given, of all weights."""
        self._backward()
        return [
            torch.zeros_like(weight) if weight.grad is None else weight.grad
            for weight in self.network.parameters()
        ]


def scorer(who: str, network: nn.Module) -> Callable[..., Any]:
    """What a competitor's step scores pictures with."""
    if who == COMPILED:
        return torch.compile(network, dynamic=False)
    return genfuse.optimize(network) if who == OURS else network


def weight_gradients(penalty: Tensor, network: nn.Module) -> list[Tensor]:
    """Of a penalty, by each of the network's weights; zeros where there is none."""
    weights = list(network.parameters())
    return list(torch.autograd.grad(penalty, weights, allow_unused=True, materialize_grads=True))


def _between(real: Tensor, fake: Tensor) -> Tensor:
    """Where our penalty of seed 0 takes the gradient."""
    return point_of("interpolates", real, fake, 0).detach()


def pictures(batch: int, side: int) -> tuple[Tensor, Tensor]:
    """Real and generated ones, the same in every process."""
    generator = torch.Generator().manual_seed(1)
    real, fake = (torch.randn(batch, 3, side, side, generator=generator) for _ in range(2))
    return real, fake


STEP_PASSES = 6
"""Of a step beside the penalty's: forward, and gradients of data and of weights, of real and generated pictures."""


OPS: dict[str, tuple[Callable[[Critic], list[Tensor]], Callable[[Critic], object]]] = {
    "gradient_penalty": (Critic.gradients, Critic.gradients),
    "critic_step": (Critic.step_gradients, Critic.step),
}
"""What is held against float64, and what is timed."""


def penalty_rows(
    workload: str,
    network: nn.Module,
    side: int,
    batch: int,
    peers: Sequence[str],
    effort: Effort,
    peak: float,
) -> list[PenaltyRow]:
    """The penalty, and the critic step, held against float64 first; peak is the matrix product's, in GFLOP/s."""
    real, fake = pictures(batch, side)
    passes, flops = passes_of(network), forward_flops(network, real)
    kinked = any(isinstance(part, (nn.ReLU, nn.LeakyReLU)) for part in network.modules())
    rows = []
    for op, (gradients, call) in OPS.items():
        is_step = op == "critic_step"
        exact = Critic(PEERS[0], copy.deepcopy(network).double(), real.double(), fake.double())
        part = [name for name in (OURS, *peers) if is_step or name != COMPILED]
        who = {name: Critic(name, network, real, fake) for name in part}
        errors, failed = held(who, gradients, gradients(exact), kinked)
        calls: dict[str, Callable[[], object]] = {
            name: partial(call, one) for name, one in who.items() if name not in failed
        }
        taken = measure(
            {name: Call(one) for name, one in calls.items()}, range(1), torch.device("cpu"), effort
        )
        times = {name: taken.us[name] / 1e3 for name in calls if name != OURS}
        best = min(times, key=lambda name: times[name], default=None)
        error, theirs = errors[OURS], errors.get(PEERS[0], float("nan"))
        ours = taken.us[OURS] / 1e3 if error <= allowed(theirs, kinked) else None
        number = passes + (STEP_PASSES if is_step else 0)
        row = PenaltyRow(
            op=op,
            workload=workload,
            shape=tuple(real.shape),
            dtype="float32",
            threads=torch.get_num_threads(),
            device="cpu",
            ours_ms=ours,
            peers_ms=times,
            passes=number,
            floor_ms=number * flops / (peak * 1e6),
            best_peer=best,
            ratio=times[best] / ours if best and ours else None,
            fastest_ms={name: us / 1e3 for name, us in taken.fastest_us.items()},
            error=error,
            torch_error=theirs,
            kinked=kinked,
            failed=failed,
            timing=taken.timing(OURS if ours else None),
        )
        rows.append(row)
    return rows


def held(
    who: Mapping[str, Critic],
    gradients: Callable[[Critic], list[Tensor]],
    exact: list[Tensor],
    kinked: bool,
) -> tuple[dict[str, float], dict[str, str]]:
    """Everyone's error; and why torch.compile's take no part, where they raise or are wrong."""
    errors: dict[str, float] = {}
    failed: dict[str, str] = {}
    for name, critic in who.items():
        try:
            errors[name] = largest_error(gradients(critic), exact)
        except Exception as error:
            if name != COMPILED:
                raise
            failed[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    most = allowed(errors.get(PEERS[0], float("nan")), kinked)
    if COMPILED in errors and not errors[COMPILED] <= most:
        failed[COMPILED] = f"its gradients are off by {errors[COMPILED]:.1e}, expected at most {most:.1e}"
    return errors, failed


LINEAR_PASSES = 4
"""Of a penalty whose tangents depend on no primal."""


def passes_of(network: nn.Module) -> int:
    """Through a critic's layers with weights: two more where norms or curved activations have tangents that depend on
    the input.
    """
    curved = any(isinstance(part, (nn.LayerNorm, nn.InstanceNorm2d, nn.SiLU)) for part in network.modules())
    return LINEAR_PASSES + 2 * curved


def forward_flops(network: nn.Module, x: Tensor) -> int:
    """Of products and sums in convolutions and linear layers, by their definition: Winograd's are fewer."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x)
    total: int = counter.get_total_flops()
    return total


def prepared(section: str, workload: str, batch: int, who: str) -> Callable[[], object]:
    """A penalty whose peak of memory is measured."""
    make, side = SECTIONS[section][workload]
    critic = Critic(who, make(), *pictures(batch, side))
    critic.gradients()
    return critic.gradients
