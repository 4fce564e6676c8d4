"""`philox_normal` in Triton against its float64 reference."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from genfuse.lab import interpreter
from genfuse_kernels.common import layout
from genfuse_kernels.common.philox import box_muller, philox_words
from genfuse_kernels.philox_normal import reference, spec
from genfuse_kernels.philox_normal.triton_impl import philox_normal
from ops.philox_contract import SEEDS, PhiloxContract, error


class TestContract(PhiloxContract):
    kernel = staticmethod(philox_normal)


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
        assert error(out, expected) <= spec.tolerance(dtype)


@triton.jit
def _normals(out, words, PAIRS: tl.constexpr, COMPUTE: tl.constexpr):
    i = tl.arange(0, PAIRS)
    first = tl.load(words + i * 2).to(tl.uint32)
    second = tl.load(words + i * 2 + 1).to(tl.uint32)
    n0, n1 = box_muller(first, second, COMPUTE)
    tl.store(out + i * 2, n0)
    tl.store(out + i * 2 + 1, n1)
