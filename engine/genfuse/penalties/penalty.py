"""`gradient_penalty`: the penalties on the norm of a critic's gradient, by one tangent pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genfuse.names import check_name
from genfuse.ops import check
from genfuse.penalties.checks import Fallback, check_options, check_samples
from genfuse.penalties.kinds import KIND_NAMES, KINDS, KindName, Place
from genfuse.penalties.points import drawn, point_of
from genfuse.penalties.problem import Problem
from genfuse.penalties.solve import solved
from genfuse.penalties.uncompiled import uncompiled
from genfuse_kernels.conv_norm_act.settings import Accuracy
from genfuse_kernels.philox_lerp.spec import MOST_SAMPLES

_NEEDS: dict[Place, tuple[str, ...]] = {
    "interpolates": ("real", "fake"),
    "real": ("real",),
    "fake": ("fake",),
    "perturbed": ("real",),
}


@uncompiled
def gradient_penalty(
    critic: Callable[..., Tensor],
    real: Tensor | None = None,
    fake: Tensor | None = None,
    *,
    kind: KindName,
    weight: float = 10.0,
    seed: int | None = None,
    first: int = 0,
    return_norms: bool = False,
    fallback: Fallback | None = None,
    accuracy: Accuracy | None = None,
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
    first     number of the first sample, 0 or more, the last one's below 2**32: of a batch that processes share, each
              has its own
    return_norms  also return the norms, (N,) without gradient, for logging
    fallback  "autograd": PyTorch's double backward where the critic has no tangent rules, and PyTorch's kernels are
              permitted
    accuracy  "exact" forbids Winograd, as in `genfuse.ops.conv_norm_act`: by its roundings an activation as near 0 as
              they are may fall on the other side of a ReLU's kink, and its slope with it
    cond      the critic's own arguments; those with a graph behind them get their gradients

    Returns (), float32 or, of float64 samples, float64. All of it, gradients too, is computed in the call; what is kept
    is one gradient a weight. With ∇ₓ = g, the gradient by the weights is that of the critic's derivative along the
    direction φ'(n)·g/n, 0 where g is 0, held fixed: forward, data backward, one pass of tangents and the weights'
    gradients. Running statistics and power iterations advance once, dropout has one mask; where samples are coupled
    (batch norm in training), a warning says so once and the result is exact. Under autocast the critic runs as it does
    anywhere there; norms and φ are float32, or float64. Convolutions run on the kernels that `genfuse.optimize` trains
    with, in all passes; `genfuse.backend` forces others. torch.compile breaks its graph around a call, and a critic
    that it has compiled runs as it is written.

    ValueError or TypeError, naming the argument, before the critic runs, or for what it returns; the critic's own
    errors pass, with a note (Python 3.11) of the module and what it was called with; NaN and infinity in samples are
    looked for on the CPU alone, a GPU would have to be waited for. UnsupportedError, naming the module, for what has no
    tangent rule or is read after an edit in place that cannot be followed, for a second derivative, and where no
    permitted backend runs a convolution. The buffers of the critic's modules are then what they were: of a function,
    those of modules that are its variables or attributes of an object around it.
    """
    _check(critic, real, fake, kind)
    check_options(weight, seed, fallback, accuracy)
    check.flag("return_norms", return_norms)
    check.count("first", first, 0)
    _check_numbers(first, real if real is not None else fake)
    chosen = KINDS[kind]
    problem = Problem(
        name="critic",
        network=critic,
        point=point_of(chosen.place, real, fake, drawn(seed), first),
        arguments=cond,
        seed=torch.ones_like,
        cost=chosen.of_norms,
        weight=float(weight),
        accuracy=accuracy,
    )
    penalty, norms = solved(problem, fallback)
    return (penalty, norms) if return_norms else penalty


def _check(critic: Any, real: Any, fake: Any, kind: Any) -> None:
    if isinstance(critic, type):
        raise TypeError(
            f"critic is the class {critic.__name__}, expected one made of it: {critic.__name__}(...)"
        )
    if not callable(critic):
        raise TypeError(f"critic is {type(critic).__name__}, expected a callable critic(x, **cond)")
    check_name("kind", kind, KIND_NAMES)
    given = {name: tensor for name, tensor in (("real", real), ("fake", fake)) if tensor is not None}
    for name in _NEEDS[KINDS[kind].place]:
        if name not in given:
            raise ValueError(f"{name} is None, expected a batch (N, ...): kind {kind!r} needs it")
    for name, tensor in given.items():
        check_samples(name, tensor)
    if len(given) == 2:
        check.like("fake", fake, real, model="real")


def _check_numbers(first: int, samples: Tensor | None) -> None:
    """ValueError for samples of numbers that Philox's counter has no word for."""
    count = 0 if samples is None else samples.shape[0]
    if first + count > MOST_SAMPLES:
        raise ValueError(
            f"first is {first}, expected at most {MOST_SAMPLES - count}: {count} samples have numbers below 2**32"
        )
