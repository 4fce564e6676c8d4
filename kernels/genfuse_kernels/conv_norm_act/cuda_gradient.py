"""The gradients of a unit by the CUDA kernels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from torch import Tensor

from genfuse_kernels.conv_norm_act.cuda_data_gradient import data_gradient
from genfuse_kernels.conv_norm_act.cuda_input_gradient import input_gradient
from genfuse_kernels.conv_norm_act.cuda_weight_gradient import takes_sums, weight_gradient
from genfuse_kernels.conv_norm_act.settings import Settings, UnitTensors
from genfuse_kernels.conv_norm_act.unit_gradient import Kernels, unit_gradient, with_added
from genfuse_kernels.norm_stats.cuda_impl import norm_stats


def _data(gradient: Tensor, weight: Tensor, settings: Settings, image: Tensor) -> Tensor:
    return data_gradient(gradient, weight, settings, (image.shape[2], image.shape[3]))


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
    found = input_gradient(gradient, weight, x, settings, tensors, through_stats=through_stats, needs=needs)
    return with_added(found, added)


conv_norm_act_gradient = partial(
    unit_gradient, Kernels(_data, weight_gradient, _read, norm_stats, takes_sums)
)
