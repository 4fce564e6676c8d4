"""`conv_norm_act` in Triton against its float64 reference, with every access checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import genfuse
from genfuse_kernels.common import layout
from genfuse_kernels.conv_norm_act import reference, triton_conv, triton_descriptors, triton_impl
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, Settings
from genfuse_kernels.conv_norm_act.triton_impl import conv_norm_act
from genfuse_kernels.conv_norm_act.triton_plan import WAYS, Way, precision_of
from ops.conv_cases import IMAGE_LAYOUTS, Case, allowed_error, check_result, make_case, random_case, rounding
from ops.cpu_cases import laid_out, untouched_elsewhere
from triton_proof.seeds import rotating

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def run(case: Case, shape: torch.Size, layout: str, way: Way = WAYS[""]) -> tuple[Tensor, Tensor]:
    """Output and statistics, in memory that was NaN before."""
    out = laid_out(torch.full(shape, math.nan, dtype=case.x.dtype), layout)
    stats = torch.full((*shape[:2], 2), math.nan)
    conv_norm_act(out, stats, case.x, case.weight, case.bias, case.settings, way=way, **case.tensors)  # type: ignore[arg-type]
    assert untouched_elsewhere(out)
    return out, stats


def check(case: Case, layout: str = "contiguous", way: Way = WAYS[""]) -> None:
    want = case.double().reference()
    got, stats = run(case, want.shape, layout, way)
    precision = precision_of(case.x.dtype, case.settings.accuracy)
    product = case.x.dtype if precision == "ieee" else precision
    allowed = allowed_error(case, product=product) + rounding(case, want)
    if case.settings.out_activation != "none":
        allowed = allowed + 4e-7
    check_result(case, want, got, stats, allowed)


@pytest.mark.parametrize("seed", rotating(3, 120))
def test_random_units(seed: int) -> None:
    rng = np.random.default_rng([31, seed])
    check(random_case(rng, DTYPES[seed % 3]), IMAGE_LAYOUTS[seed % len(IMAGE_LAYOUTS)])


@pytest.mark.parametrize("seed", rotating(1, 3 * (len(WAYS) - 1)))
def test_configurations_that_a_measurement_may_choose(seed: int) -> None:
    rng = np.random.default_rng([37, seed])
    check(random_case(rng, DTYPES[seed % 3]), way=list(WAYS.values())[1 + seed // 3])


@pytest.mark.parametrize(
    "shape, settings, size, batch",
    [
        ((20, 24, 4, 4), Settings(transposed=True), (1, 1), 5),  # a generator's first layer
        ((1, 24, 4, 4), Settings(norm="batch", activation="leaky_relu"), (4, 4), 9),  # a critic's last
        ((12, 1, 3, 3), Settings(groups=12, padding=(1, 1), norm="layer_pixel"), (5, 7), 2),
        ((18, 3, 7, 7), Settings(padding=(3, 3), padding_mode="reflect"), (9, 11), 1),
        ((40, 40, 1, 1), Settings(norm="group", num_groups=4, activation="silu"), (6, 5), 2),
        (
            (12, 16, 4, 4),
            Settings(transposed=True, stride=(2, 2), padding=(1, 1), norm="instance"),
            (5, 6),
            1,
        ),
        ((16, 12, 2, 2), Settings(transposed=True, stride=(3, 3)), (3, 4), 1),  # phases without a tap
        (
            (16, 12, 1, 3),
            Settings(transposed=True, stride=(1, 2), padding=(0, 1)),
            (1, 65),
            2,
        ),  # 65 and 64 pixels
    ],
    ids=str,
)
def test_shapes_of_networks(shape: Any, settings: Settings, size: Any, batch: int) -> None:
    channels = shape[0] if settings.transposed else shape[1] * settings.groups
    rng = np.random.default_rng(32)
    check(make_case(rng, torch.float32, settings, batch, channels, shape, size), "channels_last")


@pytest.mark.parametrize("seed", rotating(2, 30))
def test_staging_changes_no_bit(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the load path does to a pixel again and again is what the pass before does to it once."""
    rng = np.random.default_rng([33, seed])
    case = random_case(rng, DTYPES[seed % 3], ("any", "transposed"))
    while case.settings.groups > 1:  # of few channels, whose float32 sums read what no pass has rounded
        case = random_case(rng, DTYPES[seed % 3], ("any", "transposed"))
    case.settings = case.settings._replace(dropout=0.0)
    shape = case.double().reference().shape
    monkeypatch.setattr(triton_impl, "CHEAP", ACTIVATIONS)
    in_load_path = run(case, shape, "contiguous")
    monkeypatch.setattr(triton_impl, "CHEAP", ())
    for loaded, staged in zip(in_load_path, run(case, shape, "contiguous"), strict=True):
        assert torch.equal(loaded, staged)


