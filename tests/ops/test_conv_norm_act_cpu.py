"""The CPU kernels of `conv_norm_act` against the float64 reference."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.conv_norm_act import aten_impl, reference, spec
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, Settings
from ops.conv_cases import (
    IMAGE_LAYOUTS,
    Case,
    allowed_error,
    check,
    convolution_of,
    make_case,
    random_case,
    random_sequence,
    run,
    uses_winograd,
)
from ops.cpu_cases import laid_out, threads

pytestmark = pytest.mark.usefixtures("isa")


@pytest.mark.parametrize("seed", range(80))
def test_random_units(seed: int) -> None:
    rng = np.random.default_rng([4, seed])
    dtype = (torch.float32, torch.float32, torch.bfloat16, torch.float16)[seed % 4]
    check(random_case(rng, dtype), ("contiguous", "channels_last", "batch_strided")[seed % 3])


@pytest.mark.parametrize(
    "shape, settings",
    [
        ((64, 64, 3, 3), Settings(padding=(1, 1))),
        ((48, 129, 3, 3), Settings(padding=(1, 1), stride=(2, 2))),
        ((96, 512, 1, 1), Settings()),
        ((80, 40, 4, 4), Settings(padding=(1, 1), stride=(2, 2), transposed=True)),
        ((33, 31, 5, 3), Settings(padding=(2, 1), padding_mode="reflect")),
    ],
)
def test_exact_bfloat16_is_as_good_as_pytorch(shape: tuple[int, ...], settings: Settings) -> None:
    """At most twice the error of PyTorch's own kernels at that dtype, largest and root mean square."""
    rng = np.random.default_rng(11)
    channels = shape[0] if settings.transposed else shape[1]
    settings = settings._replace(norm="layer", activation="silu", accuracy="exact")
    case = make_case(rng, torch.bfloat16, settings, 2, channels, shape, (14, 13))
    want = case.double().reference()
    ours = run(case, want)[0].double() - want
    out = torch.empty_like(want, dtype=torch.bfloat16)
    aten_impl.conv_norm_act(out, None, case.x, case.weight, case.bias, case.settings, **case.tensors)
    theirs = out.double() - want
    assert ours.abs().max() <= 2 * theirs.abs().max()
    assert ours.square().mean() <= 4 * theirs.square().mean()


@pytest.mark.parametrize("seed", range(16))
def test_random_sequences(seed: int) -> None:
    rng = np.random.default_rng([8, seed])
    dtype = (torch.float32, torch.float32, torch.bfloat16, torch.float16)[seed % 4]
    check(random_sequence(rng, dtype), ("contiguous", "channels_last", "batch_strided")[seed % 3])


@pytest.mark.parametrize("seed", range(6))
def test_projections_of_every_kind_of_residual(seed: int) -> None:
    """Odd groups of output channels, planar and channels-last residuals, wider and narrower than a block."""
    rng = np.random.default_rng([10, seed])
    groups, kernel = (1, 3, 1, 2, 1, 1)[seed], (3, 3, 1, 3, 4, 3)[seed]
    settings = Settings(padding=(1, 1), groups=groups, transposed=kernel == 4)
    channels, outputs = 6 * groups, (37, 12 * 3, 20, 9 * 2, 24, 3)[seed]
    shape = (channels, outputs, 4, 4) if kernel == 4 else (outputs, 6, kernel, kernel)
    case = make_case(rng, torch.float32, settings, 2, channels, shape, (9, 13))
    out = case.double().reference().shape
    for layout in ("contiguous", "channels_last", "batch_strided"):
        for own, joined in ((16, 0), (33, 0), (5, 40)):
            images = [
                laid_out(torch.from_numpy(rng.standard_normal((2, c, *out[2:]))).float(), layout)
                for c in (own, joined)
            ]
            weight = torch.from_numpy(rng.standard_normal((outputs, own + joined, 1, 1))).float()
            case.tensors |= {"residual": images[0], "residual_weight": weight}
            case.tensors["residual_skip"] = images[1] if joined else None
            check(case)


