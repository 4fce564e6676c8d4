"""Sums of small pictures in segments, and samples that share a block, emulated: the same bits however they are run."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import genfuse
from genfuse import dispatch, measured
from genfuse_kernels.conv_norm_act import cuda_conv, cuda_plan
from genfuse_kernels.conv_norm_act.cuda_arguments import Read
from genfuse_kernels.conv_norm_act.cuda_data_gradient import read_back
from genfuse_kernels.conv_norm_act.cuda_impl import conv_norm_act, ways
from genfuse_kernels.conv_norm_act.settings import Settings
from ops.conv_cases import Case, make_case
from ops.cuda_conv_cases import DTYPES, check
from triton_proof.seeds import rotating

UNIT = Settings(padding=(1, 1), norm="group", num_groups=8, activation="silu")

SHAPES: list[tuple[tuple[int, ...], Settings, tuple[int, int], int]] = [
    ((24, 136, 3, 3), UNIT, (4, 4), 5),
    ((72, 264, 1, 1), UNIT._replace(padding=(0, 0)), (7, 5), 2),
    ((136, 24, 4, 4), Settings(transposed=True, stride=(2, 2), padding=(1, 1)), (4, 4), 3),
    ((40, 72, 4, 4), UNIT._replace(stride=(2, 2), norm="batch"), (16, 16), 1),
    ((48, 72, 3, 3), UNIT._replace(groups=2, norm="layer"), (8, 8), 2),
    ((24, 40, 3, 3), UNIT._replace(upsample=(2, 2)), (2, 2), 9),
]
"""Of networks, narrowed."""


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any number of steps, so that those of few channels have some too."""
    monkeypatch.setattr(cuda_plan, "LEAST_STEPS", 1)


