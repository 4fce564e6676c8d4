"""Lists of tensors for the tests of ops that change them in place: `genfuse_kernels.common.list_cases`."""

from genfuse_kernels.common.list_cases import SHAPES, SINGLE, like, tensors, values

__all__ = ["SHAPES", "SINGLE", "like", "tensors", "values"]
