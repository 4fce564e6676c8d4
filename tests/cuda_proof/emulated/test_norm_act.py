"""`norm_act` in CUDA, emulated, against its float64 reference."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from genfuse_kernels.common import cuda_tile, planes
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS, Settings
from genfuse_kernels.norm_act import reference, spec
from genfuse_kernels.norm_act.cuda_impl import norm_act
from ops.norm_cases import check_call, check_extremes, random_call
from triton_proof.seeds import rotating


@pytest.fixture(params=[1, 128], ids=["whole", "split"])
def blocks(request, monkeypatch):
    """As few blocks as there can be, each with many chunks, or many blocks that share a channel."""
    monkeypatch.setattr(cuda_tile, "BLOCKS", request.param)


@pytest.fixture(autouse=True)
def every_memory_is_poisoned(poisoned):
    """Tables and parts of statistics, too."""


@pytest.mark.parametrize("measures", [False, True])
@pytest.mark.parametrize("seed", rotating(3, 126))
def test_random_calls(seed, measures, blocks):
    check_call(norm_act, *random_call(seed), measures=measures)


def filled(x: Tensor, s: Settings, stats: Tensor | None = None, **tensors: Tensor | None) -> Tensor:
    out = torch.full_like(x, math.nan)
    norm_act(out, stats, x, s, **tensors)
    return out


def everything(x: Tensor, norm: str) -> tuple[Settings, dict[str, Tensor]]:
    n, c = x.shape[:2]
    s = Settings(
        norm=norm, num_groups=2, eps=1e-3, activation="silu", dropout=0.4, dropout_stream=7, scale=0.5
    )
    tensors = {"norm_weight": torch.randn(c), "norm_bias": torch.randn(n, c), "seeds": torch.arange(n) - 1}
    return s, tensors | {"residual": torch.randn_like(x)}


SHAPES = ((2, 16, 4, 10), (1, 8, 40, 56), (2, 528, 2, 4))
ORDERS = tuple(itertools.product(("rows", "channels_last", "planes"), NORMS, spec.DTYPES, SHAPES))


@pytest.mark.parametrize("case", rotating(4, len(ORDERS)))
def test_every_order(case, blocks):
    layout, norm, dtype, shape = ORDERS[case * 50 % len(ORDERS)]  # neighbours differ in everything
    x = torch.randn(shape).to(dtype)
    x = x.to(memory_format=torch.channels_last) if layout == "channels_last" else x
    x = torch.stack([x, torch.full_like(x, math.nan)], 4)[..., 0] if layout == "planes" else x
    s, tensors = everything(x, norm)
    wide = {name: t.double() if t.is_floating_point() else t for name, t in tensors.items()}
    want = reference.norm_act(x.double(), s, **wide)
    stats = torch.full((*shape[:2], 2), math.nan)
    out, measured = filled(x, s, **tensors), filled(x, s, stats, **tensors)
    assert torch.equal(out, measured)
    assert cuda_tile.tile([x, out, tensors["residual"]], shape[1], x[0, 0].numel()).order == layout
    assert torch.allclose(out.double(), want, rtol=1e-5 + 2 * spec.tolerance(dtype, 1), atol=2e-5)
    assert torch.allclose(stats[..., 0].double(), want.mean((2, 3)), atol=1e-5)
    assert torch.allclose(stats[..., 1].double(), want.var((2, 3), correction=0), rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3, 65, 1040])
@pytest.mark.parametrize("norm", ["layer_pixel", "rms_pixel"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pixels_of_many_channels_with_a_large_mean(layout, norm, channels):
    x = (torch.randn(2, channels, 4, 5) + 300).to(memory_format=layout)
    out = filled(x, Settings(norm=norm))
    want = reference.norm_act(x.double(), Settings(norm=norm))
    allowed = spec.tolerance(torch.float32, channels) * (
        x.abs().double() * want.abs().max() + 300 * (channels > 1)
    )
    assert ((out.double() - want).abs() <= allowed).all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_samples_bits_are_its_own_and_repeat(layout):
    x = torch.randn(3, 24, 9, 8).to(memory_format=layout)
    s = Settings(norm="group", num_groups=3, activation="silu", dropout=0.3)
    seeds = torch.arange(3)
    whole = filled(x, s, seeds=seeds)
    assert torch.equal(whole, filled(x, s, seeds=seeds))
    assert torch.equal(whole[1:2], filled(x[1:2], s, seeds=seeds[1:2]))


WIDE = [(norm, shape) for norm in ("group", "layer_pixel") for shape in ((2, 8, 6, 8), (2, 5, 7, 9))]


@pytest.mark.parametrize(("norm", "shape"), [WIDE[i] for i in rotating(1, len(WIDE))], ids=str)
def test_offsets_in_64_bits_give_the_same_bits(norm, shape, monkeypatch):
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(shape).to(memory_format=layout)
        s, tensors = everything(x, norm)
        s = s._replace(num_groups=1)
        results = []
        for limit in (2**31, 0):
            monkeypatch.setattr(planes, "INT32_LIMIT", limit)
            stats = torch.full((*shape[:2], 2), math.nan)
            results.append((filled(x, s, stats, **tensors), filled(x, s, **tensors), stats))
            out = torch.full((*shape[:2], shape[2] // 2, shape[3] // 2), math.nan)
            norm_act(out, None, x, s._replace(pool=(2, 2)), **tensors)
            results[-1] += (out,)
        assert all(map(torch.equal, *results))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_extreme_values(activation):
    check_extremes(norm_act, activation)


@pytest.mark.parametrize("norm", ["group", "instance", "batch", "layer_pixel", "rms_pixel"])
def test_squares_beyond_float32_are_not_handed_on_as_zeros(norm):
    assert not filled(torch.randn(1, 4, 8, 8) * 1e30, Settings(norm=norm)).isfinite().any()


def test_an_empty_batch():
    assert filled(torch.empty(0, 4, 8, 8), Settings(norm="batch")).shape == (0, 4, 8, 8)
