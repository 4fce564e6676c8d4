"""Generated units: random settings, tensors and layouts, and what error they may have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.common import case as cases
from genfuse_kernels.common.case import output, short
from genfuse_kernels.common.guarded import laid_out
from genfuse_kernels.conv_norm_act import reference, spec
from genfuse_kernels.conv_norm_act.settings import (
    ACTIVATIONS,
    NORMS,
    PADDING_MODES,
    Settings,
    convolved_size,
    kernel_size,
    output_size,
)
from genfuse_kernels.sampler_step.spec import UNIT_ROUNDOFF

KINDS = ("3x3", "any", "any", "transposed", "grouped", "few")

IMAGE_LAYOUTS = ("contiguous", "channels_last", "batch_strided", "transposed")


@dataclass
class Unit:
    """One call: `tensors` by name, all in `dtype`."""

    settings: Settings
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    tensors: Any

    def double(self) -> Unit:
        """The same values in float64, dense."""
        wide = {
            name: t if t is None or not t.is_floating_point() else t.double().contiguous()
            for name, t in self.tensors.items()
        }
        bias = None if self.bias is None else self.bias.double()
        return Unit(self.settings, self.x.double().contiguous(), self.weight.double(), bias, wide)

    def reference(self) -> Tensor:
        """The definition, in the tensors' dtype."""
        return reference.conv_norm_act(self.x, self.weight, self.bias, self.settings, **self.tensors)


