"""`norm_act` by PyTorch's own kernels."""

from __future__ import annotations

from genfuse_kernels.conv_norm_act.aten_norm import normalised
from genfuse_kernels.norm_act.composed import launcher

norm_act = launcher(normalised)
