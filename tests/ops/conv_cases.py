"""Units for the tests of `conv_norm_act`: random settings, tensors and layouts, and what error they may have."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genfuse.ops.conv_geometry import convolved_size, output_size
from genfuse_kernels import _cpu
from genfuse_kernels.conv_norm_act import reference, spec
from genfuse_kernels.conv_norm_act.cpu_impl import BY_RULE, Way, conv_norm_act, convolution
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS, PADDING_MODES, Settings, kernel_size
from ops.cpu_cases import laid_out, untouched_elsewhere

KINDS = ("3x3", "any", "any", "transposed", "grouped", "few")

IMAGE_LAYOUTS = ("contiguous", "channels_last", "batch_strided", "transposed")


@dataclass
class Case:
    """One call: `tensors` by name, all in `dtype`."""

    settings: Settings
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    tensors: dict[str, Tensor | None]

    def double(self) -> Case:
        """The same values in float64, dense."""
        wide = {
            name: t if t is None or not t.is_floating_point() else t.double().contiguous()
            for name, t in self.tensors.items()
        }
        bias = None if self.bias is None else self.bias.double()
        return Case(self.settings, self.x.double().contiguous(), self.weight.double(), bias, wide)

    def reference(self) -> Tensor:
        """The definition, in the tensors' dtype."""
        return reference.conv_norm_act(self.x, self.weight, self.bias, self.settings, **self.tensors)


def random_case(rng: np.random.Generator, dtype: torch.dtype, kinds: tuple[str, ...] = ()) -> Case:
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
        accuracy=(None, "exact", "fast")[rng.integers(3)],  # type: ignore[arg-type]
    )
    batch, size = int(rng.integers(1, 4)), (int(rng.integers(3, 21)), int(rng.integers(3, 21)))
    weight_shape = (
        (channels, outputs // groups, *kernel) if transposed else (outputs, channels // groups, *kernel)
    )
    return make_case(rng, dtype, settings, batch, channels, weight_shape, size)


def pair_of_twos(rng: np.random.Generator) -> tuple[int, int]:
    """2 along one axis or both."""
    return ((2, 2), (2, 2), (1, 2), (2, 1))[rng.integers(4)]


def random_sequence(rng: np.random.Generator, dtype: torch.dtype) -> Case:
    """A unit of height 1, as sequences are, with a weight (K, C/groups, length)."""
    case = random_case(rng, dtype, ("any", "transposed"))
    s = case.settings

    def flat(pair: tuple[int, int], neutral: int) -> tuple[int, int]:
        return neutral, pair[1]

    ones = {name: flat(getattr(s, name), 1) for name in ("stride", "dilation", "upsample", "pool")}
    zeros = {name: flat(getattr(s, name), 0) for name in ("padding", "extra_padding", "output_padding")}
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
) -> Case:
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
    return Case(
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


def allowed_error(case: Case, kernel: int = 0, product: torch.dtype | str | None = None) -> Tensor:
    """The error that `spec.tolerance` allows each element of the output, before it is stored; float64.

    kernel   which of the convolution's, as `cpu_impl.Way` counts them
    product  what factors are rounded to on another backend, where none is Winograd's
    """
    tile = 0
    if product is None:
        conv = convolution_of(case, kernel)
        tile, product = conv.tile, {"float32": torch.float32, "bfloat16": torch.bfloat16}[conv.product]
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
    sums = {name: tensors.get(name) for name in names}
    size = reference.conv_norm_act(
        size + 0.3,
        case.weight.abs(),
        None if case.bias is None else case.bias.abs(),
        plain,
        **{name: t if t is None or name == "seeds" else t.abs() for name, t in sums.items()},
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


def uses_winograd(case: Case, kernel: int = 0) -> bool:
    return convolution_of(case, kernel).tile > 0


def convolution_of(case: Case, kernel: int = 0) -> _cpu.Conv:
    size = (case.x.shape[2], case.x.shape[3])
    return convolution(
        tuple(case.weight.shape),
        case.settings,
        case.x.dtype,
        size,
        _cpu.isa(),
        case.tensors.get("residual_weight") is not None,
        kernel,
    )


def run(case: Case, like: Tensor, layout: str = "contiguous", way: Way = BY_RULE) -> tuple[Tensor, Tensor]:
    """The kernel's output and statistics, in memory that was NaN before."""
    out = laid_out(torch.full(like.shape, math.nan, dtype=case.x.dtype), layout)
    stats = torch.full((*like.shape[:2], 2), math.nan)
    conv_norm_act(out, stats, case.x, case.weight, case.bias, case.settings, way=way, **case.tensors)
    assert untouched_elsewhere(out)
    return out, stats


def rounding(case: Case, want: Tensor) -> Tensor:
    """What a result may be off by for being stored in x's dtype."""
    store = 0.0 if case.x.dtype == torch.float32 else spec.UNIT_ROUNDOFF[case.x.dtype]
    return store * want.abs().clamp(min=torch.finfo(case.x.dtype).tiny)  # below, numbers are equally spaced


def check(case: Case, layout: str = "contiguous", way: Way = BY_RULE) -> None:
    want = case.double().reference()
    got, stats = run(case, want, layout, way)
    allowed = allowed_error(case, way.kernel) + rounding(case, want)
    if case.settings.out_activation != "none":  # common/activation.h: absolute, where the sum is nearly none
        allowed = allowed + 3e-7
    check_result(case, want, got, stats, allowed)


def check_result(case: Case, want: Tensor, got: Tensor, stats: Tensor, allowed: Tensor) -> None:
    """An output within what each of its values may be off by, and statistics within what follows for them."""
    error = (got.double() - want).abs()
    assert (error <= allowed).all(), (
        f"{(error / allowed).nan_to_num().max():.2f} times the error; {case.settings}"
    )
    expected = reference.channel_stats(want)
    spread = (want.abs().amax((2, 3)) + allowed.amax((2, 3))) * 2e-6 + allowed.amax((2, 3))
    assert ((stats[..., 0] - expected[..., 0]).abs() <= spread).all()
    assert ((stats[..., 1] - expected[..., 1]).abs() <= 3 * spread * (1 + want.abs().amax((2, 3)))).all()
