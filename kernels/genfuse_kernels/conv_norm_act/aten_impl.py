"""`conv_norm_act` by PyTorch's own kernels."""

from __future__ import annotations

from genfuse_kernels.conv_norm_act.aten_norm import normalised
from genfuse_kernels.conv_norm_act.composed import launcher

conv_norm_act = launcher(normalised)
