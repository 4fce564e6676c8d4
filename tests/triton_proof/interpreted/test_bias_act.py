"""`bias_act` and its gradient in Triton against the definition, and against the C++ kernel."""

from __future__ import annotations

import pytest
import torch

from genfuse_kernels.bias_act import cpu_impl, spec, triton_impl
from ops.bias_act_cases import assert_near, generated
from triton_proof.seeds import rotating


@pytest.mark.parametrize("dtype", spec.DTYPES)
@pytest.mark.parametrize("seed", rotating(1, 66))
def test_generated(dtype: torch.dtype, seed: int) -> None:
    case = generated(seed, dtype)
    per_sample = case.scale is not None or case.noise is not None
    last = seed % 2 and case.x.ndim == 4
    x = case.x.to(memory_format=torch.channels_last) if last else case.x
    assert spec.layout(x, case.settings.dim, per_sample) is not None
    out = torch.full_like(x, torch.nan)
    triton_impl.bias_act(out, x, *case[1:])
    assert_near(out, case)
    of_result = case.scale is None and spec.sign_tells(case.settings)
    kept = out if of_result else x
    how = (of_result, case.noise is not None, True, case.scale is not None)
    gradient = torch.empty_like(x).copy_(torch.randn(x.shape))
    found, want = torch.full_like(x, torch.nan), torch.empty_like(x)
    of_small = triton_impl.bias_act_gradient(found, gradient, kept, *case[1:], *how)
    want_small = cpu_impl.bias_act_gradient(want, gradient, kept, *case[1:], *how)
    step = 4 * torch.finfo(dtype).eps
    largest = 1 + float(x.double().abs().max()) if x.numel() else 1
    assert torch.allclose(found.float(), want.float(), rtol=step, atol=1e-5)
    for got, exact in zip(of_small, want_small, strict=True):
        if exact is not None and got is not None:
            torch.testing.assert_close(got, exact, rtol=1e-4, atol=1e-4 * largest * x.numel() ** 0.5)