@pytest.mark.parametrize("stream", [0, 2**32 - 1])
def test_masks_are_philoxs(stream: int) -> None:
    """Zeros where the reference has them, for widths and planes that end anywhere in a block, and far into a sample."""
    seeds = torch.tensor([3, -1])
    for shape in ((2, 40, 4, 8), (2, 17, 3, 4), (2, 33, 5, 7), (2, 3, 1, 1), (2, 20, 2, 3), (2, 9, 257, 33)):
        for p in (0.25, 0.999, 1 - 2.0**-25, 1e-9):
            settings = Settings(dropout=p, dropout_stream=stream)
            x = laid_out(torch.ones(shape), IMAGE_LAYOUTS[shape[1] % 4])
            want = reference.dropped(x, settings, seeds)
            weight = torch.eye(shape[1])[:, :, None, None].contiguous()
            got, _ = run(Case(settings, x, weight, None, {"seeds": seeds}), x)
            assert torch.equal(got, want)
            if p == 0.25:
                assert abs(float((got == 0).double().mean()) - p) < 4 * (0.19 / got.numel()) ** 0.5


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_at_extreme_values(activation: Any) -> None:
    """A 1x1 kernel of one weight shows the activation itself."""
    x = torch.cat(
        [torch.linspace(-100, 100, 4001), torch.tensor([0.0, -0.0, 1e-30, -1e-30, 3e38, -3e38, 1e-41])]
    )
    x = x.reshape(1, 1, 1, -1)
    settings = Settings(activation=activation, negative_slope=0.2)
    got, _ = run(Case(settings, x, torch.ones(1, 1, 1, 1), None, {}), x)
    want = reference.activated(x.double(), activation, 0.2)
    assert ((got.double() - want).abs() <= 4e-7 * want.abs().clamp(min=1) + 2.0**-126).all()


def test_non_finite_where_pytorch_is() -> None:
    x = torch.randn(1, 3, 9, 9)
    x[0, 1, 4, 4] = math.nan
    x[0, 2, 0, 0] = math.inf
    dropping = Settings(dropout=1 - 2.0**-25)
    eye = torch.eye(3)[:, :, None, None].contiguous()
    got, _ = run(Case(dropping, x, eye, None, {"seeds": torch.tensor([1])}), x)
    assert torch.equal(got.isnan().sum((0, 1)) > 0, ~x.isfinite().all(1)[0])
    weight = torch.randn(4, 3, 3, 3)
    for accuracy in ("exact", "fast"):
        settings = Settings(padding=(1, 1), accuracy=accuracy)  # type: ignore[arg-type]
        case = Case(settings, x, weight, None, {})
        want = case.reference()
        got, _ = run(case, want)
        assert (~got.isfinite())[~want.isfinite()].all()
        if accuracy == "exact":
            assert torch.equal(got.isfinite(), want.isfinite())


def test_no_statistics_from_rows_that_do_not_exist() -> None:
    """Scratch memory full of NaN; a transposed convolution's last tiles have rows of some phases only."""
    settings = Settings(padding=(1, 1), stride=(2, 2), transposed=True)
    poison = Case(settings, torch.full((2, 16, 16, 16), math.nan), torch.randn(16, 24, 4, 4), None, {})
    run(poison, poison.reference())
    for kernel, height in ((4, 5), (3, 5), (3, 1), (4, 1)):
        case = Case(settings, torch.randn(1, 16, height, 5), torch.randn(16, 24, kernel, kernel), None, {})
        want = case.double().reference()
        _, stats = run(case, want)
        assert torch.allclose(stats.double(), reference.channel_stats(want), rtol=1e-3, atol=1e-3)
    for height in (5, 6, 9):
        case = Case(
            Settings(padding=(1, 1), pool=(2, 2)),
            torch.randn(1, 16, height, 5),
            torch.randn(24, 16, 3, 3),
            None,
            {},
        )
        want = case.double().reference()
        _, stats = run(case, want)
        assert torch.allclose(stats.double(), reference.channel_stats(want), rtol=1e-3, atol=1e-3)


