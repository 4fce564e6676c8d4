"""The gradients of a unit from its raw input, its statistics and nothing else that it made, by a backend's kernels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors

READ = ("x", "skip", "norm_weight", "norm_bias", "film_scale", "film_shift", "stats")
"""What the prologue's gradient is of."""


def _never(_settings: Settings) -> bool:
    return False


class Kernels(NamedTuple):
    """A backend's.

    data    (gradient, weight, settings, image): of what the convolution read, of the image's height and width
    weight  (gradient, x, weight, settings, **tensors): of the weights
    read    (gradient, weight, x, settings, tensors, through_stats, needs, added): of what the prologue reads, by the
            names of `READ`
    stats   (out, x): mean and variance over space
    takes_sums  (settings): whether `weight` fills `sums=`, (N, K) float32, with the gradient's sums over space
    """

    data: Callable[..., Tensor]
    weight: Callable[..., Tensor]
    read: Callable[..., dict[str, Tensor]]
    stats: Callable[[Tensor, Tensor], None]
    takes_sums: Callable[[Settings], bool] = _never


def unit_gradient(
    kernels: Kernels,
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    settings: Settings,
    tensors: UnitTensors,
    *,
    through_stats: bool,
    needs: Collection[str],
    added: Mapping[str, Tensor] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """The gradients that `needs` names, each like what it is of, from that of the unit's output.

    settings       without an output's activation and without pooling
    tensors        as in the forward, with the statistics that its norm measured, if it did
    through_stats  whether these are x's and skip's own, so that their gradient goes on to these
    added          by "x" and "skip": what is added to their gradients
    """
    if settings.scale != 1:
        gradient = gradient * settings.scale
    found: dict[str, Tensor] = {}
    if "residual" in needs and tensors.get("residual_weight") is None:
        found["residual"] = gradient
    summed = {"bias", "shift"}.intersection(needs)
    sums = torch.empty(gradient.shape[:2], dtype=torch.float32, device=gradient.device) if summed else None
    on_the_way = {"sums": sums} if summed and "weight" in needs and kernels.takes_sums(settings) else {}
    if sums is not None and not on_the_way:
        _sum(kernels, gradient, sums)
    found |= _projected(kernels, gradient, tensors, settings, needs)
    if "weight" in needs:
        made = kernels.weight(gradient, x, weight, settings, **on_the_way, **tensors)
        found["weight"] = made.to(weight.dtype)
    if sums is not None:
        found |= {name: sums if name == "shift" else sums.sum(0) for name in summed}
    of_read = [name for name in READ if name in needs]
    if of_read:
        found |= kernels.read(gradient, weight, x, settings, tensors, through_stats, of_read, added)
    return found


def parts(gradient: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Views of the first channels and of the rest."""
    return gradient[:, :channels], gradient[:, channels:]


def with_added(found: dict[str, Tensor], added: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradients in memory of their own, with what is added to them, by a pass for each."""
    return {
        name: gradient.add_(added[name]) if name in added else gradient for name, gradient in found.items()
    }


def _sum(kernels: Kernels, gradient: Tensor, sums: Tensor) -> None:
    """Over space, by a pass of its own."""
    stats = torch.empty((*gradient.shape[:2], 2), dtype=torch.float32, device=gradient.device)
    if gradient.shape[0]:
        kernels.stats(stats, gradient)
    torch.mul(stats.select(2, 0), float(gradient.shape[2] * gradient.shape[3]), out=sums)


def _projected(
    kernels: Kernels, gradient: Tensor, tensors: UnitTensors, settings: Settings, needs: Collection[str]
) -> dict[str, Tensor]:
    """Of a residual that has a 1x1 convolution of its own, and of its weights."""
    weight, residual, skip = (
        tensors.get("residual_weight"),
        tensors.get("residual"),
        tensors.get("residual_skip"),
    )
    if weight is None or residual is None:
        return {}
    plain = Settings(accuracy=settings.accuracy)
    found: dict[str, Tensor] = {}
    if "residual_weight" in needs:
        made = kernels.weight(gradient, residual, weight, plain, skip=skip)
        found["residual_weight"] = made.to(weight.dtype)
    if not {"residual", "residual_skip"}.isdisjoint(needs):
        both = parts(kernels.data(gradient, weight, plain, residual), residual.shape[1])
        named = zip(("residual", "residual_skip"), both, strict=True)
        found |= {name: part for name, part in named if name in needs}
    return found
