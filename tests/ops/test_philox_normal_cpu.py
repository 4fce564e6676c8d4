"""The CPU kernel of `philox_normal`: words bit for bit, normals to the spec's tolerance, statistics."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats

from genfuse_kernels import _cpu
from genfuse_kernels.philox_normal import reference, spec
from genfuse_kernels.philox_normal.cpu_impl import philox_normal
from ops.cpu_cases import DTYPES, LAYOUTS, laid_out, threads, untouched_elsewhere

SEEDS = (0, 1, -1, 2**63 - 1, -(2**63), 0x123456789ABCDEF)


pytestmark = pytest.mark.usefixtures("isa")


def test_streams_are_those_of_spec_py() -> None:
    assert _cpu.STREAMS == (spec.STREAM_STEP, spec.STREAM_INIT, spec.STREAM_FORWARD)


@pytest.mark.parametrize("seed", SEEDS)
def test_words_equal_the_reference(seed: int) -> None:
    for row, stream in ((0, 0), (2**32 - 1, 5), (17, 2**32 - 1)):
        want = reference.philox_words(torch.tensor([seed]), 4 * 37, torch.tensor([row]), stream)
        assert _cpu.philox_words(37, 0, seed, row, stream) == want[0].tolist()


def test_known_answers() -> None:
    """Philox4x32-10's published vectors (Random123, kat_vectors): all zeros, all ones."""
    assert _cpu.philox_words(1, 0, 0, 0, 0) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    ones = _cpu.philox_words(1, -1, -1, 2**32 - 1, 2**32 - 1)
    assert ones == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


def test_block_carries_into_the_high_word() -> None:
    across = _cpu.philox_words(16, 2**32 - 8, 5, 0, 0)
    assert across[32:] == _cpu.philox_words(8, 2**32, 5, 0, 0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_normals_equal_the_reference(dtype: torch.dtype, layout: str) -> None:
    seeds = torch.tensor(SEEDS[:3])
    rows = torch.tensor([0, 7, 2**32 - 1])
    for shape in ((3,), (3, 1), (3, 5), (3, 3, 33, 31), (3, 4, 40, 40), (3, 2, 3, 5, 7), (3, 70, 5), (3, 0)):
        want = reference.philox_normal(seeds, shape, rows, 1)
        out = laid_out(torch.full(shape, math.nan, dtype=dtype), layout)
        philox_normal(out, seeds, rows, 1)
        error = (out.double() - want).abs() / want.abs().clamp_min(1)
        assert (error <= spec.tolerance(dtype)).all()
        assert untouched_elsewhere(out)


def test_tails_of_the_distribution() -> None:
    """A million normals hold the tolerance too, the extreme ones included."""
    seeds = torch.tensor([42])
    want = reference.philox_normal(seeds, (1, 1 << 20), 0, 0)
    for dtype in (torch.float32, torch.float64):
        out = torch.empty(1, 1 << 20, dtype=dtype)
        philox_normal(out, seeds, 0, 0)
        assert ((out.double() - want).abs() / want.abs().clamp_min(1)).max() <= spec.tolerance(dtype)


def test_bits_do_not_depend_on_threads_or_batch() -> None:
    seeds = torch.arange(8)
    one, two = torch.empty(8, 3, 65, 67), torch.empty(8, 3, 65, 67)
    with threads(1):
        philox_normal(one, seeds, 3, 0)
    with threads(2):
        philox_normal(two, seeds, 3, 0)
    alone = torch.empty(1, 3, 65, 67)
    philox_normal(alone, seeds[5:6], 3, 0)
    assert torch.equal(one, two) and torch.equal(one[5:6], alone)


def test_normals_are_normal_and_independent() -> None:
    out = torch.empty(4, 1 << 18)
    philox_normal(out, torch.arange(4), 0, 0)
    for sample in out.double():
        assert stats.kstest(sample.numpy(), "norm").pvalue > 1e-4
        for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
            spread = math.sqrt(math.prod(range(2 * power - 1, 0, -2)) / sample.numel())
            assert abs(float((sample**power).mean()) - moment) < 5 * spread
        lagged = [float((sample[lag:] * sample[:-lag]).mean()) for lag in (1, 2, 3, 4)]
        assert max(map(abs, lagged)) < 5 / math.sqrt(sample.numel())
    correlations = torch.corrcoef(out.double()) - torch.eye(4)
    assert correlations.abs().max() < 5 / math.sqrt(1 << 18)


@pytest.mark.parametrize("row", [-1, 2**32, torch.tensor([0, 2**32])])
def test_rows_beyond_32_bits_are_refused(row: Any) -> None:
    out = torch.full((2, 3), 7.0)
    with pytest.raises(ValueError, match="row is"):
        philox_normal(out, torch.tensor([1, 2]), row, 0)
    assert (out == 7).all()