DESCRIBED: list[tuple[tuple[int, ...], Settings, tuple[int, int], int]] = [
    ((40, 72, 3, 3), Settings(padding=(1, 1), activation="silu"), (18, 8), 1),  # rows beyond the picture
    ((24, 40, 3, 3), Settings(padding=(2, 1), dilation=(2, 1)), (2, 256), 1),  # blocks of a part of a row
    (
        (40, 64, 3, 3),
        Settings(padding=(1, 1), groups=2, norm="group", num_groups=4, activation="silu"),
        (8, 4),
        5,
    ),
    ((136, 24, 3, 3), Settings(padding=(1, 1), activation="silu"), (2, 16), 5),  # samples share a block
    ((72, 16, 4, 4), Settings(transposed=True, stride=(2, 2), padding=(1, 1), norm="instance"), (4, 16), 2),
    ((48, 16, 4, 4), Settings(transposed=True, stride=(2, 2), padding=(1, 1), activation="tanh"), (8, 4), 3),
]


@pytest.mark.parametrize("number", rotating(1, len(DESCRIBED)))
def test_tensor_descriptors_change_no_bit(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles that the hardware copies are what the threads would have read."""
    shape, settings, size, batch = DESCRIBED[number]
    channels = shape[0] if settings.transposed else shape[1] * settings.groups
    rng = np.random.default_rng([38, number])
    case = make_case(rng, DTYPES[1 + number % 2], settings, batch, channels, shape, size)
    case.x = case.x.contiguous(memory_format=torch.channels_last)
    made = case.double().reference().shape
    tiles: list[str] = []
    for name in ("pixel_tiles", "weight_tiles"):
        fitting = getattr(triton_conv, name)

        def noted(*given: Any, name: str = name, fitting: Any = fitting, **options: Any) -> Any:
            found = fitting(*given, **options)
            tiles.extend([name] * (found is not None))
            return found

        monkeypatch.setattr(triton_conv, name, noted)
    by_threads = run_without_stats(case, made)
    assert not tiles
    monkeypatch.setattr(triton_descriptors, "has_descriptors", lambda: True)
    assert torch.equal(run_without_stats(case, made), by_threads)
    assert tiles == (["weight_tiles"] if settings.norm == "instance" else ["pixel_tiles", "weight_tiles"])


def run_without_stats(case: Case, shape: torch.Size) -> Tensor:
    """Output, in memory that was NaN before."""
    out = laid_out(torch.full(shape, math.nan, dtype=case.x.dtype), "channels_last")
    conv_norm_act(out, None, case.x, case.weight, case.bias, case.settings, **case.tensors)  # type: ignore[arg-type]
    return out


@pytest.mark.parametrize("norm", ["none", "group", "batch"])
def test_a_samples_bits_are_its_own_and_repeat(norm: Any) -> None:
    x, weight = torch.randn(3, 8, 6, 5), torch.randn(20, 8, 3, 3)
    s = Settings(padding=(1, 1), norm=norm, num_groups=2, activation="relu")
    given = {"running_mean": torch.randn(8), "running_var": torch.rand(8)} if norm == "batch" else {}

    def of(samples: slice) -> Tensor:
        out = torch.empty(x[samples].shape[0], 20, 6, 5)
        conv_norm_act(out, None, x[samples], weight, None, s, **given)  # type: ignore[arg-type]
        return out

    whole = of(slice(None))
    assert torch.equal(whole, of(slice(None))) and torch.equal(whole[2:], of(slice(2, 3)))


def test_offsets_of_64_bits_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sample of 2^31 elements gets."""
    x, weight, residual = torch.randn(2, 16, 5, 7), torch.randn(20, 16, 3, 3), torch.randn(2, 20, 5, 7)
    s, found = Settings(padding=(1, 1), norm="group", num_groups=4, activation="relu"), []
    for limit in (2**31, 0):
        monkeypatch.setattr(layout, "INT32_LIMIT", limit)
        found.append((torch.empty(2, 20, 5, 7), torch.empty(2, 20, 2)))
        conv_norm_act(*found[-1], x, weight, None, s, residual=residual)
    for narrow, wide in zip(*found, strict=True):
        assert torch.equal(narrow, wide)


def test_the_op_takes_it_where_asked() -> None:
    x, weight = torch.randn(2, 6, 5, 7), torch.randn(4, 6, 3, 3)
    with genfuse.backend("triton"):
        assert genfuse.explain("conv_norm_act", x, weight).backend == "triton"
        y, stats = genfuse.ops.conv_norm_act(x, weight, norm="batch", activation="silu", return_stats=True)
        assert torch.allclose(reference.channel_stats(y), stats, atol=1e-5)
        assert genfuse.ops.conv_norm_act(x[:0], weight).shape == (0, 4, 3, 5)
        line = genfuse.ops.conv_norm_act(x[:, :, 0], weight[:, :, 0], padding=1)
    want = reference.conv_norm_act(x, weight, None, Settings(norm="batch", activation="silu"))
    assert torch.allclose(y, want, atol=1e-4)
    assert torch.allclose(line, torch.nn.functional.conv1d(x[:, :, 0], weight[:, :, 0], padding=1), atol=1e-4)
