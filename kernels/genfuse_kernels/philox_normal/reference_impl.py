"""The reference as a backend, for those who ask for it by name."""

from genfuse_kernels.philox_normal.aten_impl import philox_normal

__all__ = ["philox_normal"]
