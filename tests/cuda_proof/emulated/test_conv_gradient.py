"""The gradients of `conv_norm_act` in CUDA, emulated, against float64's by autograd."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import genfuse
from genfuse import dispatch
from genfuse_kernels.common import planes
from genfuse_kernels.conv_norm_act import (
    cuda_conv,
    cuda_gradient,
    cuda_norm_gradient,
    cuda_weight_plan,
    spec,
)
from genfuse_kernels.conv_norm_act.cuda_data_gradient import data_gradient
from genfuse_kernels.conv_norm_act.cuda_weight_gradient import takes_sums, weight_gradient
from genfuse_kernels.conv_norm_act.settings import Norm, Settings
from genfuse_kernels.conv_norm_act.unit_gradient import unit_gradient
from ops.conv_cases import Case, make_case
from ops.cpu_cases import laid_out
from ops.cuda_conv_cases import DTYPES, check_gradients, of_unit, product_of, random_unit
from ops.test_conv_gradient_cpu import gradients, random_gradient, read, without_epilogue
from triton_proof.seeds import rotating

LAYOUTS = ("channels_last", "contiguous")


@pytest.fixture(autouse=True)
def every_memory_is_poisoned(poisoned):
    """Sums and gradients, too."""


def check_data(case: Case, gradient: Tensor) -> None:
    s, h = case.settings, read(case)
    got = data_gradient(gradient, case.weight, s, (h.shape[2], h.shape[3]))
    want = gradients(h, case.weight, s, gradient)[0]
    size = gradients(h, case.weight.abs(), s, gradient.abs())[0]
    reduction = case.weight.numel() // h.shape[1] * s.groups
    allowed = spec.tolerance(case.x.dtype, reduction, product=product_of(case)) * size
    assert got.shape == want.shape and ((got.double() - want).abs() <= allowed).all()


def check_weights(case: Case, gradient: Tensor) -> None:
    s, h = case.settings, read(case)
    sums = torch.full(gradient.shape[:2], math.nan) if takes_sums(s) else None
    got = weight_gradient(gradient, case.x, case.weight, s, sums=sums, **case.tensors)
    want = gradients(h, case.weight, s, gradient)[1]
    # Σ|gradient·h|, with the rounding of h that is no part of its own size: x minus a mean may cancel.
    size = gradients(h.abs() + 0.3, case.weight, s, gradient.abs())[1]
    pixels = (gradient if not s.transposed else h).shape[2:].numel() * h.shape[0]
    allowed = spec.tolerance(torch.float32, pixels, product=product_of(case)) * size
    assert got.shape == want.shape and ((got.double() - want).abs() <= allowed).all()
    if sums is not None:
        allowed = spec.tolerance(torch.float32, pixels) * gradient.double().abs().sum((2, 3))
        assert ((sums.double() - gradient.double().sum((2, 3))).abs() <= allowed).all()


@pytest.mark.parametrize("seed", rotating(1, 120))
def test_of_data(seed: int) -> None:
    rng = np.random.default_rng([63, seed])
    case = without_epilogue(random_unit(rng, DTYPES[seed % 3]))
    check_data(case, random_gradient(rng, case))


@pytest.mark.parametrize("seed", rotating(2, 120))
def test_of_weights(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng([64, seed])
    if seed % 2:  # as many spans as there are tiles
        monkeypatch.setattr(cuda_weight_plan, "LEAST_SPAN", 1)
    case = without_epilogue(random_unit(rng, DTYPES[seed % 3]))
    check_weights(case, random_gradient(rng, case))


SHAPES: list[tuple[tuple[int, ...], Settings, tuple[int, int], int]] = [
    ((20, 24, 4, 4), Settings(transposed=True), (1, 1), 5),  # a generator's first layer
    ((1, 24, 4, 4), Settings(norm="batch", activation="leaky_relu"), (4, 4), 35),  # a critic's last
    ((3, 18, 7, 7), Settings(padding=(3, 3), padding_mode="reflect"), (9, 11), 1),
    ((136, 72, 1, 1), Settings(norm="group", num_groups=8, activation="silu"), (12, 12), 2),
    ((72, 16, 4, 4), Settings(transposed=True, stride=(2, 2), padding=(1, 1), norm="instance"), (8, 9), 1),
    ((16, 24, 2, 2), Settings(transposed=True, stride=(3, 3)), (3, 4), 1),
    ((24, 40, 3, 3), Settings(padding=(1, 1), upsample=(2, 2), activation="relu"), (5, 9), 2),
    ((24, 40, 3, 3), Settings(padding=(1, 1), upsample=(1, 2), stride=(1, 2)), (5, 9), 2),
    ((32, 16, 1, 3), Settings(padding=(0, 1), activation="tanh"), (1, 150), 2),
    ((32, 16, 3, 3), Settings(padding=(6, 6), dilation=(6, 6), groups=2, norm="batch"), (17, 13), 2),
]


@pytest.mark.parametrize("number", rotating(1, len(SHAPES)))
def test_shapes_of_networks(number: int) -> None:
    shape, settings, size, batch = SHAPES[number]
    channels = shape[0] if settings.transposed else shape[1] * settings.groups
    rng = np.random.default_rng([66, number])
    case = without_epilogue(make_case(rng, DTYPES[number % 3], settings, batch, channels, shape, size))
    gradient = random_gradient(rng, case)
    check_data(case, gradient)
    check_weights(case, gradient)


@pytest.mark.parametrize("seed", rotating(1, 162))
def test_of_whole_units(seed: int) -> None:
    check_gradients(seed)


def images(dtype: torch.dtype, batch: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """x, the gradient of what a 3x3 kernel makes of it, and that kernel, in channels last."""
    of = (torch.randn(batch, 40, 9, 7), torch.randn(batch, 24, 9, 7), torch.randn(24, 40, 3, 3))
    x, gradient, weight = (tensor.to(dtype, memory_format=torch.channels_last) for tensor in of)
    return x, gradient, weight


UNIT = Settings(padding=(1, 1), norm="group", num_groups=4, activation="silu", accuracy="fast")


@pytest.mark.parametrize("dtype", [DTYPES[seed] for seed in rotating(1, 3)])
def test_bits_repeat_and_a_samples_are_its_own(dtype: torch.dtype) -> None:
    x, gradient, weight = images(dtype)
    needs = ("x", "weight", "bias", "shift", "norm_weight")
    case = Case(UNIT, x, weight, None, {"norm_weight": torch.rand(40)})
    first, second = of_unit(case, gradient, needs), of_unit(case, gradient, needs)
    assert all(torch.equal(first[name], second[name]) for name in needs)
    alone = of_unit(Case(UNIT, x[1:], weight, None, case.tensors), gradient[1:], needs)
    assert all(torch.equal(first[name][1:], alone[name]) for name in ("x", "shift"))


@pytest.mark.parametrize("layout", [LAYOUTS[seed] for seed in rotating(1, 2)])
def test_offsets_in_64_bits_give_the_same_bits(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, gradient, weight = images(torch.float32, 1)
    case = Case(UNIT, laid_out(x, layout), weight, None, {})
    gradient = laid_out(gradient, layout)
    narrow = of_unit(case, gradient, ("x", "weight"))
    monkeypatch.setattr(planes, "INT32_LIMIT", 0)
    wide = of_unit(case, gradient, ("x", "weight"))
    assert all(torch.equal(narrow[name], wide[name]) for name in narrow)


@pytest.mark.parametrize("layout", [LAYOUTS[seed] for seed in rotating(1, 2)])
def test_weights_are_added_to_what_is_there(layout: str) -> None:
    x, gradient, weight = (laid_out(tensor, layout) for tensor in images(torch.float32, 2))
    made = weight_gradient(gradient, x, weight, UNIT)
    into = torch.ones_like(made)
    assert weight_gradient(gradient, x, weight, UNIT, into=into) is into
    assert (into - made - 1).abs().max() <= 1e-6 * (1 + made.abs().max())
    sums = torch.full((0, 24), math.nan)
    empty = weight_gradient(gradient[:0], x[:0], weight, UNIT, into=into, sums=sums)
    assert empty is into and torch.equal(weight_gradient(gradient[:0], x[:0], weight, UNIT), made * 0)


@pytest.mark.parametrize("dtype", [DTYPES[seed] for seed in rotating(1, 3)])
def test_what_no_weight_meets_is_not_read(dtype: torch.dtype) -> None:
    """A group's NaN stays its own, and so does that of pixels which no tap of a smaller picture reaches."""
    x, gradient = torch.randn(2, 40, 9, 7).to(dtype), torch.randn(2, 48, 7, 7).to(dtype)
    weight = torch.randn(48, 20, 3, 1)
    x[:, 20:] = math.nan
    x[:, :20, 8] = math.inf  # the last row, which the kernel's first two do not meet
    made = weight_gradient(gradient, x, weight, Settings(groups=2))
    assert made[:24, :, :2].isfinite().all() and not made[:24, :, 2].isfinite().any()
    assert made[24:].isnan().all()


