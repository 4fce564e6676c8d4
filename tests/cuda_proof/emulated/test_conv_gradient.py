"""The gradients of `conv_norm_act` in CUDA, emulated, against float64's by autograd."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act import cuda_weight_plan, spec
from genfuse_kernels.conv_norm_act.cuda_data_gradient import data_gradient
from genfuse_kernels.conv_norm_act.cuda_gradient import conv_norm_act_gradient
from genfuse_kernels.conv_norm_act.cuda_weight_gradient import weight_gradient
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS
from ops.conv_cases import Case
from ops.cuda_conv_cases import DTYPES, product_of, random_unit
from ops.test_conv_gradient_cpu import gradients, random_gradient, read, without_epilogue
from triton_proof.seeds import rotating

OF_SPACE = [norm for norm in NORMS if not norm.endswith("pixel")]


@pytest.fixture(autouse=True)
def every_memory_is_poisoned(poisoned):
    """Sums and gradients, too."""


@pytest.mark.parametrize("seed", rotating(2, 120))
def test_of_data(seed: int) -> None:
    rng = np.random.default_rng([63, seed])
    dtype = DTYPES[seed % 3]
    case = without_epilogue(random_unit(rng, dtype))
    gradient, s, h = random_gradient(rng, case), case.settings, read(case)
    got = data_gradient(gradient, case.weight, s, (h.shape[2], h.shape[3]))
    want = gradients(h, case.weight, s, gradient)[0]
    size = gradients(h, case.weight.abs(), s, gradient.abs())[0]
    reduction = case.weight.numel() // h.shape[1] * s.groups
    allowed = spec.tolerance(dtype, reduction, product=product_of(case)) * size
    assert got.shape == want.shape and ((got.double() - want).abs() <= allowed).all()


@pytest.mark.parametrize("seed", rotating(3, 120))
def test_of_weights(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng([64, seed])
    dtype = DTYPES[seed % 3]
    if seed % 2:  # as many spans as there are tiles
        monkeypatch.setattr(cuda_weight_plan, "LEAST_SPAN", 1)
    case = without_epilogue(random_unit(rng, dtype))
    gradient, s, h = random_gradient(rng, case), case.settings, read(case)
    got = weight_gradient(gradient, case.x, case.weight, s, **case.tensors)
    want = gradients(h, case.weight, s, gradient)[1]
    # Σ|gradient·h|, with the rounding of h that is no part of its own size: x minus a mean may cancel.
    size = gradients(h.abs() + 0.3, case.weight, s, gradient.abs())[1]
    pixels = (gradient if not s.transposed else h).shape[2:].numel() * h.shape[0]
    allowed = spec.tolerance(torch.float32, pixels, product=product_of(case)) * size
    assert got.shape == want.shape and ((got.double() - want).abs() <= allowed).all()


def leaves_of(case: Case) -> dict[str, Tensor]:
    """What has a gradient, by name."""
    named = {"x": case.x, "weight": case.weight, "bias": case.bias, **case.tensors}
    return {
        name: tensor
        for name, tensor in named.items()
        if tensor is not None and tensor.is_floating_point() and not name.startswith("running")
    }


def of_unit(case: Case, gradient: Tensor, needs: Collection[str]) -> dict[str, Tensor]:
    tensors: Any = case.tensors
    options: Any = {"through_stats": True, "needs": needs}
    return conv_norm_act_gradient(gradient, case.x, case.weight, case.settings, tensors, **options)


@pytest.mark.parametrize("seed", rotating(2, 162))
def test_of_whole_units(seed: int) -> None:
    """Every input's, by each norm and activation, to float32's accuracy at least where it is not rounded further."""
    rng = np.random.default_rng([65, seed])
    case = random_unit(rng, torch.float32)
    norm, activation = OF_SPACE[seed % len(OF_SPACE)], ACTIVATIONS[seed // 2 % len(ACTIVATIONS)]
    accuracy = (None, "exact")[seed % 2]
    case.settings = case.settings._replace(
        out_activation="none", norm=norm, activation=activation, accuracy=accuracy
    )  # type: ignore[arg-type]
    case.tensors |= {"stats": None} if norm == "none" else {}
    wide = leaves_of(double := case.double())
    for leaf in wide.values():
        leaf.requires_grad_()
    y = double.reference()
    gradient = torch.from_numpy(rng.standard_normal(tuple(y.shape)))
    found = torch.autograd.grad(y, list(wide.values()), gradient, allow_unused=True)
    want = {name: value for name, value in zip(wide, found, strict=True) if value is not None}
    got = of_unit(case, gradient.float(), list(want))
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert got[name].shape == value.shape and got[name].dtype == torch.float32
        assert (got[name].double() - value).abs().max() <= 2e-5 * value.abs().max().clamp(min=1e-3), name
