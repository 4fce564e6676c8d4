"""Half precision to float32, every value there is."""

from __future__ import annotations

import pytest
import torch

from genfuse_kernels.common.widened import widened


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_value(dtype: torch.dtype) -> None:
    values = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    wide = widened(values)
    assert wide is not None and wide.dtype == torch.float32
    torch.testing.assert_close(wide, values.float(), rtol=0, atol=0, equal_nan=True)
    assert torch.equal(torch.signbit(wide), torch.signbit(values.float()))
    strided = widened(values.view(256, 256).T)
    torch.testing.assert_close(strided, values.view(256, 256).T.float(), rtol=0, atol=0, equal_nan=True)


def test_float32_is_itself_and_float64_is_rounded() -> None:
    x = torch.randn(7)
    assert widened(x) is x and widened(None) is None
    assert torch.equal(widened(x.double()), x)
