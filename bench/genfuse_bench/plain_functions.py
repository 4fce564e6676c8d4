"""genfuse's functions as plain PyTorch has them, in the place of those that systems and training import."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

import genfuse
from genfuse import ops
from genfuse.penalties.kinds import KINDS
from genfuse.penalties.points import drawn, noise_like, point_of
from genfuse.rewrite.plan import Planned
from genfuse_kernels.philox_normal.spec import STREAM_PATH

_ROOMS = ("genfuse.systems.", "genfuse.train.")


def gradient_penalty(
    critic: Callable[..., Tensor],
    real: Tensor | None = None,
    fake: Tensor | None = None,
    *,
    kind: Any,
    weight: float = 10.0,
    seed: int | None = None,
    first: int = 0,
    return_norms: bool = False,
    fallback: object = None,
    accuracy: object = None,
    **cond: Any,
) -> Any:
    """As papers' code has it: autograd's double backward, which a compiler does not do."""
    chosen = KINDS[kind]
    x = point_of(chosen.place, real, fake, drawn(seed), first)
    if not x.requires_grad:
        x = x.detach().requires_grad_()
    with torch.compiler.set_stance("force_eager"):
        scores = critic(x, **cond)
    (gradient,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    norms = gradient.flatten(1).norm(dim=1)
    penalty = weight * chosen.of_norms(norms)
    return (penalty, norms.detach()) if return_norms else penalty


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
    fallback: object = None,
    accuracy: object = None,
    **cond: Any,
) -> Any:
    """Likewise, as StyleGAN2's code has it."""
    if not w.requires_grad:
        w = w.detach().requires_grad_()
    with torch.compiler.set_stance("force_eager"):
        pictures = generator(w, **cond)
    noise = noise_like(pictures, drawn(seed), STREAM_PATH, first) / math.sqrt(math.prod(pictures.shape[2:]))
    (gradient,) = torch.autograd.grad((pictures * noise).sum(), w, create_graph=True)
    lengths = gradient.square().sum(-1).reshape(len(w), -1).mean(1).sqrt()
    target = mean.lerp(lengths.mean(), decay)
    penalty = weight * (lengths - target).square().mean()
    mean.copy_(target.detach())
    return (penalty, lengths.detach()) if return_lengths else penalty


@torch.no_grad()
def clip_weights(parameters: Any, bound: float) -> None:
    """By PyTorch's multi-tensor kernels."""
    several = list(parameters)
    torch._foreach_clamp_max_(several, bound)
    torch._foreach_clamp_min_(several, -bound)


def clip_grad_norm(parameters: Any, max_norm: float) -> Tensor:
    """`torch.nn.utils.clip_grad_norm_`."""
    return nn.utils.clip_grad_norm_(list(parameters), max_norm)


@torch.no_grad()
def ema_update(averages: Sequence[Tensor], parameters: Sequence[Tensor], decay: float) -> None:
    """By PyTorch's multi-tensor lerp."""
    torch._foreach_lerp_(list(averages), list(parameters), 1 - decay)


def planned(model: Any) -> Any:
    """The network as it is, without a plan."""
    return model


FUNCTIONS: tuple[tuple[Any, Any], ...] = (
    (genfuse.gradient_penalty, gradient_penalty),
    (genfuse.path_length_penalty, path_length_penalty),
    (ops.clip_weights, clip_weights),
    (ops.clip_grad_norm, clip_grad_norm),
    (ops.ema_update, ema_update),
    (Planned, planned),
)


def _places() -> list[tuple[Any, str, Any]]:
    """Where a function of genfuse's is imported: module, name, what plain PyTorch has for it."""
    plain = {id(ours): theirs for ours, theirs in FUNCTIONS}
    rooms = [module for name, module in list(sys.modules.items()) if name.startswith(_ROOMS)]
    return [
        (room, name, plain[id(value)])
        for room in rooms
        for name, value in list(vars(room).items())
        if id(value) in plain
    ]


@contextmanager
def plain_functions() -> Iterator[None]:
    """Inside, systems and training call PyTorch's functions, and every op that is left runs on "aten"."""
    places = _places()
    before = [getattr(room, name) for room, name, _ in places]
    for room, name, theirs in places:
        setattr(room, name, theirs)
    try:
        with genfuse.backend("aten"):
            yield
    finally:
        for (room, name, _), ours in zip(places, before, strict=True):
            setattr(room, name, ours)
