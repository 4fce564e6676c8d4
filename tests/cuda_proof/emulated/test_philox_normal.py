"""`philox_normal` in CUDA, emulated, against its float64 reference and the C++ kernel."""

from __future__ import annotations

import pytest
import torch

from genfuse_kernels.common import cuda_walk
from genfuse_kernels.philox_normal import cpu_impl, reference, spec
from genfuse_kernels.philox_normal.cuda_impl import philox_normal
from ops.philox_contract import SEEDS, PhiloxContract, error


class TestContract(PhiloxContract):
    kernel = staticmethod(philox_normal)


@pytest.mark.parametrize("dtype", spec.DTYPES)
@pytest.mark.parametrize("row, stream", [(0, 0), (7, 1), (2**32 - 1, 2**32 - 1)])
def test_the_same_bits_as_the_cpu_kernel(row, stream, dtype):
    """So the words are Philox4x32-10's, which the C++ tests hold against the reference bit by bit."""
    out, expected = torch.empty(4, 3, 40, 33, dtype=dtype), torch.empty(4, 3, 40, 33, dtype=dtype)
    philox_normal(out, SEEDS, row, stream)
    cpu_impl.philox_normal(expected, SEEDS, row, stream)
    assert torch.equal(out, expected)


@pytest.mark.parametrize("dtype", spec.DTYPES)
@pytest.mark.parametrize("shape", [(2, 3, 20, 20), (2, 128, 2, 4), (2, 4, 16, 16), (1, 127, 4, 8), (3, 8, 4)])
def test_channels_last_is_written_in_memory_order(shape, dtype):
    contiguous = torch.empty(shape, dtype=dtype)
    philox_normal(contiguous, SEEDS[: shape[0]], 1, 0)
    out = torch.full((shape[0], *shape[2:], shape[1]), torch.nan, dtype=dtype).movedim(-1, 1)
    assert cuda_walk.walk([out], draws=True).order == "channels_last"
    philox_normal(out, SEEDS[: shape[0]], 1, 0)
    assert torch.equal(out, contiguous)


def test_what_lies_unaligned_or_in_odd_sizes_is_walked_element_by_element():
    flat = torch.empty(2, 64)
    assert cuda_walk.walk([flat], draws=True).order == "flat"
    for tensor in (torch.empty(129)[1:].view(2, 64), torch.empty(2, 63), torch.empty(2, 65)[:, :64]):
        assert cuda_walk.walk([tensor], draws=True).order == "planes"
        philox_normal(tensor, SEEDS[:2], 1, 0)
        assert error(tensor, reference.philox_normal(SEEDS[:2], tuple(tensor.shape), 1, 0)) <= 1e-6


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
def test_offsets_in_64_bits_give_the_same_bits(layout, monkeypatch):
    def new():
        tensor = torch.empty(2, 4, 6, 8)
        return {
            "contiguous": tensor,
            "channels_last": tensor.to(memory_format=torch.channels_last),
            "sliced": torch.empty(2, 8, 6, 8)[:, ::2],
        }[layout]

    narrow, wide = new(), new()
    philox_normal(narrow, SEEDS[:2], 2, 1)
    monkeypatch.setattr(cuda_walk, "INT32_LIMIT", 0)
    assert cuda_walk.walk([wide], draws=True).wide
    philox_normal(wide, SEEDS[:2], 2, 1)
    assert torch.equal(narrow, wide)
