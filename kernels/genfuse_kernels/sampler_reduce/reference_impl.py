"""The reference as a backend, for those who ask for it by name."""

from genfuse_kernels.sampler_reduce.aten_impl import sampler_reduce

__all__ = ["sampler_reduce"]
