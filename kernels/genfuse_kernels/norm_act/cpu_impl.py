"""`norm_act` by the C++ kernels: csrc/conv_norm_act/identity.cpp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.conv_norm_act.cpu_impl import NO_WEIGHTS, run
from genfuse_kernels.conv_norm_act.settings import NormTensors, Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack


def norm_act(
    out: Tensor, stats_out: Tensor | None, x: Tensor, settings: Settings, **tensors: Unpack[NormTensors]
) -> None:
    """Fill `out` and `stats_out`; see `spec`. Shapes, dtypes and devices are the caller's to check."""
    run(_cpu.Conv.without(x.shape[1]), NO_WEIGHTS, out, stats_out, x, None, settings, **tensors)
