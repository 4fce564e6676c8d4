"""The gradients of `norm_act` by the Triton kernels."""

from __future__ import annotations

from functools import partial

from genfuse_kernels.conv_norm_act.triton_norm_gradient import read_gradient
from genfuse_kernels.norm_act.scaled_gradient import scaled_gradient

norm_act_gradient = partial(scaled_gradient, read_gradient)
