"""`gradient_penalty`: the penalties on the norm of a critic's gradient, by one tangent pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from genfuse.errors import UnsupportedError
from genfuse.names import check_name
from genfuse.ops import check
from genfuse.penalties.double_backward import by_double_backward
from genfuse.penalties.kinds import KIND_NAMES, KINDS, KindName, Place
from genfuse.penalties.one_pass import by_tangents
from genfuse.penalties.points import point_of
from genfuse.penalties.problem import Problem

Fallback = Literal["autograd"]

_NEEDS: dict[Place, tuple[str, ...]] = {
    "interpolates": ("real", "fake"),
    "real": ("real",),
    "fake": ("fake",),
    "perturbed": ("real",),
}


def gradient_penalty(
    critic: Callable[..., Tensor],
    real: Tensor | None = None,
    fake: Tensor | None = None,
    *,
    kind: KindName,
    weight: float = 10.0,
    seed: int | None = None,
    return_norms: bool = False,
    fallback: Fallback | None = None,
    **cond: Any,
) -> Tensor | tuple[Tensor, Tensor]:
    """weight · mean φ(n) with n = ‖∇ₓ critic(x̂)‖ of each sample, differentiable once, exactly.

    critic    critic(x, **cond) → (N, ...), the scores of x (N, ...), several a sample added up: any module or function
              of what has tangent rules, which `genfuse/penalties/rules` lists; it runs once
    real, fake  (N, ...) alike, of any rank, float32, float64, bfloat16 or float16; the norm is over all axes but the
              first. One with a graph behind it gets a gradient too
    kind      "wgan-gp"        φ = (n − 1)² on interpolates u·real + (1 − u)·fake, u uniform, one a sample
                               (Gulrajani et al. 2017, eq. 3)
              "wgan-lp"        φ = max(0, n − 1)² there (Petzka et al. 2018, eq. 8)
              "r1", "r2"       φ = n²/2 on real, on fake alone (Mescheder et al. 2018, eq. 9 and 10)
              "dragan"         φ = (n − 1)² on real alone plus normal noise of half its deviation (Kodali et al. 2017)
              "zero-centered"  φ = n² on interpolates (Thanh-Tung et al. 2019)
              "max-gp"         max(0, max n − 1)² on interpolates in the place of the mean (Zhou et al. 2019)
    weight    0 or more
    seed      of interpolates and noise, in [0, 2**63): Philox with the seed as key and the sample's number as row; by
              default drawn from PyTorch's generator
    return_norms  also return the norms, (N,) without gradient, for logging
    fallback  "autograd": PyTorch's double backward where the critic has no tangent rules
    cond      the critic's own arguments; those with a graph behind them get their gradients

    Returns (), float32 or, of float64 samples, float64. All of it, gradients too, is computed in the call; what is kept
    is one gradient a weight. With ∇ₓ = g, the gradient by the weights is that of the critic's derivative along the
    direction φ'(n)·g/n, 0 where g is 0, held fixed: forward, data backward, one pass of tangents and the weights'
    gradients. Running statistics and power iterations advance once, dropout has one mask; where samples are coupled
    (batch norm in training), a warning says so once and the result is exact. Under autocast the critic runs as it does
    anywhere there; norms and φ are float32, or float64.

    ValueError or TypeError, naming the argument, before the critic runs, or for what it returns; NaN and infinity in
    samples are looked for on the CPU alone, a GPU would have to be waited for. UnsupportedError, naming the module, for
    what has no tangent rule, for a second derivative, and where a backend other than "aten" is forced. The critic's
    buffers are then what they were.
    """
    _check(critic, real, fake, kind, weight, seed, fallback)
    check.flag("return_norms", return_norms)
    chosen = KINDS[kind]
    number = int(torch.randint(2**63 - 1, ()).item()) if seed is None else seed
    problem = Problem(
        name="critic",
        network=critic,
        point=point_of(chosen.place, real, fake, number),
        arguments=cond,
        seed=torch.ones_like,
        cost=chosen.of_norms,
        weight=float(weight),
    )
    penalty, norms = solved(problem, fallback)
    return (penalty, norms) if return_norms else penalty


def solved(problem: Problem, fallback: Fallback | None) -> tuple[Tensor, Tensor]:
    """Penalty and norms by tangents, or as the caller falls back."""
    if fallback is None:
        return by_tangents(problem)
    try:
        return by_tangents(problem)
    except UnsupportedError:
        return by_double_backward(problem)


def _check(
    critic: Any, real: Any, fake: Any, kind: Any, weight: Any, seed: int | None, fallback: Any
) -> None:
    if not callable(critic):
        raise TypeError(f"critic is {type(critic).__name__}, expected a callable critic(x, **cond)")
    check_name("kind", kind, KIND_NAMES)
    check_fallback(fallback)
    check.finite("weight", weight)
    if weight < 0:
        raise ValueError(f"weight is {weight}, expected 0 or more")
    if seed is not None:
        check.integer("seed", seed)
        if not 0 <= seed < 2**63:
            raise ValueError(f"seed is {seed}, expected an int in [0, 2**63)")
    given = {name: tensor for name, tensor in (("real", real), ("fake", fake)) if tensor is not None}
    for name in _NEEDS[KINDS[kind].place]:
        if name not in given:
            raise ValueError(f"{name} is None, expected a batch (N, ...): kind {kind!r} needs it")
    for name, tensor in given.items():
        check_samples(name, tensor)
    if len(given) == 2:
        check.like("fake", fake, real, model="real")


def check_fallback(fallback: object) -> None:
    """None or "autograd"."""
    if fallback is not None:
        check_name("fallback", fallback, ("autograd",))


def check_samples(name: str, tensor: Tensor) -> None:
    """At least one sample of at least one number, finite where that can be seen without waiting for a device."""
    check.sample(name, tensor)
    check.valued(name, tensor)
    if tensor.numel() == 0:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, expected at least one sample of one number"
        )
    if tensor.device.type == "cpu" and not tensor.isfinite().all():
        sample = int((~tensor.isfinite()).reshape(tensor.shape[0], -1).any(1).nonzero()[0])
        raise ValueError(f"{name} is not finite in sample {sample}, expected numbers")
