"""The gradients of `conv_norm_act` in Triton against float64's by autograd, with every access checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import genfuse
from genfuse_kernels.conv_norm_act import spec
from genfuse_kernels.conv_norm_act.norm_gradient import ReadGradient
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS, Settings
from genfuse_kernels.conv_norm_act.triton_data_gradient import data_gradient
from genfuse_kernels.conv_norm_act.triton_gradient import conv_norm_act_gradient
from genfuse_kernels.conv_norm_act.triton_norm_gradient import read_gradient
from genfuse_kernels.conv_norm_act.triton_plan import precision_of
from genfuse_kernels.conv_norm_act.triton_weight_gradient import weight_gradient
from ops.conv_cases import Case, random_case, random_sequence
from ops.gradient_cases import GradientCase, Wanted, random_gradient
from ops.test_conv_gradient_cpu import gradients, read, without_epilogue
from ops.test_conv_gradient_cpu import random_gradient as of_output
from triton_proof.seeds import rotating

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def of_read(case: GradientCase) -> ReadGradient:
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
def test_of_norm_activation_and_dropout(seed: int) -> None:
    rng = np.random.default_rng([34, seed])
    norm, activation = NORMS[seed % len(NORMS)], ACTIVATIONS[seed // 2 % len(ACTIVATIONS)]
    case = random_gradient(rng, DTYPES[seed % 3], norm, activation, batch=int(rng.integers(1, 3)))
    Wanted(case).check(of_read(case))


def product(case: Case) -> torch.dtype | str:
    precision = precision_of(case.x.dtype, case.settings.accuracy)
    return case.x.dtype if precision == "ieee" else precision


@pytest.mark.parametrize("seed", rotating(2, 84))
def test_of_data_and_weights(seed: int) -> None:
    rng = np.random.default_rng([35, seed])
    dtype = DTYPES[seed % 3]
    case = without_epilogue(random_sequence(rng, dtype) if seed % 7 == 6 else random_case(rng, dtype))
    gradient, s, h = of_output(rng, case), case.settings, read(case)
    of_h, of_weight = gradients(h, case.weight, s, gradient)

    got = data_gradient(gradient, case.weight, s, (h.shape[2], h.shape[3]))
    size = gradients(h, case.weight.abs(), s, gradient.abs())[0]
    reduction = case.weight.numel() // h.shape[1] * s.groups
    allowed = spec.tolerance(dtype, reduction, product=product(case)) * size
    assert got.shape == of_h.shape and ((got.double() - of_h).abs() <= allowed).all()

    got = weight_gradient(gradient, case.x, case.weight, s, **case.tensors)
    # Σ|gradient·h|, with the rounding of h that is no part of its own size: x minus a mean may cancel.
    size = gradients(h.abs() + 0.3, case.weight, s, gradient.abs())[1]
    pixels = (gradient if not s.transposed else h).shape[2:].numel() * h.shape[0]
    allowed = spec.tolerance(torch.float32, pixels, product=product(case)) * size
    assert got.shape == of_weight.shape and ((got.double() - of_weight).abs() <= allowed).all()


def leaves_of(case: Case) -> dict[str, Tensor]:
    """What has a gradient, by name."""
    named = {"x": case.x, "weight": case.weight, "bias": case.bias, **case.tensors}
    return {
        name: tensor
        for name, tensor in named.items()
        if tensor is not None and tensor.is_floating_point() and not name.startswith("running")
    }


@pytest.mark.parametrize("seed", rotating(2, 60))
def test_of_whole_units(seed: int) -> None:
    """Every input's, to float32's accuracy at least where nothing is rounded to half of it."""
    rng = np.random.default_rng([36, seed])
    case = random_case(rng, torch.float32)
    accuracy = (None, "exact")[seed % 2]
    case.settings = case.settings._replace(out_activation="none", pool=(1, 1), accuracy=accuracy)  # type: ignore[arg-type]
    wide = leaves_of(double := case.double())
    for leaf in wide.values():
        leaf.requires_grad_()
    y = double.reference()
    gradient = torch.from_numpy(rng.standard_normal(tuple(y.shape)))
    want = dict(zip(wide, torch.autograd.grad(y, list(wide.values()), gradient), strict=True))
    tensors: Any = case.tensors
    got = conv_norm_act_gradient(
        gradient.float(), case.x, case.weight, case.settings, tensors, through_stats=True, needs=list(wide)
    )
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert got[name].shape == value.shape and got[name].dtype == torch.float32
        assert (got[name].double() - value).abs().max() <= 2e-5 * value.abs().max().clamp(min=1e-3), name


def test_bits_repeat_and_weights_of_many_spans_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from genfuse_kernels.conv_norm_act import triton_weight_gradient

    monkeypatch.setattr(triton_weight_gradient, "_LEAST_SPAN", 32)
    x, gradient, weight = torch.randn(3, 5, 9, 8), torch.randn(3, 6, 9, 8), torch.randn(6, 5, 3, 3)
    s = Settings(padding=(1, 1), accuracy="exact")
    got = weight_gradient(gradient, x, weight, s)
    want = gradients(x, weight, s, gradient)[1]
    assert (got.double() - want).abs().max() <= 1e-5 * want.abs().max()
    assert torch.equal(got, weight_gradient(gradient, x, weight, s))


def test_an_empty_batch_has_zeros() -> None:
    x, weight = torch.empty(0, 4, 5, 6), torch.ones(8, 4, 3, 3)
    tensors: Any = {"norm_weight": torch.ones(4)}
    s = Settings(norm="group", num_groups=2)
    needs = ("x", "weight", "bias", "norm_weight")
    got = conv_norm_act_gradient(
        torch.empty(0, 8, 3, 4), x, weight, s, tensors, through_stats=True, needs=needs
    )
    assert got["x"].shape == x.shape
    for name, shape in (("weight", weight.shape), ("bias", (8,)), ("norm_weight", (4,))):
        assert torch.equal(got[name], torch.zeros(shape))


def test_an_empty_batch_with_a_skip_and_dropout_has_zeros() -> None:
    x, skip, weight = torch.empty(0, 4, 5, 6), torch.empty(0, 2, 5, 6), torch.ones(8, 6, 3, 3)
    tensors: Any = {"skip": skip, "norm_bias": torch.ones(6), "seeds": torch.empty(0, dtype=torch.int64)}
    s = Settings(norm="batch", activation="silu", dropout=0.3)
    needs = ("x", "skip", "weight", "shift", "norm_bias")
    got = conv_norm_act_gradient(
        torch.empty(0, 8, 3, 4), x, weight, s, tensors, through_stats=True, needs=needs
    )
    assert got["x"].shape == x.shape and got["skip"].shape == skip.shape and got["shift"].shape == (0, 8)
    assert not got["weight"].any() and not got["norm_bias"].any()


def test_given_statistics_have_no_gradient_twice() -> None:
    x, stats = torch.randn(2, 4, 5, 6), torch.rand(2, 4, 2)
    with pytest.raises(ValueError, match="stats has a gradient of its own"):
        read_gradient(x, x, Settings(norm="group"), {"stats": stats}, through_stats=True, needs=("stats",))


def test_autograd_takes_them_where_asked() -> None:
    """A unit's gradients, of both kinds of statistics, and a gradient of the gradient, as the C++ kernels'."""
    x, weight = torch.randn(2, 6, 5, 7, requires_grad=True), torch.randn(4, 6, 3, 3, requires_grad=True)
    norm_weight = torch.randn(6, requires_grad=True)
    leaves = (x, weight, norm_weight)
    found = {}
    for name in ("triton", "aten"):
        with genfuse.backend(name):  # type: ignore[arg-type]
            assert genfuse.explain("conv_norm_act", *leaves).backend == name
            y, stats = genfuse.ops.conv_norm_act(
                x,
                weight,
                padding=1,
                norm="batch",
                norm_weight=norm_weight,
                activation="silu",
                return_stats=True,
            )
            assert ("_Unit" in str(y.grad_fn)) == (name == "triton")
            activated: Any = genfuse.ops.conv_norm_act(x, weight, out_activation="tanh")
            assert ("_Pass" in str(activated.grad_fn)) == (name == "triton")
            loss = y.square().sum() + stats.square().sum() + activated.square().sum()
            first = torch.autograd.grad(loss, leaves, retain_graph=True)
            (of_x,) = torch.autograd.grad(loss, x, create_graph=True)
            found[name] = (*first, *torch.autograd.grad(of_x.square().sum(), leaves))
    for ours, theirs in zip(*found.values(), strict=True):
        assert (ours - theirs).abs().max() <= 1e-3 * theirs.abs().max()
