"""The gradients of a unit by the C++ kernels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from torch import Tensor

from genfuse_kernels.conv_norm_act.data_gradient import data_gradient
from genfuse_kernels.conv_norm_act.norm_gradient import read_gradient
from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors
from genfuse_kernels.conv_norm_act.unit_gradient import Kernels, parts, unit_gradient, with_added
from genfuse_kernels.conv_norm_act.weight_gradient import weight_gradient
from genfuse_kernels.norm_stats.cpu_impl import norm_stats


def _data(gradient: Tensor, weight: Tensor, settings: Settings, image: Tensor) -> Tensor:
    """In the image's layout."""
    size, last = (image.shape[2], image.shape[3]), image.stride(1) == 1 and image.shape[1] > 1
    return data_gradient(gradient, weight, settings, size, channels_last=last)


def _read(
    gradient: Tensor,
    weight: Tensor,
    x: Tensor,
    settings: Settings,
    tensors: UnitTensors,
    through_stats: bool,
    needs: Collection[str],
    added: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    of_read = _data(gradient, weight, settings, x)
    if _is_plain(settings, tensors):
        named = zip(("x", "skip"), parts(of_read, x.shape[1]), strict=True)
        return with_added({name: part for name, part in named if name in needs}, added)
    found = read_gradient(
        of_read, x, settings, tensors, through_stats=through_stats, needs=needs, overwrite=True, added=added
    )
    return found.by_name(needs)


def _is_plain(s: Settings, tensors: UnitTensors) -> bool:
    """Whether the convolution reads x and skip as they are."""
    changes = ("norm_weight", "norm_bias", "film_scale")
    return (s.norm, s.activation, s.dropout) == ("none", "none", 0) and all(
        tensors.get(name) is None for name in changes
    )


conv_norm_act_gradient = partial(unit_gradient, Kernels(_data, weight_gradient, _read, norm_stats))
