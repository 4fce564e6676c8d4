"""`CpuPlan`: many steps of one table over tensors of one shape."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from genfuse.samplers.combination import NOISE, X0
from genfuse.samplers.prediction import predict
from genfuse.samplers.table import Clip, TableBuilder
from genfuse_kernels.philox_normal.spec import STREAM_STEP
from genfuse_kernels.sampler_step.cpu_plan import CpuPlan
from genfuse_kernels.sampler_step.reference import sampler_step


def thresholded_row() -> Tensor:
    builder = TableBuilder()
    builder.row(0.0, predict("epsilon", 0.6, 0.8), X0 * 0.9, clip=Clip(quantile=0.9, threshold_max=3.0))
    return builder.build().rows


def test_scales_may_lie_right_before_out() -> None:
    rows, samples = thresholded_row(), 2
    x, m = torch.randn(samples, 3, 4, 4), torch.randn(samples, 3, 4, 4)
    arena = torch.empty(2 * samples + x.numel())
    scales, out = arena[: 2 * samples].view(samples, 2), arena[2 * samples :].view_as(x)
    scales.copy_(torch.tensor([[1.0, 1.5], [1.0, 2.0]]))
    CpuPlan(rows, x, None).step(0, x, m, out, None, None, scales)
    expected, _ = sampler_step(x, m, rows, 0, scales=scales)
    torch.testing.assert_close(out, expected)


def test_an_out_that_shares_part_of_an_input_is_refused_before_anything_is_written() -> None:
    arena = torch.randn(100)
    x, m, before = arena[:96].view(2, 3, 4, 4), torch.randn(2, 3, 4, 4), arena.clone()
    plan = CpuPlan(thresholded_row(), x, None)
    with pytest.raises(ValueError, match="out overlaps an input"):
        plan.step(0, x, m, arena[4:].view_as(x), None, None, torch.ones(2, 2))
    noise = torch.randn(100)
    with pytest.raises(ValueError, match="out overlaps an input"):
        others = (None, None, noise[:96].view_as(x), None)
        plan.step(0, x, m, noise[4:].view_as(x), None, others, torch.ones(2, 2))
    assert torch.equal(arena, before)


def test_seeds_edited_in_place_are_read_anew() -> None:
    """Dense or not: a copy would keep the old ones."""
    builder = TableBuilder()
    builder.row(0.0, predict("epsilon", 0.6, 0.8), X0 * 0.9 + NOISE * 0.5)
    rows = builder.build().rows
    x, m = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    for seeds in (torch.arange(2), torch.arange(4)[::2]):
        plan, out = CpuPlan(rows, x, None), torch.empty_like(x)
        for _ in range(2):
            plan.step(0, x, m, out, seeds, None, None)
            torch.testing.assert_close(out, sampler_step(x, m, rows, 0, seeds=seeds, stream=STREAM_STEP)[0])
            seeds += 5
