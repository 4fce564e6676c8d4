"""The gradient of what a unit does before its convolution: csrc/conv_norm_act/prologue_gradient.cpp.

With n = a·x̂ + b the norm's result, a = norm_weight·(1 + film_scale), b likewise with film_shift, x̂ = (x − mean)·r,
r = 1/√(var + eps), and g the gradient times dropout's mask and the activation's derivative at n:

    S1 = Σ g, S2 = Σ g·x̂              over the pixels of a sample's channel
    film_shift   S1
    film_scale   norm_weight·S2 + norm_bias·S1
    norm_weight  (1 + film_scale)·S2   summed over the samples where it is (C,)
    norm_bias    (1 + film_scale)·S1
    x, skip      r·a·g                 with statistics that were given, or running ones
                 r·(a·g − G1/M − x̂·G2/M), G1 = Σ a·S1, G2 = Σ a·S2 over the channels that were normalised together,
                                       M values, where the statistics are x's own
    stats        −r·(G1 + r·G2·(m − mean))/k, −r²·G2/2k for the m and v of one of those k channels

A norm per pixel has sums over a pixel's channels in the place of G1, G2 and M. g and x̂ are computed anew from x.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.conv_norm_act.cpu_impl import image, prologue_of, read_by, readable
from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors
from genfuse_kernels.conv_norm_act.spec import measures
from genfuse_kernels.norm_stats.cpu_impl import norm_stats


class ReadGradient(NamedTuple):
    """Gradients by the name of what they are of, like it in shape and dtype; None where not needed."""

    x: Tensor | None = None
    skip: Tensor | None = None
    norm_weight: Tensor | None = None
    norm_bias: Tensor | None = None
    film_scale: Tensor | None = None
    film_shift: Tensor | None = None
    stats: Tensor | None = None

    def by_name(self, names: Collection[str]) -> dict[str, Tensor]:
        """Those of these names that there are."""
        return {name: tensor for name in names if (tensor := getattr(self, name)) is not None}


_PARAMETERS = ("norm_weight", "norm_bias", "film_scale", "film_shift", "stats")


def read_gradient(
    gradient: Tensor,
    x: Tensor,
    settings: Settings,
    tensors: UnitTensors,
    *,
    through_stats: bool,
    needs: Collection[str],
    overwrite: bool = False,
    added: Mapping[str, Tensor] = MappingProxyType({}),
) -> ReadGradient:
    """The gradients that `needs` names, from that of `reference.read`'s result: (N, C, H, W) in x's dtype.

    tensors        as in the forward; `stats` saves measuring them again where the norm measured them
    through_stats  whether stats are x's and skip's own, so that their gradient goes on to these
    overwrite      the gradients of x and skip may be put into `gradient`'s memory
    added          by "x" and "skip": what is added to their gradients as they are written
    """
    skip = tensors.get("skip")
    of: Any = {**tensors, "x": x}
    wanted: dict[str, Tensor] = {name: tensor for name in needs if (tensor := of.get(name)) is not None}
    if x.shape[0] == 0:
        return ReadGradient(**{name: torch.zeros_like(tensor) for name, tensor in wanted.items()})
    x, skip, given = readable(x), None if skip is None else readable(skip), readable(gradient)
    room = given if overwrite or given is not gradient else None
    found = {
        name: torch.empty(tensor.shape, dtype=torch.float32)
        for name, tensor in wanted.items()
        if name in _PARAMETERS
    }
    if "x" in wanted:
        found["x"] = _place(x, room, 0)
    if skip is not None and "skip" in wanted:
        found["skip"] = _place(skip, room, x.shape[1])
    if measures(settings, tensors.get("running_mean"), tensors.get("stats")):
        tensors = {**tensors, "stats": _measured(x, skip)}
    others = {name: readable(other) for name, other in added.items()}
    prologue, _held = prologue_of(settings, given.shape[1], tensors)
    _cpu.prologue_gradient(
        *read_by(x, skip),
        prologue,
        through_stats,
        image(given),
        image(found["x"]) if "x" in found else None,
        image(found["skip"]) if "skip" in found else None,
        image(others["x"]) if "x" in others else None,
        image(others["skip"]) if "skip" in others else None,
        *(found[name].data_ptr() if name in found else 0 for name in _PARAMETERS),
    )
    return ReadGradient(**{name: tensor.to(wanted[name].dtype) for name, tensor in found.items()})


def _place(like: Tensor, room: Tensor | None, first: int) -> Tensor:
    """Where a gradient goes: channels of `room` from the first on, or memory of its own."""
    return torch.empty_like(like) if room is None else room[:, first : first + like.shape[1]]


def _measured(x: Tensor, skip: Tensor | None) -> Tensor:
    """Statistics (N, C, 2) of x and skip."""
    found = []
    for part in (x,) if skip is None else (x, skip):
        found.append(torch.empty((*part.shape[:2], 2)))
        norm_stats(found[-1], part)
    return torch.cat(found, 1)