def random_case(rng: np.random.Generator, dtype: torch.dtype, kinds: tuple[str, ...] = ()) -> Unit:
    """`kinds` may fix "3x3" (Winograd's), "transposed", "grouped" (few channels a group) or "few" (channels)."""
    kind = kinds[rng.integers(len(kinds))] if kinds else KINDS[rng.integers(len(KINDS))]
    groups = 1 if kind in ("3x3", "few") else int(rng.choice([1, 1, 1, 2, 3]))
    channels, outputs = (groups * int(rng.integers(1, 40 // groups + 1)) for _ in range(2))
    if kind == "grouped":
        groups = int(rng.integers(2, 40))
        channels, outputs = (
            groups * int(rng.choice([1, 1, 2, 3, 8, 9])),
            groups * int(rng.choice([1, 1, 2, 5, 8])),
        )
    elif kind == "few":
        few = int(rng.integers(1, 9))
        channels, outputs = (few, outputs) if rng.random() < 0.4 else (channels, few)
    transposed = kind == "transposed" or (kind in ("grouped", "few") and rng.random() < 0.3)
    stride = 2 if transposed and rng.random() < 0.6 else 1 if kind == "3x3" else int(rng.integers(1, 4))
    kernel = (3, 3) if kind == "3x3" else tuple(int(k) for k in rng.integers(1, 6, 2))
    if transposed and stride == 2 and rng.random() < 0.6:
        kernel = (4, 4)
    dilation = 1 if kind == "3x3" or rng.random() < 0.7 else 2
    mode = "zeros" if transposed or rng.random() < 0.6 else PADDING_MODES[rng.integers(1, 3)]
    upsample = pair_of_twos(rng) if not transposed and rng.random() < 0.15 else (1, 1)
    norm = NORMS[rng.integers(len(NORMS))]
    padding = tuple(int(p) for p in rng.integers(0, 3, 2))
    uneven = not transposed and rng.random() < 0.3
    settings = Settings(
        stride=(stride, stride),
        padding=padding,  # type: ignore[arg-type]
        extra_padding=tuple(int(rng.integers(-p, 3)) for p in padding) if uneven else (0, 0),  # type: ignore[arg-type]
        dilation=(dilation, dilation),
        groups=groups,
        transposed=transposed,
        output_padding=(int(rng.integers(0, stride)),) * 2 if transposed else (0, 0),
        padding_mode=mode,
        upsample=upsample,
        norm=norm,
        num_groups=int(rng.choice([g for g in range(1, channels + 1) if channels % g == 0])),
        eps=float(rng.choice([1e-5, 1e-3])),
        activation=ACTIVATIONS[rng.integers(len(ACTIVATIONS))],
        negative_slope=0.2,
        scale=float(rng.choice([1.0, 0.70710678])),
        out_activation=ACTIVATIONS[rng.integers(len(ACTIVATIONS))] if rng.random() < 0.3 else "none",
        dropout=float(rng.choice([0.1, 0.5, 0.9])) if rng.random() < 0.3 else 0.0,
        dropout_stream=int(rng.integers(2**32)),
        pool=pair_of_twos(rng) if not transposed and rng.random() < 0.2 else (1, 1),
        accuracy=(None, "exact", "fast")[rng.integers(3)],
    )
    batch, size = int(rng.integers(1, 4)), (int(rng.integers(3, 21)), int(rng.integers(3, 21)))
    weight_shape = (
        (channels, outputs // groups, *kernel) if transposed else (outputs, channels // groups, *kernel)
    )
    return make_case(rng, dtype, settings, batch, channels, weight_shape, size)


def pair_of_twos(rng: np.random.Generator) -> tuple[int, int]:
    """2 along one axis or both."""
    return ((2, 2), (2, 2), (1, 2), (2, 1))[rng.integers(4)]


def random_sequence(rng: np.random.Generator, dtype: torch.dtype) -> Unit:
    """A unit of height 1, as sequences are, with a weight (K, C/groups, length)."""
    case = random_case(rng, dtype, ("any", "transposed"))
    s = case.settings

    def flat(pair: tuple[int, int], neutral: int) -> tuple[int, int]:
        return neutral, pair[1]

    ones: dict[str, Any] = {
        name: flat(getattr(s, name), 1) for name in ("stride", "dilation", "upsample", "pool")
    }
    zeros: dict[str, Any] = {
        name: flat(getattr(s, name), 0) for name in ("padding", "extra_padding", "output_padding")
    }
    shape = (*case.weight.shape[:2], 1, case.weight.shape[3])
    channels = case.weight.shape[0] if s.transposed else case.weight.shape[1] * s.groups
    flattened = make_case(rng, dtype, s._replace(**ones, **zeros), 2, channels, shape, (1, case.x.shape[3]))
    flattened.weight = flattened.weight.squeeze(2)
    return flattened


def make_case(
    rng: np.random.Generator,
    dtype: torch.dtype,
    settings: Settings,
    batch: int,
    channels: int,
    weight_shape: tuple[int, ...],
    size: tuple[int, int],
) -> Unit:
    """Random tensors for these settings; which of the optional ones are there is random too."""

    def tensor(*shape: int, at: float = 0.0, scale: float = 1.0) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape) * scale + at).to(dtype)

    def image(count: int, height: int, width: int) -> Tensor:
        values = tensor(batch, count, height, width, at=0.5, scale=1.5)
        return laid_out(values, IMAGE_LAYOUTS[rng.integers(len(IMAGE_LAYOUTS))])

    def maybe(*shape: int, at: float = 0.0) -> Tensor | None:
        return tensor(*shape, at=at) if rng.random() < 0.5 else None

    s = settings
    outputs = weight_shape[1] * s.groups if s.transposed else weight_shape[0]
    for axis in (0, 1):  # until there is an output
        size = _enlarged(s, weight_shape, size, axis)
    out = convolved_size(s, kernel_size(weight_shape), size)
    split = int(rng.integers(1, channels)) if channels > 1 and rng.random() < 0.3 else channels
    of_running = s.norm == "batch" and rng.random() < 0.5
    film = rng.random() < 0.2
    projects, joins = rng.random() < 0.3, rng.random() < 0.3
    residuals = (int(rng.integers(1, 40)), int(rng.integers(1, 20)) if joins else 0)
    per_sample = (batch, channels) if rng.random() < 0.3 else (channels,)
    x = image(split, *size)
    return Unit(
        settings,
        x,
        tensor(*weight_shape, scale=0.3),
        maybe(outputs),
        {
            "skip": image(channels - split, *size) if split < channels else None,
            "norm_weight": maybe(*per_sample, at=1.0),
            "norm_bias": maybe(*per_sample),
            "running_mean": tensor(channels) if of_running else None,
            "running_var": tensor(channels).abs() + 0.5 if of_running else None,
            "stats": None,
            "film_scale": tensor(batch, channels) if film else None,
            "film_shift": tensor(batch, channels) if film else None,
            "shift": maybe(batch, outputs),
            "residual": image(residuals[0] if projects else outputs, *out)
            if projects or rng.random() < 0.4
            else None,
            "residual_weight": tensor(outputs, sum(residuals), 1, 1, scale=0.3) if projects else None,
            "residual_skip": image(residuals[1], *out) if projects and joins else None,
            "seeds": torch.from_numpy(rng.integers(-(2**63), 2**63 - 1, batch)),
        },
    )


def _enlarged(
    s: Settings, weight_shape: tuple[int, ...], size: tuple[int, int], axis: int
) -> tuple[int, int]:
    while (
        output_size(s, kernel_size(weight_shape), size)[axis] < 1
        or s.padding[axis] + max(0, s.extra_padding[axis]) >= size[axis] * s.upsample[axis]
    ):
        size = (size[0] + (axis == 0), size[1] + (axis == 1))
    return size


def allowed_error(case: Unit, tile: int, product: torch.dtype | str) -> Tensor:
    """The error that `spec.tolerance` allows each element of the output, before it is stored; float64.

    tile     Winograd's, 0 where there is none
    product  what factors are rounded to
    """
    case = case.double()
    s, tensors = case.settings, case.tensors
    # Σ|h·weight| + |bias| + |shift| + |residual|, h's own rounding included: x·scale + offset may cancel.
    x = case.x if tensors["skip"] is None else torch.cat([case.x, tensors["skip"]], 1)
    zero = torch.zeros_like(x)
    norm = (
        tensors["norm_weight"],
        tensors["norm_bias"],
        tensors["running_mean"],
        tensors["running_var"],
        None,
    )
    offset = (
        reference.normalised(zero, s, *norm)
        if s.norm == "none" or tensors["running_mean"] is not None
        else None
    )
    h = reference.normalised(x, s, *norm)
    size = h.abs() + (x.abs() if offset is None else offset.abs())
    if tensors["film_scale"] is not None and tensors["film_shift"] is not None:
        size = size * (1 + tensors["film_scale"].abs())[:, :, None, None]
        size = size + tensors["film_shift"].abs()[:, :, None, None]
    plain = s._replace(norm="none", activation="none", out_activation="none", scale=1.0)
    names = ("shift", "residual", "residual_weight", "residual_skip", "seeds")
    sums: dict[str, Any] = {name: tensors.get(name) for name in names}
    sums |= {name: t.abs() for name, t in sums.items() if t is not None and name != "seeds"}
    size = reference.conv_norm_act(
        size + 0.3,
        case.weight.abs(),
        None if case.bias is None else case.bias.abs(),
        plain,
        **sums,
    )
    if tile:  # Winograd's error spreads over a tile
        size = size.amax((2, 3), keepdim=True).expand_as(size)
    reduction = case.weight[0].numel()
    if s.transposed:  # each output pixel meets every stride-th tap
        taps = math.prod(
            -(-size // step) for size, step in zip(kernel_size(case.weight.shape), s.stride, strict=True)
        )
        reduction = case.weight.shape[0] // s.groups * taps
    if sums["residual_weight"] is not None:
        reduction += sums["residual_weight"].shape[1]
    return spec.tolerance(torch.float32, reduction, tile, product) * size


def rounding(case: Unit, want: Tensor) -> Tensor:
    """What a result may be off by for being stored in x's dtype."""
    store = 0.0 if case.x.dtype == torch.float32 else UNIT_ROUNDOFF[case.x.dtype]
    return store * want.abs().clamp(min=torch.finfo(case.x.dtype).tiny)  # below, numbers are equally spaced


def case(seed: int, dtype: torch.dtype, product: cases.Product = torch.float32) -> cases.Case:
    """A unit, every third one a 3x3 convolution as networks have; Winograd's error where it is admitted."""
    rng = np.random.default_rng([3, seed, spec.DTYPES.index(dtype)])
    unit = random_case(rng, dtype, ("3x3",) if seed % 3 == 0 else ())
    want = unit.double().reference()
    s = unit.settings
    plain = kernel_size(unit.weight.shape) == (3, 3) and s.stride == s.dilation == (1, 1) and s.groups == 1
    tile = 4 if plain and s.accuracy == "fast" else 0
    allowed = allowed_error(unit, tile, product)
    if s.out_activation != "none":
        allowed = allowed + 3e-7
    layout = ("contiguous", "channels_last")[rng.integers(2)]
    out = output("out", want, allowed + rounding(unit, want), dtype, layout)
    stats = output("stats_out", reference.channel_stats(want), stats_allowed(want, allowed), torch.float32)
    arguments: dict[str, Any] = {"out": out.tensor, "stats_out": stats.tensor if seed % 2 else None}
    arguments |= {"x": unit.x, "weight": unit.weight, "bias": unit.bias, "settings": s, **unit.tensors}
    written = [out, stats] if seed % 2 else [out]
    return cases.Case(f"{tuple(unit.x.shape)} {short(dtype)}, {described(s)}", arguments, written, [unit.x])


def described(s: Settings) -> str:
    """The settings that are not the default."""
    default = Settings()
    return " ".join(
        f"{name}={value}" for name, value in s._asdict().items() if value != getattr(default, name)
    )


def stats_allowed(want: Tensor, allowed: Tensor) -> Tensor:
    """What follows for the statistics of an output (N, K, 2)."""
    spread = (want.abs().amax((2, 3)) + allowed.amax((2, 3))) * 2e-6 + allowed.amax((2, 3))
    return torch.stack([spread, 3 * spread * (1 + want.abs().amax((2, 3)))], dim=2)
