"""What the GPU's backends share of a norm's gradient; `norm_gradient` has the mathematics.

From a channel's sums over space to the gradients of parameters and statistics it is a few numbers a channel, in double,
by PyTorch's own ops.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act.norm_table import Table
from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors


def gradients_of(
    found_by: Callable[..., dict[str, Tensor]],
    gradient: Tensor,
    x: Tensor,
    settings: Settings,
    tensors: UnitTensors,
    *,
    through_stats: bool,
    needs: Collection[str],
) -> dict[str, Tensor]:
    """The gradients that `needs` names, like what they are of, from that of `reference.read`'s result.

    found_by       a backend's: of (gradient, x, settings, tensors, through_stats, wanted), the wanted ones by name
    tensors        as in the forward; `stats` saves measuring them again where the norm measured them
    through_stats  whether stats are x's and skip's own, so that their gradient goes on to these
    """
    named: dict[str, Tensor | None] = {"x": x, **tensors}  # type: ignore[dict-item]
    wanted = {name: tensor for name in needs if (tensor := named.get(name)) is not None}
    if gradient.numel() == 0:
        return {name: torch.zeros_like(tensor) for name, tensor in wanted.items()}
    if through_stats and "stats" in wanted:
        raise ValueError(
            "stats has a gradient of its own only where they were given, expected through_stats=False"
        )
    found = found_by(gradient, x, settings, tensors, through_stats, wanted)
    return {name: found[name].to(tensor.dtype) for name, tensor in wanted.items()}


def has_constant_stats(s: Settings, tensors: UnitTensors, through_stats: bool) -> bool:
    """Whether the gradient of x does not go through its statistics: there are none, or they are others' numbers."""
    if s.norm == "none" or tensors.get("running_mean") is not None:
        return True
    return not through_stats and tensors.get("stats") is not None


def of_channels(
    sums: Tensor, positions: int, s: Settings, table: Table, tensors: UnitTensors, wanted: Collection[str]
) -> tuple[dict[str, Tensor], Tensor | None]:
    """The gradients of parameters and given statistics; G1 and G2 over M, (N, C, 2) float32, of norms over space.

    sums   Σg and Σg·x̂ of each channel over its `positions`, (2, N, C) float64
    """
    plain, weighted = sums
    batch, channels = plain.shape
    weights = {"norm_weight": tensors.get("norm_weight"), "norm_bias": tensors.get("norm_bias")}
    weight, bias = (_of_sample(tensor, plain) for tensor in weights.values())
    film_scale = tensors.get("film_scale")
    film = 1.0 if film_scale is None else 1 + film_scale.double()
    found = {
        "film_shift": plain,
        "film_scale": (1.0 if weight is None else weight) * weighted
        + (0.0 if bias is None else bias) * plain,
        "norm_weight": film * weighted,
        "norm_bias": film * plain,
    }
    for name, tensor in weights.items():
        if tensor is not None and tensor.ndim == 1:
            found[name] = found[name].sum(0)
    if (
        table.channels is None
        or table.pixels is not None
        or s.norm == "none"
        or tensors.get("running_mean") is not None
    ):
        return {name: found[name] for name in wanted if name in found}, None
    mean, rstd, scale = (table.channels[..., i].double() for i in range(3))
    groups = {"batch": channels, "instance": channels, "layer": 1, "group": s.num_groups}[s.norm]
    of_sets = [_summed(scale * part, s, groups) for part in (plain, weighted)]
    members = batch if s.norm == "batch" else channels // groups
    stats = tensors.get("stats")
    if "stats" in wanted and stats is not None:
        apart = stats[..., 0].double() - mean
        of_mean = -rstd * (of_sets[0] + rstd * of_sets[1] * apart) / members
        found["stats"] = torch.stack([of_mean, -rstd.square() * of_sets[1] / (2 * members)], 2)
    means = torch.stack(of_sets, 2) / (members * positions)
    return {name: found[name] for name in wanted if name in found}, means.float().contiguous()


def _of_sample(tensor: Tensor | None, like: Tensor) -> Tensor | None:
    return None if tensor is None else tensor.double().reshape(-1, like.shape[1])


def _summed(values: Tensor, s: Settings, groups: int) -> Tensor:
    """Over what is normalised together, for each channel."""
    batch, channels = values.shape
    if s.norm == "batch":
        return values.sum(0, keepdim=True).expand(batch, channels)
    of_groups = values.view(batch, groups, channels // groups).sum(2)
    return of_groups.repeat_interleave(channels // groups, 1)
