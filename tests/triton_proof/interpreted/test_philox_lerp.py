"""`philox_lerp` in Triton against its float64 reference, and what it moves."""

from __future__ import annotations

import pytest
import torch

from genfuse.lab import interpreter
from genfuse_kernels.common import layout
from genfuse_kernels.philox_lerp import cases, cpu_impl, reference, spec
from genfuse_kernels.philox_lerp.triton_impl import philox_lerp
from triton_proof.seeds import WHOLE


@pytest.mark.parametrize("dtype", spec.DTYPES)
def test_generated_calls(dtype: torch.dtype) -> None:
    for seed in range(200 if WHOLE else 25):
        case = cases.case(1000 + seed, dtype)
        assert case.run(philox_lerp) <= 1, case.name


def test_weights_to_the_bit() -> None:
    for seed, first in ((0, 0), (5, 7), (2**63 - 1, 2**32 - 19)):
        for dtype in (torch.float32, torch.float64):
            zero, one, out = (
                torch.zeros(19, 1, dtype=dtype),
                torch.ones(19, 1, dtype=dtype),
                torch.empty(19, 1, dtype=dtype),
            )
            philox_lerp(out, zero, one, seed, first)
            assert torch.equal(out[:, 0].double(), reference.weights(19, seed, first))


def test_offsets_in_64_bits_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    start, end = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
    narrow, wide = torch.empty_like(start), torch.empty_like(start)
    philox_lerp(narrow, start, end, 2, 1)
    monkeypatch.setattr(layout, "INT32_LIMIT", 0)
    assert layout.walk([wide], draws=False).arguments["WIDE"]
    philox_lerp(wide, start, end, 2, 1)
    assert torch.equal(narrow, wide)
    cpu_impl.philox_lerp(wide, start, end, 2, 1)
    assert torch.allclose(narrow, wide, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("format_", [torch.contiguous_format, torch.channels_last])
def test_each_tensor_is_moved_once(format_: torch.memory_format) -> None:
    start, end, out = (torch.randn(2, 3, 20, 20).to(memory_format=format_) for _ in "seo")
    with interpreter.record() as traffic:
        philox_lerp(out, start, end, 2, 1)
    assert traffic.launches == 1 and traffic.loaded[out.data_ptr()] == 0
    moved = traffic.loaded[start.data_ptr()] + traffic.loaded[end.data_ptr()] + traffic.stored[out.data_ptr()]
    assert moved == spec.bytes_moved(out.numel(), out.element_size())
