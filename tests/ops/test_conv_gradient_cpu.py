"""The CPU kernels of the convolution's two gradients against float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.conv_norm_act import reference, spec
from genfuse_kernels.conv_norm_act.data_gradient import data_gradient
from genfuse_kernels.conv_norm_act.settings import Settings
from genfuse_kernels.conv_norm_act.weight_gradient import weight_gradient
from ops.conv_cases import IMAGE_LAYOUTS, Case, make_case, random_case, random_sequence
from ops.cpu_cases import laid_out, threads
from triton_proof.seeds import rotating

pytestmark = pytest.mark.usefixtures("isa")

ADDED = ("shift", "residual", "residual_weight", "residual_skip")


def without_epilogue(case: Case) -> Case:
    settings = case.settings._replace(scale=1.0, out_activation="none", pool=(1, 1))
    tensors = {name: t for name, t in case.tensors.items() if name not in ADDED}
    return Case(settings, case.x, case.weight, None, tensors)


def read(case: Case) -> Tensor:
    """What the convolution reads, in float64 with nothing done to it."""
    wide = case.double()
    x = wide.x if wide.tensors["skip"] is None else torch.cat([wide.x, wide.tensors["skip"]], 1)
    return reference.read(x, case.settings, None, None, wide.tensors)  # type: ignore[arg-type]


def plain(settings: Settings) -> Settings:
    return settings._replace(norm="none", activation="none", dropout=0.0)


def gradients(h: Tensor, weight: Tensor, settings: Settings, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Of h and of the weights, in float64 by autograd."""
    leaves = [t.detach().double().requires_grad_() for t in (h, weight)]
    y = reference.conv_norm_act(*leaves, None, plain(settings))  # type: ignore[arg-type]
    found = torch.autograd.grad(y, leaves, gradient.double())
    return found[0], found[1]


def random_gradient(rng: np.random.Generator, case: Case) -> Tensor:
    shape = case.double().reference().shape
    values = torch.from_numpy(rng.standard_normal(shape)).to(case.x.dtype)
    return laid_out(values, IMAGE_LAYOUTS[rng.integers(len(IMAGE_LAYOUTS))])


def check_weights(case: Case, gradient: Tensor) -> None:
    got = weight_gradient(gradient, case.x, case.weight, case.settings, **case.tensors)
    h, s = read(case), case.settings
    want = gradients(h, case.weight, s, gradient)[1]
    # Σ|gradient·h|, with the rounding of h that is no part of its own size: x·scale + offset may cancel.
    size = gradients(h.abs() + 0.3, case.weight, s, gradient.abs())[1]
    pixels = (gradient if not s.transposed else h).shape[2:].numel() * h.shape[0]
    matrix = case.x.dtype == torch.bfloat16 and _cpu.isa() == "amx_bf16"
    winograd = s.accuracy != "exact" and not matrix
    if winograd:  # its error spreads over a kernel
        size = size.amax((-1, -2), keepdim=True)
    product = torch.bfloat16 if matrix else torch.float32
    allowed = spec.tolerance(torch.float32, pixels, 4 if winograd else 0, product) * size
    if got.dtype == torch.bfloat16:
        allowed = allowed + spec.UNIT_ROUNDOFF[got.dtype] * want.abs()
    error = (got.double() - want).abs()
    assert (error <= allowed).all(), f"{(error / allowed).nan_to_num().max():.2f} times the error; {s}"


def check_data(case: Case, gradient: Tensor, *, last: bool) -> None:
    s, h = case.settings, read(case)
    got = data_gradient(gradient, case.weight, s, (h.shape[2], h.shape[3]), channels_last=last)
    want = gradients(h, case.weight, s, gradient)[0]
    assert got.shape == want.shape
    size = gradients(h, case.weight.abs(), s, gradient.abs())[0]
    reduction = case.weight.numel() // h.shape[1] * s.groups
    winograd = s.accuracy != "exact"
    if winograd:
        size = size.amax((2, 3), keepdim=True).expand_as(size)
    half = case.x.dtype if case.x.dtype == torch.bfloat16 else torch.float32
    allowed = spec.tolerance(case.x.dtype, reduction, 4 if winograd else 0, half) * size
    error = (got.double() - want).abs()
    assert (error <= allowed).all(), f"{(error / allowed).nan_to_num().max():.2f} times the error; {s}"


@pytest.mark.parametrize("seed", range(60))
def test_random_units(seed: int) -> None:
    rng = np.random.default_rng([31, seed])
    dtype = (torch.float32, torch.float32, torch.bfloat16, torch.float16)[seed % 4]
    case = without_epilogue(random_sequence(rng, dtype) if seed % 7 == 6 else random_case(rng, dtype))
    gradient = random_gradient(rng, case)
    check_weights(case, gradient)
    check_data(case, gradient, last=seed % 2 == 0)


KINDS: list[tuple[tuple[int, ...], Settings]] = [
    ((33, 20, 3, 3), Settings(padding=(1, 1))),
    ((33, 20, 3, 3), Settings(padding=(1, 1), accuracy="exact")),
    ((20, 33, 4, 4), Settings(padding=(1, 1), stride=(2, 2), transposed=True)),
    ((33, 20, 4, 4), Settings(padding=(1, 1), stride=(2, 2))),
    ((34, 10, 3, 3), Settings(padding=(1, 1), groups=2)),
    ((5, 20, 1, 1), Settings()),
]


@pytest.mark.parametrize("shape, settings", KINDS)
def test_bfloat16_weights_have_the_gradients_of_float32_rounded(
    shape: tuple[int, ...], settings: Settings
) -> None:
    rng = np.random.default_rng(36)
    case = without_epilogue(make_case(rng, torch.bfloat16, settings, 3, 20, shape, (9, 14)))
    gradient = random_gradient(rng, case)

    def of(weight: Tensor) -> Tensor:
        return weight_gradient(gradient, case.x, weight, settings, **case.tensors)

    found = of(case.weight.bfloat16())
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, of(case.weight.float()).bfloat16())


