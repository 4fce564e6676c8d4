"""What every GPU kernel of `philox_normal` has to do, by cases against the float64 reference.

A test module of a backend derives a `Test...` class from `PhiloxContract` and names the kernel.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from genfuse_kernels.philox_normal import reference, spec

SEEDS = torch.tensor([0, -1, 2**63 - 1, 0x0123456789ABCDEF])
SHAPES = [(4, 3, 5, 7), (4, 1), (4,), (2, 4, 16, 24), (1, 2, 3, 4, 6), (3, 0, 4)]


def error(out: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest |out − expected| / max(1, |expected|)."""
    return float(((out.double() - expected).abs() / expected.abs().clamp(min=1)).nan_to_num(torch.inf).max())


def strided(shape: tuple[int, ...], kind: str) -> torch.Tensor:
    """NaN everywhere."""
    n, c, h, w = shape
    return {
        "channels_last": torch.empty(shape).to(memory_format=torch.channels_last),
        "sliced channels": torch.empty(n, 2 * c, h, w)[:, ::2],
        "sliced channels_last": torch.empty(n, 2 * c, h, w).to(memory_format=torch.channels_last)[:, :c],
        "transposed": torch.empty(w, h, c, n).permute(3, 2, 1, 0),
        "strided width": torch.empty(n, c, h, 2 * w)[..., ::2],
    }[kind].fill_(torch.nan)


KINDS = ["channels_last", "sliced channels", "sliced channels_last", "transposed", "strided width"]


class PhiloxContract:
    kernel: Callable[..., None]

    @pytest.mark.parametrize("dtype", spec.DTYPES)
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_normals_match_the_reference(self, dtype, shape):
        out = torch.full(shape, torch.nan, dtype=dtype)
        seeds = SEEDS[: shape[0]]
        self.kernel(out, seeds, 3, spec.STREAM_INIT)
        if out.numel():
            expected = reference.philox_normal(seeds, shape, 3, spec.STREAM_INIT)
            assert error(out, expected) <= spec.tolerance(dtype)

    @pytest.mark.parametrize(
        "row", [11, torch.tensor([11]), torch.tensor([11, 0, 2**32 - 1])], ids=["int", "1", "N"]
    )
    def test_row_is_an_int_or_lies_on_the_device(self, row):
        out = torch.full((3, 2, 9), torch.nan)
        self.kernel(out, SEEDS[:3], row, 0)
        assert error(out, reference.philox_normal(SEEDS[:3], (3, 2, 9), row, 0)) <= 1e-6

    @pytest.mark.parametrize("shape", [(2, 3, 4, 6), (2, 8, 12, 16), (2, 5, 3, 3)], ids=str)
    @pytest.mark.parametrize("kind", KINDS)
    def test_memory_format_does_not_change_a_bit(self, kind, shape):
        contiguous = torch.empty(shape)
        self.kernel(contiguous, SEEDS[:2], 1, 0)
        out = strided(shape, kind)
        self.kernel(out, SEEDS[:2], 1, 0)
        assert torch.equal(out, contiguous)

    def test_a_sample_depends_on_its_own_seed_alone(self):
        together, alone = torch.empty(4, 3, 50), torch.empty(1, 3, 50)
        self.kernel(together, SEEDS, 2, 1)
        self.kernel(alone, SEEDS[2:3], 2, 1)
        assert torch.equal(together[2:3], alone)
