"""`path_length_penalty`: StyleGAN2's regulariser of a generator, by one tangent pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genfuse.ops import check
from genfuse.penalties.checks import Fallback, check_options, check_samples
from genfuse.penalties.points import drawn, noise_like
from genfuse.penalties.problem import Problem
from genfuse.penalties.solve import solved
from genfuse.penalties.uncompiled import uncompiled
from genfuse_kernels.conv_norm_act.settings import Accuracy
from genfuse_kernels.philox_normal.spec import STREAM_PATH


@uncompiled
def path_length_penalty(
    generator: Callable[..., Tensor],
    w: Tensor,
    mean: Tensor,
    *,
    weight: float = 2.0,
    decay: float = 0.01,
    seed: int | None = None,
    first: int = 0,
    return_lengths: bool = False,
    fallback: Fallback | None = None,
    accuracy: Accuracy | None = None,
    **cond: Any,
) -> Tensor | tuple[Tensor, Tensor]:
    """weight · mean (length − a)², length = ‖∇_w Σ y·generator(w)‖ of each sample (Karras et al. 2020, eq. 4).

    generator  generator(w, **cond) → pictures (N, C, ...), of what has tangent rules, as `genfuse.gradient_penalty`
               says of its critic
    w          (N, D), or (N, L, D), one a layer, whose lengths are divided by √L; with a graph behind it, of a mapping
               network, it gets its gradient
    mean       () floating, the running mean of lengths, moved in place to a = mean + decay·(mean length − mean); as in
               the paper's code, a is no constant for the gradient
    weight     0 or more
    decay      in [0, 1]
    seed       of y, standard normal noise over the root of a picture's pixels, in [0, 2**63): as `gradient_penalty`'s
    first      number of the first sample, as there
    return_lengths  also return the lengths, (N,) without gradient
    fallback, accuracy, cond  as in `gradient_penalty`

    Returns (), float32 or float64, differentiable once. ValueError, TypeError and UnsupportedError as there; the mean
    moves where nothing is raised and the lengths are finite: an overflow, whose step a gradient scaler leaves out,
    leaves it as it was.
    """
    _check(generator, w, mean, decay)
    check_options(weight, seed, fallback, accuracy)
    check.flag("return_lengths", return_lengths)
    check.count("first", first, 0)
    layers = w.shape[1] if w.ndim == 3 else 1
    number = drawn(seed)

    def noise(pictures: Tensor) -> Tensor:
        pixels = math.prod(pictures.shape[2:])
        return noise_like(pictures, number, STREAM_PATH, first) / math.sqrt(pixels)

    def lengths_of(norms: Tensor) -> Tensor:
        return norms / math.sqrt(layers)

    def cost(norms: Tensor) -> Tensor:
        lengths = lengths_of(norms)
        return (lengths - mean.to(lengths.dtype).lerp(lengths.mean(), decay)).square().mean()

    problem = Problem("generator", generator, w, cond, noise, cost, float(weight), accuracy)
    penalty, norms = solved(problem, fallback)
    lengths = lengths_of(norms)
    with torch.no_grad():
        moved = mean.lerp(lengths.mean().to(mean.dtype), decay)
        mean.copy_(torch.where(moved.isfinite(), moved, mean))
    return (penalty, lengths) if return_lengths else penalty


def _check(generator: Any, w: Tensor, mean: Tensor, decay: float) -> None:
    if not callable(generator):
        raise TypeError(f"generator is {type(generator).__name__}, expected a callable generator(w, **cond)")
    check.finite("decay", decay)
    if not 0 <= decay <= 1:
        raise ValueError(f"decay is {decay}, expected a number in [0, 1]")
    check_samples("w", w)
    if w.ndim not in (2, 3):
        raise ValueError(f"w has shape {tuple(w.shape)}, expected (N, D) or (N, L, D)")
    check.dense("mean", mean, "() of one number")
    if mean.shape != () or not mean.dtype.is_floating_point:
        raise ValueError(
            f"mean has shape {tuple(mean.shape)} and dtype {mean.dtype}, expected () of a floating one"
        )
    if mean.requires_grad:
        raise ValueError("mean requires a gradient, expected a buffer that is moved in place")
    check.same_device("mean", mean, w, "w")
