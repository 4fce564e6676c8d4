"""`timestep_embedding` in Triton against its definition."""

from __future__ import annotations

import pytest
import torch

from genfuse_kernels.timestep_embedding import reference, spec, triton_impl


@pytest.mark.parametrize("dtype", spec.DTYPES)
@pytest.mark.parametrize("channels", [2, 3, 32, 129])
@pytest.mark.parametrize("flip", [False, True])
def test_against_the_definition(dtype: torch.dtype, channels: int, flip: bool) -> None:
    t = torch.tensor([0.0, -0.5, 1.0, 250.25, 999.0, -6e4]).to(dtype)
    want = reference.timestep_embedding(t.double(), channels, flip, 0.5, 2.0, 1e4)
    out = torch.full((6, channels), torch.nan, dtype=dtype)
    triton_impl.timestep_embedding(out, t, flip, 0.5, 2.0, 1e4)
    assert ((out.double() - want).abs() <= spec.tolerance(dtype, 2 * float(t.double().abs().max()))).all()


@pytest.mark.parametrize("largest", [1.0, 1e3, 1e5, 1e7, 1e12, 1e15])
def test_every_quarter_of_many_turns(largest: float) -> None:
    t = (torch.rand(500, dtype=torch.float64) * 2 - 1) * largest
    out = torch.empty(500, 4, dtype=torch.float64)
    triton_impl.timestep_embedding(out, t, False, 0.0, 1.0, 3.0)
    want = reference.timestep_embedding(t, 4, False, 0.0, 1.0, 3.0)
    assert ((out - want).abs() <= spec.tolerance(torch.float64, largest)).all()


def test_what_has_no_sine() -> None:
    t = torch.tensor([torch.inf, torch.nan, 1e300], dtype=torch.float64)
    out = torch.empty(3, 2, dtype=torch.float64)
    triton_impl.timestep_embedding(out, t, False, 0.0, 1.0, 1e4)
    assert out[:2].isnan().all() and out[2].tolist() == [0.0, 1.0]
