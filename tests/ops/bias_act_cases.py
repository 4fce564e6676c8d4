"""Calls of `bias_act`, for every backend."""

from __future__ import annotations

from torch import Tensor

from genfuse_kernels.bias_act.cases import SHAPES, expected, generated
from genfuse_kernels.bias_act.cases import Call as Case

__all__ = ["SHAPES", "Case", "assert_near", "generated"]


def assert_near(out: Tensor, case: Case) -> None:
    want, allowed = expected(case)
    error = (out.double() - want).abs()
    assert out.dtype == case.x.dtype and out.shape == want.shape
    assert (error <= allowed).all(), (case.x.shape, case.settings, float((error - allowed).max()))
