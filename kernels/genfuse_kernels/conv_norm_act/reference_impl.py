"""The reference as a backend, for those who ask for it by name."""

from genfuse_kernels.conv_norm_act.aten_impl import conv_norm_act

__all__ = ["conv_norm_act"]
