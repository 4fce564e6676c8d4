"""`norm_stats` in CUDA, emulated, against its float64 reference."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from genfuse_kernels.common import cuda_tile, planes
from genfuse_kernels.norm_stats.cuda_impl import norm_stats
from genfuse_kernels.norm_stats.spec import DTYPES
from ops.norm_cases import check_stats, long_row, measured, random_image
from triton_proof.seeds import rotating


@pytest.fixture(params=[1, 128], ids=["whole", "split"])
def blocks(request, monkeypatch) -> int:
    """As few blocks as there can be, each with many chunks, or many blocks that share a channel."""
    monkeypatch.setattr(cuda_tile, "BLOCKS", request.param)
    return request.param


@pytest.fixture(autouse=True)
def every_memory_is_poisoned(poisoned):
    """Where blocks meet, too."""


def order(x: Tensor) -> str:
    return cuda_tile.tile([x], x.shape[1], x.shape[2] * x.shape[3]).order


@pytest.mark.parametrize("seed", rotating(4, 60))
def test_random_images(seed, blocks):
    check_stats(norm_stats, random_image(seed))


SHAPES = ((2, 8, 4, 6), (1, 40, 16, 24), (1, 264, 4, 4), (1, 16, 32, 36), (1, 8, 40, 56))
ORDERS = tuple(itertools.product(("rows", "channels_last", "planes"), DTYPES, SHAPES, (0.5, 1e4)))


@pytest.mark.parametrize("case", rotating(8, len(ORDERS)))
def test_every_order(case, blocks):
    layout, dtype, shape, mean = ORDERS[case * 37 % len(ORDERS)]  # neighbours differ in everything
    x = (torch.randn(shape) + (mean if dtype == torch.float32 else 0.5)).to(dtype)
    if layout == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    elif layout == "planes":
        x = torch.stack([x, torch.full_like(x, math.nan)], 4)[..., 0]
    assert order(x) == layout
    check_stats(norm_stats, x)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("first", [0.0, 1000.0])
@pytest.mark.parametrize("length", [1029, 8192 + 4])
def test_a_long_row_whatever_its_first_pixel(length, first, channels_last, blocks):
    """Each sample's bits are its own."""
    x = long_row(first, channels_last, length)
    check_stats(norm_stats, x)
    assert torch.equal(measured(norm_stats, x)[1:], measured(norm_stats, x[1:]))


def test_what_lies_unaligned_is_read_element_by_element():
    flat = torch.randn(2 * 8 * 16 + 1)
    x = flat[1:].view(2, 8, 4, 4)
    assert order(x) == "planes" and order(x.clone()) == "rows"
    check_stats(norm_stats, x)
    assert order(torch.randn(2, 8, 3, 3)) == "planes" and order(torch.randn(2, 8, 2, 6)[:, ::2]) == "rows"


def test_offsets_in_64_bits_give_the_same_bits(monkeypatch):
    images = [torch.randn(2, 8, 12, 14), torch.randn(2, 5, 7, 9)]
    images.append(images[0].to(memory_format=torch.channels_last))
    narrow = [measured(norm_stats, x) for x in images]
    monkeypatch.setattr(planes, "INT32_LIMIT", 0)
    for x, stats in zip(images, narrow, strict=True):
        assert torch.equal(measured(norm_stats, x), stats)


@pytest.mark.parametrize("channels_last", [False, True])
def test_non_finite_values_show(channels_last):
    x = torch.randn(1, 8, 4, 4)
    x[0, 0, 2, 1], x[0, 3, 0, 0] = math.inf, math.nan
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    stats = measured(norm_stats, x)
    bad = torch.zeros(8, dtype=torch.bool)
    bad[[0, 3]] = True
    assert not stats[0, bad].isfinite().any() and stats[0, ~bad].isfinite().all()


def test_equal_numbers_have_no_variance_and_an_empty_batch_nothing():
    x = torch.full((1, 4, 8, 8), 1e30)
    assert torch.equal(measured(norm_stats, x), torch.tensor([1e30, 0.0]).expand(1, 4, 2))
    assert measured(norm_stats, x[:0]).shape == (0, 4, 2)