def test_a_large_mean_over_a_small_variance() -> None:
    """Statistics must not cancel: four roundings of numbers as large as the mean are allowed.

    They are the mean's own, its product's with the scale, x's product's (where there is no FMA), and one of the sum
    that the mean came from.
    """
    rng = np.random.default_rng(3)
    x = torch.from_numpy(1e4 + 1e-2 * rng.standard_normal((2, 8, 24, 24))).float()
    axes = {"instance": (2, 3), "layer": (1, 2, 3), "batch": (0, 2, 3), "layer_pixel": (1,)}
    for norm, over in axes.items():
        settings = Settings(norm=norm, eps=1e-12)  # type: ignore[arg-type]
        weight = torch.eye(8)[:, :, None, None].contiguous()
        case = Case(settings, x, weight, None, {})
        want = case.double().reference()
        got, _ = run(case, want)
        deviation = x.double().std(over, correction=0, keepdim=True)
        assert ((got.double() - want).abs() * deviation).max() < 4 * 2.0**-24 * 1e4, norm


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["3x3", "transposed", "any", "grouped", "few"])
def test_bits_depend_on_neither_threads_nor_batch(kind: str, dtype: torch.dtype) -> None:
    for seed in range(4):
        rng = np.random.default_rng([5, seed])
        case = random_case(rng, dtype, (kind,))
        settings = case.settings
        if settings.norm == "batch" and case.tensors["running_mean"] is None:
            settings = settings._replace(norm="instance")
        case = dataclasses.replace(case, settings=settings)
        like = case.double().reference()
        with threads(1):
            alone, stats = run(case, like)
        with threads(2):
            together, stats_together = run(case, like)
        assert torch.equal(alone, together) and torch.equal(stats, stats_together)
        of_last = {
            name: tensor[-1:]
            if tensor is not None
            and tensor.shape[0] == like.shape[0]
            and (tensor.ndim > 1 or name == "seeds")
            and name != "residual_weight"
            else tensor
            for name, tensor in case.tensors.items()
        }
        last = Case(settings, case.x[-1:], case.weight, case.bias, of_last)
        assert torch.equal(run(last, like[-1:])[0], alone[-1:])


def test_statistics_given_are_those_computed() -> None:
    rng = np.random.default_rng(9)
    settings = Settings(norm="group", num_groups=4, activation="silu", padding=(1, 1))
    case = make_case(rng, torch.float32, settings, 2, 16, (8, 16, 3, 3), (12, 11))
    case.tensors["skip"] = None
    case.x = torch.randn(2, 16, 12, 11)
    want, _ = run(case, case.double().reference())
    case.tensors["stats"] = reference.channel_stats(case.x.double()).float()
    got, _ = run(case, want)
    assert (got - want).abs().max() <= allowed_error(case).max()


def test_the_default_accuracy_is_winograd_of_float32() -> None:
    rng = np.random.default_rng(10)
    for dtype in spec.DTYPES:
        runs = {}
        case = make_case(rng, dtype, Settings(padding=(1, 1)), 1, 16, (16, 16, 3, 3), (12, 12))
        for accuracy in (None, "exact", "fast"):
            case.settings = case.settings._replace(accuracy=accuracy)  # type: ignore[arg-type]
            runs[accuracy] = run(case, case.double().reference())[0]
            on_matrix_unit = dtype == torch.bfloat16 and _cpu.isa() == "amx_bf16"
            assert uses_winograd(case) == (accuracy != "exact" and not on_matrix_unit)
            if accuracy is None and not on_matrix_unit:
                assert convolution_of(case).product == "float32"
        if dtype != torch.bfloat16:
            assert torch.equal(runs[None], runs["fast"])
        if dtype != torch.float32:  # nothing beside the rounding of the result
            want = case.double().reference()
            off = {accuracy: (y.double() - want).abs().max() for accuracy, y in runs.items()}
            assert off[None] <= (1 + 2**-5) * off["exact"]


def test_a_changed_weight_is_noticed() -> None:
    x, weight = torch.randn(1, 4, 8, 8), torch.nn.Parameter(torch.randn(6, 4, 3, 3))
    settings = Settings(padding=(1, 1))

    def output() -> Tensor:
        return run(Case(settings, x, weight.detach(), None, {}), torch.empty(1, 6, 8, 8))[0]

    for change in (
        lambda: weight.data.mul_(2),
        lambda: weight.data.clamp_(-0.1, 0.1),
        lambda: weight.detach().neg_(),
    ):
        change()
        want = torch.nn.functional.conv2d(x, weight.detach(), padding=1)
        assert (output() - want).abs().max() < 1e-4


def test_empty_batch() -> None:
    case = Case(
        Settings(padding=(1, 1), norm="instance"), torch.empty(0, 3, 5, 5), torch.randn(2, 3, 3, 3), None, {}
    )
    assert run(case, torch.empty(0, 2, 5, 5))[0].shape == (0, 2, 5, 5)