@pytest.fixture(params=["apart", "in one block"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Segments in blocks of their own, or not; what is launched: blocks, segments and whether they are folded."""
    if request.param != "apart":
        monkeypatch.setattr(cuda_conv, "are_apart", lambda *_: False)
    return launched(monkeypatch)


def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    launch = cuda_conv.launch

    def kept(kernel: Any, blocks: int, arguments: Any, *others: Any) -> None:
        of = arguments["of"] if "of" in arguments.dtype.names else arguments
        found.append((blocks, int(of["segments"]), int(of["folds"])))
        launch(kernel, blocks, arguments, *others)

    monkeypatch.setattr(cuda_conv, "launch", kept)
    return found


def case_of(number: int, dtype: torch.dtype) -> Case:
    shape, settings, size, batch = SHAPES[number]
    channels = shape[0] if settings.transposed else shape[1] * settings.groups
    return make_case(np.random.default_rng([67, number]), dtype, settings, batch, channels, shape, size)


@pytest.mark.parametrize("number", rotating(1, len(SHAPES)))
def test_shapes_of_networks(number: int, way: list[tuple[int, int, int]]) -> None:
    check(conv_norm_act, case_of(number, DTYPES[number % 3]), "channels_last")
    assert all(segments > 1 for _, segments, _ in way)


def unit(batch: int, size: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """x, a weight and a residual, in channels last, the samples the same in every batch."""
    rng = np.random.default_rng(68)
    of = ((batch, 136, *size), (24, 136, 3, 3), (batch, 24, *size))
    x, weight, residual = (
        torch.from_numpy(rng.standard_normal(shape)).to(dtype, memory_format=torch.channels_last)
        for shape in of
    )
    return x, weight, residual


def of(x: Tensor, weight: Tensor, residual: Tensor) -> list[Tensor]:
    """A unit's output and statistics, and the gradient of what its convolution read, with sums over space."""
    out = torch.full_like(residual, math.nan)
    stats = torch.full((*out.shape[:2], 2), math.nan)
    plain = Settings(padding=(1, 1), activation="silu")
    conv_norm_act(out, stats, x, weight, None, plain, residual=residual)
    read = Read(x, None, None, "silu", summed=True, ends=False)
    back = weight.transpose(0, 1).contiguous(memory_format=torch.channels_last)
    gradient, sums = read_back(x, back, plain, (x.shape[2], x.shape[3]), read._replace(x=residual))
    assert sums is not None
    return [out, stats, gradient, sums[0], sums[1]]


@pytest.mark.parametrize("dtype", [DTYPES[seed] for seed in rotating(1, 3)])
@pytest.mark.parametrize("size", [[(4, 4), (8, 8), (3, 5)][seed] for seed in rotating(1, 3)], ids=str)
def test_bits_depend_on_neither_blocks_nor_batch(
    size: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One picture, a batch whose samples share blocks, and segments in one block: the same sums in the same order."""
    found = launched(monkeypatch)
    x, weight, residual = unit(5, size, dtype)
    whole, one = of(x, weight, residual), of(x[4:], weight, residual[4:])
    assert {folds for _, _, folds in found} == {0, 1}
    monkeypatch.setattr(cuda_conv, "are_apart", lambda *_: False)
    found.clear()
    together = of(x, weight, residual)
    assert {folds for _, _, folds in found} == {0}
    for first, alone, again in zip(whole, one, together, strict=True):
        assert torch.equal(first, again) and torch.equal(first[4:], alone) and first.isfinite().all()


def test_small_pictures_share_a_block() -> None:
    """So that each row of an MMA is a pixel: of 4 x 4 four, of 8 x 8 one; with statistics too."""
    for side in (4, 8):
        for dtype in DTYPES:
            tile = cuda_plan.tile_for((side, side), 128, dtype)
            assert tile.samples << tile.rows + tile.columns == tile.pixels
            assert tile.samples == max(1, tile.pixels // (side * side))


@pytest.mark.parametrize("name", [list(cuda_plan.WAYS)[seed] for seed in rotating(1, len(cuda_plan.WAYS))])
def test_every_way_that_is_measured(name: str) -> None:
    """Of both kinds of shapes: with segments, and of blocks as large as there are."""
    rng, way = np.random.default_rng(69), cuda_plan.WAYS[name]
    for size in ((4, 4), (9, 9)):
        case = make_case(rng, torch.bfloat16, UNIT, 2, 72, (72, 72, 3, 3), size)
        check(functools.partial(conv_norm_act, way=way), case, "channels_last")


def test_ways_differ_and_the_first_is_by_rule() -> None:
    x, weight, _ = unit(2, (4, 4), torch.float16)
    small = ways(torch.empty(2, 264, 4, 4), None, x, weight.repeat(11, 1, 1, 1), None, UNIT)
    assert list(small) == ["", "64 outputs", "whole sums"]
    assert measured.module(conv_norm_act).Way is cuda_plan.Way  # type: ignore[attr-defined]
    x = torch.empty(2, 136, 32, 32, dtype=torch.float16)
    large = ways(torch.empty(2, 264, 32, 32), None, x, weight.repeat(11, 1, 1, 1), None, UNIT)
    assert list(large) == ["", "64 pixels", "64 outputs", "64 pixels by 64 outputs"]
    assert list(
        ways(torch.empty(2, 264, 32, 32), None, x.float(), weight.repeat(11, 1, 1, 1), None, UNIT)
    ) == [""]


def test_explain_says_that_sums_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "obstacle", lambda *_: None)
    monkeypatch.setattr(dispatch, "_way", lambda _: "")
    weight = torch.empty(512, 512, 3, 3, dtype=torch.float16)
    for batch, said in ((1, "split among blocks"), (64, "each block has all")):
        x = torch.empty(batch, 512, 8, 8, dtype=torch.float16)
        with genfuse.backend("cuda"):
            reason = genfuse.explain("conv_norm_act", x, weight, padding=1).reason
        assert reason.endswith(
            f"blocks of 64 pixels by 128 outputs, sums in 8 segments of the inputs, {said}"
        )
