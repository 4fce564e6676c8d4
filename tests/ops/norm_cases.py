"""Cases of `norm_stats` and `norm_act` that the GPU's kernels are held against, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act.reference import channel_stats
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS, Activation, Settings
from genfuse_kernels.norm_act import reference, spec
from genfuse_kernels.norm_stats import spec as stats_spec
from ops.cpu_cases import LAYOUTS, laid_out, untouched_elsewhere

Kernel = Callable[..., None]


def measured(norm_stats: Kernel, x: Tensor) -> Tensor:
    """By the kernel, into memory full of NaN."""
    stats = torch.full((*x.shape[:2], 2), math.nan)
    norm_stats(stats, x)
    return stats


def check_stats(norm_stats: Kernel, x: Tensor) -> None:
    got, want = measured(norm_stats, x), channel_stats(x.double())
    allowed = stats_spec.tolerance(x.shape[2] * x.shape[3])
    size = want[..., 0].abs() + want[..., 1].sqrt()
    assert ((got[..., 0] - want[..., 0]).abs() <= allowed * size).all()
    assert ((got[..., 1] - want[..., 1]).abs() <= allowed * want[..., 1]).all()


def random_image(seed: int) -> Tensor:
    """Odd sizes, any layout; half of them have a mean far larger than the deviation."""
    rng = np.random.default_rng([7, seed])
    shape = tuple(int(rng.integers(1, high)) for high in (4, 80, 24, 24))
    mean = 1e4 if seed % 2 else 0.5
    dtype = torch.float32 if seed % 2 else spec.DTYPES[seed // 2 % 3]
    values = torch.from_numpy(rng.standard_normal(shape) + mean).to(dtype)
    return laid_out(values, LAYOUTS[rng.integers(len(LAYOUTS))])


def long_row(first: float, channels_last: bool, length: int = 1029) -> Tensor:
    """(2, 3, 1, length), with a first pixel that may be far off."""
    x = torch.relu(torch.randn(2, 3, 1, length))
    x[..., 0] = first
    return x.to(memory_format=torch.channels_last) if channels_last else x


def random_call(
    seed: int,
) -> tuple[Tensor, Settings, dict[str, Tensor | None], np.random.Generator]:
    """x, settings, tensors, and what chooses the rest: any norm, activation, layout and dtype, odd sizes."""
    rng = np.random.default_rng([6, seed])
    dtype = spec.DTYPES[seed % 3]
    n, c, h, w = (int(rng.integers(1, high)) for high in (4, 40, 20, 20))
    settings = Settings(
        norm=NORMS[seed % len(NORMS)],
        num_groups=int(rng.choice([g for g in range(1, c + 1) if c % g == 0])),
        eps=1e-3,
        activation=ACTIVATIONS[seed // 2 % len(ACTIVATIONS)],
        negative_slope=0.2,
        scale=float(rng.choice([1.0, 0.5])),
        out_activation=ACTIVATIONS[rng.integers(len(ACTIVATIONS))],
        dropout=0.3 if rng.random() < 0.4 else 0.0,
        dropout_stream=int(rng.integers(2**32)),
        pool=((2, 2), (1, 2), (2, 1))[rng.integers(3)] if min(h, w) > 1 and rng.random() < 0.4 else (1, 1),
    )

    def image() -> Tensor:
        values = torch.from_numpy(rng.standard_normal((n, c, h, w)) + 0.5).to(dtype)
        return laid_out(values, LAYOUTS[rng.integers(len(LAYOUTS))])

    def maybe(*shape: int) -> Tensor | None:
        of = torch.float32 if rng.random() < 0.5 else dtype
        return torch.from_numpy(rng.standard_normal(shape)).to(of) if rng.random() < 0.6 else None

    film, running = rng.random() < 0.3, settings.norm == "batch" and rng.random() < 0.5
    tensors = {
        "norm_weight": maybe(c),
        "norm_bias": maybe(n, c),
        "running_mean": torch.from_numpy(rng.standard_normal(c)).float() if running else None,
        "running_var": torch.from_numpy(rng.random(c) + 0.5).float() if running else None,
        "film_scale": torch.from_numpy(rng.standard_normal((n, c))).to(dtype) if film else None,
        "film_shift": torch.from_numpy(rng.standard_normal((n, c))).to(dtype) if film else None,
        "residual": image() if seed % 2 else None,
        "seeds": torch.from_numpy(rng.integers(-(2**63), 2**63 - 1, n)),
    }
    return image(), settings, tensors, rng


def check_call(
    norm_act: Kernel,
    x: Tensor,
    s: Settings,
    tensors: dict[str, Tensor | None],
    rng: np.random.Generator,
    measures: bool = True,
) -> None:
    """Output and, where it measures, statistics against the reference's; nothing is written elsewhere."""
    wide = {name: t if t is None or not t.is_floating_point() else t.double() for name, t in tensors.items()}
    want = reference.norm_act(x.double(), s, **wide)
    out = laid_out(torch.full(want.shape, math.nan, dtype=x.dtype), LAYOUTS[rng.integers(len(LAYOUTS))])
    stats = torch.full((*x.shape[:2], 2), math.nan)
    norm_act(out, stats if measures else None, x, s, **tensors)
    assert untouched_elsewhere(out)
    # x minus a mean, times a weight: each a rounding of numbers larger than the result may be
    plain = wide | {"residual": None, "running_mean": None, "running_var": None}
    deviation = 1.0 if s.norm == "none" else s.eps**-0.5
    size = reference.norm_act(x.double().abs() + 1, Settings(), **plain).abs() + x.double().abs() + 2
    size = (
        size
        * deviation
        * (1 + (0 if wide["film_scale"] is None else wide["film_scale"].abs()[..., None, None]))
    )
    size = size + (0 if wide["residual"] is None else wide["residual"].abs())
    size = torch.nn.functional.avg_pool2d(size, s.pool)
    store = 0.0 if x.dtype == torch.float32 else spec.tolerance(x.dtype, 1)
    allowed = spec.tolerance(torch.float32, x.shape[1]) * size + store * want.abs()
    assert ((out.double() - want).abs() <= allowed).all()
    if measures:
        assert torch.allclose(stats.double(), channel_stats(want), rtol=1e-3, atol=1e-3)


def check_extremes(norm_act: Kernel, activation: Activation) -> None:
    """NaN stays NaN, no finite value becomes it, and no infinity a number that PyTorch's isn't."""
    finite = [0.0, -0.0, 1e-30, -1e-41, 90.0, -90.0, 3e38, -3e38]
    x = torch.tensor([*finite, math.inf, -math.inf, math.nan]).reshape(1, 1, 1, -1)
    s = Settings(activation=activation, negative_slope=0.2)
    got = torch.full_like(x, 7.0)
    norm_act(got, None, x, s)
    want = reference.norm_act(x.double(), s).float()
    count = len(finite)
    assert torch.allclose(got[..., :count], want[..., :count], rtol=1e-6, atol=4e-7)
    assert (got[..., count:].isfinite() <= want[..., count:].isfinite()).all() and got[..., -1].isnan()