@pytest.mark.parametrize("number", rotating(1, 4))
def test_more_pixels_than_the_matrix_unit_stages_at_once(number: int) -> None:
    """16 MiB of both factors: rows of one sample, and samples."""
    rng = np.random.default_rng(35)
    batch, size = [(1, (270, 250)), (3, (160, 130))][number // 2]
    settings = [Settings(padding=(1, 1)), Settings(padding=(1, 1), stride=(2, 2))][number % 2]
    case = without_epilogue(make_case(rng, torch.bfloat16, settings, batch, 65, (33, 65, 3, 3), size))
    check_weights(case, random_gradient(rng, case))


@pytest.mark.parametrize("height", range(1, 21))
def test_every_tail_of_winograd(height: int) -> None:
    """3x3, and 4x4 of stride 2 both ways, at all widths."""
    rng = np.random.default_rng([32, height])
    kinds: list[tuple[tuple[int, ...], Settings]] = [
        ((17, 9, 3, 3), Settings(padding=(1, 1))),
        ((9, 17, 4, 4), Settings(padding=(1, 1), stride=(2, 2), transposed=True)),
        ((12, 9, 4, 4), Settings(padding=(1, 1), stride=(2, 2))),
    ]
    for width in range(2, 21, 1 if height % 5 == 0 else 6):
        for shape, settings in kinds:
            if settings.stride == (2, 2) and height == 1:
                continue
            channels = shape[0] if settings.transposed else shape[1]
            case = without_epilogue(
                make_case(rng, torch.float32, settings, 2, channels, shape, (height, width))
            )
            gradient = random_gradient(rng, case)
            check_weights(case, gradient)
            check_data(case, gradient, last=True)


@pytest.mark.parametrize(
    "shape, settings, size, batch",
    [
        ((70, 50, 3, 3), Settings(padding=(1, 1)), (60, 60), 3),  # more tiles than are summed at once
        ((20, 600, 3, 3), Settings(padding=(1, 1), accuracy="exact"), (9, 9), 2),
        ((100, 24, 4, 4), Settings(transposed=True), (1, 1), 33),  # a generator's first layer
        ((1, 70, 4, 4), Settings(), (4, 4), 40),  # a critic's last
        ((64, 3, 7, 7), Settings(padding=(3, 3), padding_mode="reflect"), (40, 150), 1),
        ((130, 260, 1, 1), Settings(), (16, 16), 2),
        ((40, 40, 5), Settings(padding=(0, 2)), (1, 700), 2),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shapes_of_networks(
    shape: tuple[int, ...], settings: Settings, size: tuple[int, int], batch: int, dtype: torch.dtype
) -> None:
    rng = np.random.default_rng(33)
    channels = shape[0] if settings.transposed else shape[1]
    case = without_epilogue(make_case(rng, dtype, settings, batch, channels, shape, size))
    gradient = random_gradient(rng, case)
    check_weights(case, gradient)
    check_data(case, gradient, last=True)


def test_is_added_to_what_is_there() -> None:
    for accuracy in ("exact", "fast"):
        s: Any = Settings(padding=(1, 1), accuracy=accuracy)  # type: ignore[arg-type]
        x, weight, gradient = torch.randn(2, 20, 9, 8), torch.randn(33, 20, 3, 3), torch.randn(2, 33, 9, 8)
        alone = weight_gradient(gradient, x, weight, s)
        before = torch.randn(weight.shape)
        into = before.clone()
        assert weight_gradient(gradient, x, weight, s, into=into) is into
        assert torch.equal(into, before + alone)


def test_of_no_sample() -> None:
    x, weight, gradient = torch.randn(0, 20, 9, 8), torch.randn(33, 20, 3, 3), torch.randn(0, 33, 9, 8)
    s = Settings(padding=(1, 1))
    assert torch.equal(weight_gradient(gradient, x, weight, s), torch.zeros_like(weight))
    assert data_gradient(gradient, weight, s, (9, 8)).shape == x.shape
    into = torch.ones_like(weight)
    assert torch.equal(weight_gradient(gradient, x, weight, s, into=into), torch.ones_like(weight))


@pytest.mark.parametrize("accuracy", ["exact", "fast"])
@pytest.mark.parametrize("kernel", [1, 3, 4])
def test_bits_depend_on_no_threads(accuracy: Any, kernel: int) -> None:
    s = Settings(padding=(kernel // 2,) * 2, stride=(2, 2) if kernel == 4 else (1, 1), accuracy=accuracy)
    x, weight = torch.randn(5, 40, 33, 31), torch.randn(70, 40, kernel, kernel)
    y = reference.conv_norm_act(x, weight, None, s)
    gradient = torch.randn_like(y)

    def both() -> tuple[Tensor, Tensor]:
        return weight_gradient(gradient, x, weight, s), data_gradient(gradient, weight, s, (33, 31))

    want = both()
    for count in (1, 2, 3, 7):
        with threads(count):
            assert all(torch.equal(a, b) for a, b in zip(both(), want, strict=True))


def test_not_finite_stays_so() -> None:
    s = Settings(padding=(1, 1))
    x, weight, gradient = torch.randn(1, 20, 12, 12), torch.randn(33, 20, 3, 3), torch.randn(1, 33, 12, 12)
    x[0, 3, 5, 5] = math.inf
    got = weight_gradient(gradient, x, weight, s)
    assert not got[:, 3].isfinite().any() and got[:, :3].isfinite().all()
