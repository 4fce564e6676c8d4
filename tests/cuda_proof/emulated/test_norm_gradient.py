"""The gradients of norm, activation and dropout in CUDA, emulated, against autograd's in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from genfuse_kernels.common import cuda_tile, planes
from genfuse_kernels.conv_norm_act import reference, spec
from genfuse_kernels.conv_norm_act.cuda_norm_gradient import read_gradient
from genfuse_kernels.conv_norm_act.norm_gradient import ReadGradient
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS, Settings
from genfuse_kernels.norm_act.cuda_gradient import norm_act_gradient
from ops.gradient_cases import GradientCase, Wanted, random_gradient
from triton_proof.seeds import rotating


@pytest.fixture(params=[1, 128], ids=["whole", "split"])
def blocks(request, monkeypatch):
    """As few blocks as there can be, each with many chunks, or many blocks that share a channel."""
    monkeypatch.setattr(cuda_tile, "BLOCKS", request.param)


@pytest.fixture(autouse=True)
def every_memory_is_poisoned(poisoned):
    """Sums and gradients, too."""


def run(case: GradientCase) -> ReadGradient:
    found = read_gradient(
        case.gradient,
        case.x,
        case.settings,
        case.tensors,
        through_stats=not case.stats_given,
        needs=case.needs,
    )
    return ReadGradient(**found)


@pytest.mark.parametrize("seed", rotating(3, 126))
def test_random_gradients(seed, blocks):
    rng = np.random.default_rng([51, seed])
    norm, activation = NORMS[seed % len(NORMS)], ACTIVATIONS[seed // 2 % len(ACTIVATIONS)]
    case = random_gradient(rng, spec.DTYPES[seed % 3], norm, activation, batch=int(rng.integers(1, 3)))
    Wanted(case).check(run(case))


def of_order(layout: str, norm: str, dtype: torch.dtype, split: int) -> GradientCase:
    """32 channels, those of x and a skip where it is split, in that order; everything that a norm may have."""
    rng = np.random.default_rng([52, NORMS.index(norm), split])

    def image(channels: int) -> torch.Tensor:
        values = torch.from_numpy(rng.standard_normal((2, channels, 8, 12))).to(dtype)
        if layout == "channels_last":
            return values.to(memory_format=torch.channels_last)
        return (
            torch.stack([values, torch.full_like(values, math.nan)], 4)[..., 0]
            if layout == "planes"
            else values
        )

    x, gradient = image(split), image(32)
    assert cuda_tile.tile([x, gradient], split, 96).order == layout
    tensors = {
        name: torch.from_numpy(rng.standard_normal(32)).float() for name in ("norm_weight", "norm_bias")
    }
    tensors |= {
        name: torch.from_numpy(rng.standard_normal((2, 32))).float() for name in ("film_scale", "film_shift")
    }
    tensors |= {"skip": image(32 - split) if split < 32 else None, "seeds": torch.tensor([3, -5])}
    tensors |= dict.fromkeys(("running_mean", "running_var", "stats"))
    settings = Settings(norm=norm, num_groups=4, activation="silu", dropout=0.3, dropout_stream=9)
    return GradientCase(settings, gradient, x, tensors)


@pytest.mark.parametrize("dtype", spec.DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["rows", "channels_last", "planes"])
@pytest.mark.parametrize("norm", [NORMS[i] for i in rotating(1, len(NORMS))])
def test_every_order(norm, layout, dtype, blocks):
    for split in (32, 16):
        case = of_order(layout, norm, dtype, split)
        Wanted(case).check(run(case))


@pytest.mark.parametrize("norm", [NORMS[i] for i in rotating(2, len(NORMS))])
def test_a_samples_gradients_are_its_own_repeat_and_have_64_bit_offsets(norm, monkeypatch):
    for layout in ("rows", "channels_last", "planes"):
        case = of_order(layout, norm, torch.float32, 16)
        whole, again = run(case), run(case)
        monkeypatch.setattr(planes, "INT32_LIMIT", 0)
        wide = run(case)
        monkeypatch.setattr(planes, "INT32_LIMIT", 2**31)
        for name in case.needs:
            assert torch.equal(getattr(whole, name), getattr(again, name))
            assert torch.equal(getattr(whole, name), getattr(wide, name))
        if norm == "batch":
            continue
        per_sample = {
            n: t if t is None or (t.ndim == 1 and n != "seeds") else t[1:] for n, t in case.tensors.items()
        }
        alone = run(GradientCase(case.settings, case.gradient[1:], case.x[1:], per_sample))
        for name in ("x", "skip", "film_scale", "film_shift"):
            assert torch.equal(getattr(whole, name)[1:], getattr(alone, name))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_derivatives_at_extreme_values(activation):
    extreme = [0.0, -0.0, 1e-30, -1e-30, 1e-41, -1e-41, 3e38, -3e38, math.inf, -math.inf, math.nan]
    x = torch.cat([torch.linspace(-100, 100, 20001), torch.tensor(extreme)]).reshape(1, 1, 1, -1)
    settings = Settings(activation=activation, negative_slope=0.2)
    got = read_gradient(torch.ones_like(x), x, settings, {}, through_stats=True, needs=("x",))["x"]
    at = x.double().clamp(-1e4, 1e4).requires_grad_()  # where every derivative has reached its limit
    (want,) = torch.autograd.grad(reference.activated(at, activation, 0.2).sum(), at)
    if activation != "none":
        assert torch.equal(got.isnan(), x.isnan())
    there = ~x.isnan()
    assert ((got.double() - want).abs() <= spec.ACTIVATION_GRADIENT_ERROR)[there].all()


@pytest.mark.parametrize("norm", ["batch", "instance", "layer_pixel", "none"])
def test_only_what_is_needed_and_through_constants_in_one_pass(norm, monkeypatch):
    from genfuse_kernels.conv_norm_act import cuda_norm_gradient

    passes = []
    launch = cuda_norm_gradient.launch
    monkeypatch.setattr(
        cuda_norm_gradient,
        "launch",
        lambda kernel, *a, **o: passes.append(kernel.part) or launch(kernel, *a, **o),
    )
    x = torch.randn(2, 8, 4, 4)
    tensors = {"norm_weight": torch.randn(8)}
    if norm == "batch":
        tensors |= {"running_mean": torch.randn(8), "running_var": torch.rand(8) + 0.5}
    expected = {
        "batch": {"x": ["read_gradient"], "norm_weight": ["gradient_sums"], "both": ["summed_gradient"]},
        "none": {"x": ["read_gradient"], "norm_weight": ["gradient_sums"], "both": ["summed_gradient"]},
        "instance": {
            "x": ["gradient_sums", "read_gradient"],
            "norm_weight": ["gradient_sums"],
            "both": ["gradient_sums", "read_gradient"],
        },
        "layer_pixel": {
            "x": ["pixel_sums", "read_gradient"],
            "norm_weight": ["gradient_sums"],
            "both": ["pixel_sums", "summed_gradient"],
        },
    }
    for wanted, of_passes in expected[norm].items():
        passes.clear()
        needs = ("x", "norm_weight") if wanted == "both" else (wanted,)
        found = read_gradient(
            x, x, Settings(norm=norm, activation="relu"), tensors, through_stats=True, needs=needs
        )
        assert set(found) == set(needs) and passes == of_passes


def test_norm_act_scales_and_an_empty_batch_has_zeros():
    x, gradient, weight = torch.randn(2, 8, 4, 4), torch.randn(2, 8, 4, 4), torch.randn(8)
    s = Settings(norm="group", num_groups=2, activation="gelu", scale=0.5)
    options = {"through_stats": True, "needs": ("x", "norm_weight")}
    half = norm_act_gradient(gradient, x, s, {"norm_weight": weight}, **options)
    whole = norm_act_gradient(gradient, x, s._replace(scale=1.0), {"norm_weight": weight}, **options)
    assert all(torch.equal(2 * half[name], whole[name]) for name in whole)
    empty = norm_act_gradient(gradient[:0], x[:0], s, {"norm_weight": weight}, **options)
    assert empty["x"].shape == (0, 8, 4, 4) and torch.equal(empty["norm_weight"], torch.zeros(8))
    with pytest.raises(ValueError, match="stats has a gradient of its own"):
        read_gradient(x, x, s, {"stats": torch.rand(2, 8, 2)}, through_stats=True, needs=("stats",))
