"""`philox_normal` in Triton against its float64 reference."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from genfuse_kernels.common import layout
from genfuse_kernels.common.philox import box_muller, philox_words
from genfuse_kernels.philox_normal import reference, spec
from genfuse_kernels.philox_normal.triton_impl import philox_normal
from triton_proof import interpreter

SEEDS = torch.tensor([0, -1, 2**63 - 1, 0x0123456789ABCDEF])
SHAPES = [(4, 3, 5, 7), (4, 1), (4,), (2, 4, 16, 24), (1, 2, 3, 4, 6), (3, 0, 4)]


@triton.jit
def _words(out, seeds, row, stream, first, BLOCKS: tl.constexpr):
    block = first.to(tl.int64) + tl.arange(0, BLOCKS)
    words = philox_words(tl.load(seeds + tl.program_id(0)), tl.load(row), tl.load(stream), block)
    address = out + (tl.program_id(0) * BLOCKS + tl.arange(0, BLOCKS)) * 4
    for i in tl.static_range(4):
        tl.store(address + i, words[i].to(tl.int64))


@pytest.mark.parametrize("row, stream", [(0, 0), (7, 1), (2**32 - 1, 2**32 - 1)])
def test_words_are_bit_equal_to_the_reference(row, stream):
    out = torch.full((4, 16 * 4), -1)
    _words[(4,)](out, SEEDS, torch.tensor([row]), torch.tensor([stream]), 0, 16)
    assert torch.equal(out, reference.philox_words(SEEDS, 64, torch.full((4,), row), stream))


def test_words_beyond_32_bits_of_counter_are_bit_equal_to_the_reference():
    first = 2**32 - 8
    out = torch.full((1, 64), -1)
    _words[(1,)](out, SEEDS[3:], torch.tensor([5]), torch.tensor([2]), first, 16)
    block = first + torch.arange(16)
    zero = torch.zeros_like(block)
    key = (zero + (int(SEEDS[3]) & 0xFFFFFFFF), zero + (int(SEEDS[3]) >> 32))
    words = reference.philox4x32((block & 0xFFFFFFFF, block >> 32, zero + 5, zero + 2), key)
    assert torch.equal(out.reshape(16, 4), torch.stack(words, -1))


def _error(out: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((out.double() - expected).abs() / expected.abs().clamp(min=1)).nan_to_num(torch.inf).max())


@pytest.mark.parametrize("dtype", spec.DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_normals_match_the_reference(dtype, shape):
    out = torch.full(shape, torch.nan, dtype=dtype)
    seeds = SEEDS[: shape[0]]
    philox_normal(out, seeds, 3, spec.STREAM_INIT)
    if out.numel():
        expected = reference.philox_normal(seeds, shape, 3, spec.STREAM_INIT)
        assert _error(out, expected) <= spec.tolerance(dtype)


@pytest.mark.parametrize(
    "row", [11, torch.tensor([11]), torch.tensor([11, 0, 2**32 - 1])], ids=["int", "1", "N"]
)
def test_row_is_an_int_or_lies_on_the_device(row):
    out = torch.full((3, 2, 9), torch.nan)
    philox_normal(out, SEEDS[:3], row, 0)
    assert _error(out, reference.philox_normal(SEEDS[:3], (3, 2, 9), row, 0)) <= 1e-6


def _strided(shape: tuple[int, ...], kind: str) -> torch.Tensor:
    n, c, h, w = shape
    return {
        "channels_last": torch.empty(shape).to(memory_format=torch.channels_last),
        "sliced channels": torch.empty(n, 2 * c, h, w)[:, ::2],
        "sliced channels_last": torch.empty(n, 2 * c, h, w).to(memory_format=torch.channels_last)[:, :c],
        "transposed": torch.empty(w, h, c, n).permute(3, 2, 1, 0),
        "strided width": torch.empty(n, c, h, 2 * w)[..., ::2],
    }[kind].fill_(torch.nan)


KINDS = ["channels_last", "sliced channels", "sliced channels_last", "transposed", "strided width"]


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (2, 8, 12, 16), (2, 5, 3, 3)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_memory_format_does_not_change_a_bit(kind, shape):
    contiguous = torch.empty(shape)
    philox_normal(contiguous, SEEDS[:2], 1, 0)
    out = _strided(shape, kind)
    philox_normal(out, SEEDS[:2], 1, 0)
    assert torch.equal(out, contiguous)


def test_a_sample_depends_on_its_own_seed_alone():
    together, alone = torch.empty(4, 3, 50), torch.empty(1, 3, 50)
    philox_normal(together, SEEDS, 2, 1)
    philox_normal(alone, SEEDS[2:3], 2, 1)
    assert torch.equal(together[2:3], alone)


def test_offsets_in_64_bits_give_the_same_bits(monkeypatch):
    narrow, wide = torch.empty(2, 4, 6, 6), torch.empty(2, 4, 6, 6)
    philox_normal(narrow, SEEDS[:2], 2, 1)
    monkeypatch.setattr(layout, "INT32_LIMIT", 0)
    assert layout.walk([wide], draws=True).arguments["WIDE"]
    philox_normal(wide, SEEDS[:2], 2, 1)
    assert torch.equal(narrow, wide)


def test_each_element_is_written_once_and_only_seeds_are_read():
    out = torch.empty(2, 3, 200)
    with interpreter.record() as traffic:
        philox_normal(out, SEEDS[:2], 0, 0)
    assert traffic.stored[out.data_ptr()] == spec.bytes_moved(out.numel(), out.element_size())
    assert traffic.loaded[out.data_ptr()] == 0
    assert traffic.launches == 1


def test_the_whole_range_of_uniforms():
    """Box–Muller over the ends and the middle of 2²³ uniforms, where logarithm and reduction are hardest."""
    k = torch.tensor([0, 1, 2**20, 2**21 - 1, 2**21, 2**22 - 1, 2**22, 2**22 + 1, 2**23 - 2, 2**23 - 1])
    words = torch.stack(torch.meshgrid(k << 9, k << 9, indexing="ij"), -1).reshape(-1, 2)
    padded = torch.zeros(128, 2, dtype=torch.int64)
    padded[: len(words)] = words
    expected = reference.normals_from_words(padded)
    for compute, dtype in ((tl.float32, torch.float32), (tl.float64, torch.float64)):
        out = torch.empty(128, 2, dtype=dtype)
        _normals[(1,)](out, padded, 128, compute)
        assert _error(out, expected) <= spec.tolerance(dtype)


@triton.jit
def _normals(out, words, PAIRS: tl.constexpr, COMPUTE: tl.constexpr):
    i = tl.arange(0, PAIRS)
    first = tl.load(words + i * 2).to(tl.uint32)
    second = tl.load(words + i * 2 + 1).to(tl.uint32)
    n0, n1 = box_muller(first, second, COMPUTE)
    tl.store(out + i * 2, n0)
    tl.store(out + i * 2 + 1, n1)
