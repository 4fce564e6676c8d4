"""Gradient penalties as papers' code writes them, by PyTorch's double backward: what ours are held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import genfuse

PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {
    "wgan-gp": lambda n: ((n - 1) ** 2).mean(),
    "wgan-lp": lambda n: ((n - 1).clamp(min=0) ** 2).mean(),
    "r1": lambda n: (n**2 / 2).mean(),
    "r2": lambda n: (n**2 / 2).mean(),
    "dragan": lambda n: ((n - 1) ** 2).mean(),
    "zero-centered": lambda n: (n**2).mean(),
    "max-gp": lambda n: (n.max() - 1).clamp(min=0) ** 2,
}

WEIGHT = 3.0

LOUD = 40.0
"""What scores are multiplied by, so that some norms exceed 1: one-sided penalties have no gradient below."""


class Seen:
    """A critic that remembers what it was last asked about."""

    def __init__(self, critic: Callable[..., Tensor]) -> None:
        self.critic, self.point = critic, torch.empty(0)

    def __call__(self, x: Tensor, **cond: Any) -> Tensor:
        self.point = x.detach().clone()
        return self.critic(x, **cond)


def by_double_backward(
    critic: Callable[..., Tensor], point: Tensor, kind: str, weights: Sequence[Tensor], **cond: Any
) -> list[Tensor]:
    """The penalty and its gradients."""
    x = point.detach().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):  # PyTorch's fused attention has no double backward
        y = critic(x, **cond)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    penalty = WEIGHT * PENALTIES[kind](g.flatten(1).norm(dim=1))
    found = torch.autograd.grad(penalty, list(weights), allow_unused=True, materialize_grads=True)
    return [penalty.detach(), *found]


def by_tangents(
    critic: Callable[..., Tensor],
    real: Tensor,
    fake: Tensor,
    kind: Any,
    weights: Sequence[Tensor],
    seed: int = 5,
    **cond: Any,
) -> list[Tensor]:
    """Ours, likewise."""
    penalty = genfuse.gradient_penalty(critic, real, fake, kind=kind, weight=WEIGHT, seed=seed, **cond)
    assert isinstance(penalty, Tensor)
    found = torch.autograd.grad(penalty, list(weights), allow_unused=True, materialize_grads=True)
    return [penalty.detach(), *found]


def samples(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Real and generated ones."""
    return torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype)


def deviation(got: Sequence[Tensor], want: Sequence[Tensor]) -> float:
    """The largest over tensors of |got − want|, in the largest norm of all gradients, or of the penalty by itself."""
    value = float((got[0] - want[0]).abs() / want[0].abs().clamp(min=1e-30))
    largest = max(float(b.double().norm()) for b in want[1:])
    assert largest > 0, "no gradient to compare"
    worst = max(float((a.double() - b.double()).norm()) for a, b in zip(got[1:], want[1:], strict=True))
    return max(value, worst / largest)


def assert_exact(
    critic: nn.Module, kind: str, shape: tuple[int, ...], at_most: float = 1e-10, **cond: Any
) -> None:
    """In float64, in the state of the critic that the call finds: both run it once from there."""
    critic = critic.double()
    weights = list(critic.parameters())
    real, fake = samples(shape)
    before = {name: tensor.clone() for name, tensor in critic.state_dict().items()}
    random = torch.get_rng_state()
    seen = Seen(lambda x, **given: LOUD * critic(x, **given))
    got = by_tangents(seen, real, fake, kind, weights, **cond)
    critic.load_state_dict(before)
    torch.set_rng_state(random)
    want = by_double_backward(seen, seen.point, kind, weights, **cond)
    assert deviation(got, want) <= at_most
