"""The reference as a backend, for those who ask for it by name."""

from genfuse_kernels.sampler_step.aten_impl import sampler_step

__all__ = ["sampler_step"]
