"""Generated calls of `norm_act`: any norm, activation and layout, odd sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import output, short
from genfuse_kernels.common.guarded import LAYOUTS, laid_out
from genfuse_kernels.conv_norm_act.cases import described
from genfuse_kernels.conv_norm_act.reference import channel_stats
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS, Settings
from genfuse_kernels.norm_act import reference, spec


def random_call(
    seed: int, dtype: torch.dtype | None = None
) -> tuple[Tensor, Settings, dict[str, Tensor | None], np.random.Generator]:
    """x, settings, tensors, and what chooses the rest: any norm, activation, layout and dtype, odd sizes."""
    rng = np.random.default_rng([6, seed])
    dtype = dtype or spec.DTYPES[seed % 3]
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


def allowed(x: Tensor, s: Settings, wide: dict[str, Any], want: Tensor) -> Tensor:
    """The error of each element; wide: the tensors in float64."""
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
    return spec.tolerance(torch.float32, x.shape[1]) * size + store * want.abs()


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """Every second one asks for statistics too."""
    x, s, tensors, rng = random_call(seed, dtype)
    wide: dict[str, Any] = {name: cases.double(t) for name, t in tensors.items()}
    want = reference.norm_act(x.double(), s, **wide)
    layout = ("contiguous", "channels_last")[rng.integers(2)]
    out = output("out", want, allowed(x, s, wide, want), dtype, layout)
    made = channel_stats(want)
    stats = output("stats_out", made, 1e-3 * made.abs() + 1e-3, torch.float32)
    measures = bool(rng.random() < 0.5)
    arguments: dict[str, Any] = {"out": out.tensor, "stats_out": stats.tensor if measures else None}
    arguments |= {"x": x, "settings": s, **tensors}
    name = f"{tuple(x.shape)} {short(dtype)}, {described(s)}"
    return cases.Case(name, arguments, [out, stats] if measures else [out], [x])