@pytest.mark.parametrize("transposed", [False, True])
def test_bias_and_shift_are_summed_on_the_way(transposed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of a transposed convolution, whose gradient's tiles overlap."""
    passes: list[Tensor] = []
    stats = cuda_gradient.norm_stats
    counted = cuda_gradient.conv_norm_act_gradient.args[0]._replace(
        stats=lambda out, x: passes.append(x) or stats(out, x)
    )
    x, gradient, weight = images(torch.float32, 1)
    s = UNIT._replace(transposed=transposed)
    if transposed:
        weight = weight.transpose(0, 1)
    found = unit_gradient(
        counted, gradient, x, weight, s, {}, through_stats=False, needs=("weight", "bias", "shift")
    )
    assert len(passes) == transposed
    assert torch.allclose(found["shift"], gradient.sum((2, 3)), atol=1e-5)
    assert torch.allclose(found["bias"], found["shift"].sum(0))


@pytest.mark.parametrize("norm", ["none", "group"])
def test_one_pass_where_statistics_are_constant(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one more behind the sums, which the data gradient takes on its way."""
    launched: list[str] = []
    for module in (cuda_conv, cuda_norm_gradient):
        launch = module.launch
        monkeypatch.setattr(
            module,
            "launch",
            lambda kernel, *a, launch=launch: launched.append(kernel.function) or launch(kernel, *a),
        )
    x, gradient, weight = images(torch.float32, 1)
    case = Case(UNIT._replace(norm=norm), x, weight, None, {})
    of_unit(case, gradient, ("x",))
    assert launched == ["data_gradient", *(["read_gradient"] if norm == "group" else [])]


def test_autograd_takes_them_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit's gradients through the op, of a residual, an output's activation and statistics too."""
    of = {"x": (2, 16, 5, 7), "weight": (24, 16, 3, 3), "norm_weight": (16,), "residual": (2, 24, 5, 7)}
    leaves = {name: torch.randn(shape, requires_grad=True) for name, shape in of.items()}
    # A stand-in for the device: of the tensors of this machine "cuda" takes all.
    monkeypatch.setattr(
        dispatch, "obstacle", lambda _, name, *__: None if name in ("cuda", "aten") else "not here"
    )
    found = {}
    for name in ("cuda", "aten"):
        with genfuse.backend(name):  # type: ignore[arg-type]
            options: Any = {"norm": "batch", "activation": "silu", "out_activation": "tanh", "padding": 1}
            y = genfuse.ops.conv_norm_act(**leaves, **options)
            assert ("_Pass" in str(y.grad_fn)) == (name == "cuda")
            found[name] = torch.autograd.grad(y.square().sum(), list(leaves.values()))
    for ours, theirs in zip(*found.values(), strict=True):
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()
