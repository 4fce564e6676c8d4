"""`conv_norm_act` in CUDA, emulated, against its float64 reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse_kernels.common import planes
from genfuse_kernels.conv_norm_act import cuda_conv
from genfuse_kernels.conv_norm_act.cuda_impl import conv_norm_act
from genfuse_kernels.conv_norm_act.reference import channel_stats
from genfuse_kernels.conv_norm_act.settings import Settings
from ops.conv_cases import IMAGE_LAYOUTS, make_case
from ops.cpu_cases import laid_out
from ops.cuda_conv_cases import DTYPES, check, random_unit
from triton_proof.seeds import rotating


@pytest.mark.parametrize("seed", rotating(4, 240))
def test_random_units(seed: int) -> None:
    rng = np.random.default_rng([61, seed])
    case = random_unit(rng, DTYPES[seed % 3])
    check(conv_norm_act, case, IMAGE_LAYOUTS[seed // 3 % len(IMAGE_LAYOUTS)])


@pytest.mark.parametrize(
    "shape, settings, size, batch",
    [
        ((20, 24, 4, 4), Settings(transposed=True), (1, 1), 5),  # a generator's first layer
        ((1, 24, 4, 4), Settings(norm="batch", activation="leaky_relu"), (4, 4), 35),  # a critic's last
        ((16, 18, 7, 7), Settings(padding=(3, 3), padding_mode="reflect"), (9, 11), 1),
        ((136, 72, 1, 1), Settings(norm="group", num_groups=8, activation="silu"), (12, 12), 2),
        (
            (72, 16, 4, 4),
            Settings(transposed=True, stride=(2, 2), padding=(1, 1), norm="instance"),
            (8, 9),
            1,
        ),
        ((16, 24, 2, 2), Settings(transposed=True, stride=(3, 3)), (3, 4), 1),  # phases without a tap
        ((24, 40, 3, 3), Settings(padding=(1, 1), upsample=(2, 2), activation="relu"), (5, 9), 2),
        (
            (48, 40, 3, 3),
            Settings(padding=(1, 1), stride=(2, 2), norm="layer", activation="gelu"),
            (19, 20),
            1,
        ),
        ((32, 16, 3), Settings(padding=(0, 1), activation="tanh"), (1, 150), 2),  # a sequence
        ((32, 16, 3, 3), Settings(padding=(6, 6), dilation=(6, 6), groups=2, norm="batch"), (17, 13), 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [DTYPES[seed] for seed in rotating(1, 3)])
def test_shapes_of_networks(
    shape: Any, settings: Settings, size: Any, batch: int, dtype: torch.dtype
) -> None:
    channels = shape[0] if settings.transposed else shape[1] * settings.groups
    rng = np.random.default_rng(62)
    whole = shape if len(shape) == 4 else (*shape[:2], 1, shape[2])
    case = make_case(rng, dtype, settings, batch, channels, whole, size)
    case.weight = case.weight.reshape(shape)
    check(conv_norm_act, case, "channels_last")


def images(
    dtype: torch.dtype, batch: int = 3, size: tuple[int, int] = (9, 7)
) -> tuple[Tensor, Tensor, Tensor]:
    """x, a weight and a residual, in channels last."""
    x, residual = torch.randn(batch, 40, *size), torch.randn(batch, 24, *size)
    weight = torch.randn(24, 40, 3, 3)
    x, weight, residual = (
        tensor.to(dtype).to(memory_format=torch.channels_last) for tensor in (x, weight, residual)
    )
    return x, weight, residual


UNIT = Settings(padding=(1, 1), norm="group", num_groups=8, activation="silu")


def of(x: Tensor, weight: Tensor, residual: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A unit's output and statistics; its norm goes by `given` statistics of x, else by its own."""
    out = torch.full_like(residual, math.nan)
    stats = torch.full((*out.shape[:2], 2), math.nan)
    conv_norm_act(out, stats, x, weight, None, UNIT, residual=residual, stats=given)
    return out, stats


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(9, 7), (3, 5)], ids=str)
def test_a_samples_bits_are_its_own_and_repeat(size: tuple[int, int], dtype: torch.dtype) -> None:
    """Where samples share a block too, which they do without statistics."""
    x, weight, residual = images(dtype, size=size)
    whole, alone, again = of(x, weight, residual), of(x[2:], weight, residual[2:]), of(x, weight, residual)
    for first, second, repeated in zip(whole, alone, again, strict=True):
        assert torch.equal(first[2:], second) and torch.equal(first, repeated)
    shared = torch.full_like(residual, math.nan)
    conv_norm_act(shared, None, x, weight, None, UNIT, residual=residual)
    assert torch.equal(shared, whole[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_strides_give_the_bits_of_channels_last(dtype: torch.dtype) -> None:
    """Of the convolution; `norm_stats` adds up in the order of memory."""
    x, weight, residual = images(dtype)
    given = channel_stats(x.float())
    for layout in ("contiguous", "batch_strided", "transposed"):
        mixed = laid_out(x, layout), weight.contiguous(), laid_out(residual, layout)
        for first, second in zip(of(x, weight, residual, given), of(*mixed, given), strict=True):
            assert torch.equal(first, second)


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_offsets_in_64_bits_give_the_same_bits(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, residual = images(torch.float32, 1)
    x, residual = laid_out(x, layout), laid_out(residual, layout)
    narrow = of(x, weight, residual)
    monkeypatch.setattr(planes, "INT32_LIMIT", 0)
    for first, second in zip(narrow, of(x, weight, residual), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_a_group_reads_no_channel_of_another(layout: str) -> None:
    """Nor do zeros in the place of the last chunk's missing channels meet its NaN."""
    x, weight = torch.randn(2, 40, 5, 6), torch.randn(48, 20, 3, 3)
    x[:, 20:] = math.nan
    out = torch.empty(2, 48, 5, 6)
    conv_norm_act(out, None, laid_out(x, layout), weight, None, Settings(padding=(1, 1), groups=2))
    assert out[:, :24].isfinite().all() and out[:, 24:].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_statistics_of_a_large_mean(dtype: torch.dtype) -> None:
    """Of which squares in float32 would leave nothing."""
    x, weight, residual = images(dtype)
    bias = torch.full((24,), 1e4)
    out, stats = torch.empty(residual.shape, dtype=dtype), torch.empty(3, 24, 2)
    conv_norm_act(out, stats, x, weight * 0.02, bias, Settings(padding=(1, 1)))
    want = torch.nn.functional.conv2d(x.double(), (weight * 0.02).double(), padding=1)
    variance = want.var((2, 3), correction=0)
    assert torch.allclose(stats[..., 1].double(), variance, rtol=2e-2, atol=1e-3)


def test_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_conv, "launch", lambda *_: pytest.fail("launched"))
    x, weight, residual = images(torch.float32)
    conv_norm_act(residual[:0], None, x[:0], weight, None, Settings(padding=(1, 1)))
