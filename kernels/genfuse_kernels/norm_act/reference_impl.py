"""The reference as a backend, for those who ask for it by name."""

from genfuse_kernels.norm_act.aten_impl import norm_act

__all__ = ["norm_act"]
