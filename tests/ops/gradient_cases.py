"""Gradients of what units do before their convolution: random calls, autograd's in float64, and the error allowed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genfuse_kernels.conv_norm_act import reference, spec
from genfuse_kernels.conv_norm_act.norm_gradient import ReadGradient, read_gradient
from genfuse_kernels.conv_norm_act.settings import ACTIVATIONS, NORMS, Activation, Norm, Settings, UnitTensors
from genfuse_kernels.norm_stats import spec as stats_spec
from ops.conv_cases import IMAGE_LAYOUTS
from ops.cpu_cases import laid_out

PARAMETERS = ("norm_weight", "norm_bias", "film_scale", "film_shift")


@dataclass
class GradientCase:
    """`gradient` is that of `reference.read`'s result; where stats are given they have a gradient of their own."""

    settings: Settings
    gradient: Tensor
    x: Tensor
    tensors: UnitTensors
    stats_given: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        names = ("x", "skip", *PARAMETERS, *(("stats",) if self.stats_given else ()))
        return tuple(name for name in names if name == "x" or self.tensors.get(name) is not None)

    def run(self, **options: object) -> ReadGradient:
        return read_gradient(
            self.gradient,
            self.x,
            self.settings,
            self.tensors,
            through_stats=not self.stats_given,
            needs=self.needs,
            **options,  # type: ignore[arg-type]
        )


def random_gradient(
    rng: np.random.Generator,
    dtype: torch.dtype,
    norm: Norm | None = None,
    activation: Activation | None = None,
    batch: int | None = None,
) -> GradientCase:
    """Odd sizes, any layout; one in five is too large for the cache."""

    def tensor(*shape: int, at: float = 0.0, of: torch.dtype = torch.float32) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape) + at).to(of)

    def image(count: int, at: float = 0.0) -> Tensor:
        values = tensor(batch, count, *size, at=at, of=dtype)
        return laid_out(values, (*IMAGE_LAYOUTS, "sliced")[rng.integers(len(IMAGE_LAYOUTS) + 1)])

    def maybe(*shape: int, at: float = 0.0) -> Tensor | None:
        parameter = dtype if rng.random() < 0.3 else torch.float32
        return tensor(*shape, at=at, of=parameter) if rng.random() < 0.7 else None

    norm = norm or NORMS[rng.integers(len(NORMS))]
    batch = batch or int(rng.integers(1, 4))
    channels = int(rng.integers(1, 50))
    size = tuple(int(i) for i in rng.integers(1, 21, 2)) if rng.random() < 0.8 else (41, 67)
    settings = Settings(
        norm=norm,
        num_groups=int(rng.choice([g for g in range(1, channels + 1) if channels % g == 0])),
        eps=float(rng.choice([1e-5, 1e-3])),
        activation=activation or ACTIVATIONS[rng.integers(len(ACTIVATIONS))],
        negative_slope=0.2,
        dropout=float(rng.choice([0.1, 0.5])) if rng.random() < 0.3 else 0.0,
        dropout_stream=int(rng.integers(2**32)),
    )
    split = int(rng.integers(1, channels)) if channels > 1 and rng.random() < 0.4 else channels
    of_running = norm == "batch" and rng.random() < 0.3
    stats_given = norm in ("batch", "instance", "group", "layer") and not of_running and rng.random() < 0.3
    per_sample = (batch, channels) if rng.random() < 0.3 else (channels,)
    film = rng.random() < 0.3
    spread = torch.stack([tensor(batch, channels), tensor(batch, channels).abs() + 0.5], 2)
    return GradientCase(
        settings,
        image(channels),
        image(split, at=0.5),
        {
            "skip": image(channels - split, at=0.5) if split < channels else None,
            "norm_weight": maybe(*per_sample, at=1.0),
            "norm_bias": maybe(*per_sample),
            "running_mean": tensor(channels) if of_running else None,
            "running_var": tensor(channels).abs() + 0.5 if of_running else None,
            "stats": spread if stats_given else None,
            "film_scale": tensor(batch, channels) if film else None,
            "film_shift": tensor(batch, channels) if film else None,
            "seeds": torch.from_numpy(rng.integers(-(2**63), 2**63 - 1, batch)),
        },
        stats_given,
    )


class Wanted:
    """Autograd's gradients in float64, and the error that each may have, by name."""

    def __init__(self, case: GradientCase) -> None:
        s = case.settings
        tensors = {
            name: t.detach().double().requires_grad_()
            if isinstance(t, Tensor) and t.is_floating_point()
            else t
            for name, t in case.tensors.items()
        }
        x = case.x.double().requires_grad_()
        skip = tensors.pop("skip", None)
        joined = x if skip is None else torch.cat([x, skip], 1)
        h = reference.read(joined, s, None, None, tensors)  # type: ignore[arg-type]
        leaves = {"x": x, "skip": skip, **tensors}
        found = torch.autograd.grad(h, [leaves[name] for name in case.needs], case.gradient.double())
        self.gradients = dict(zip(case.needs, found, strict=True))
        with torch.no_grad():
            self.errors = _errors(case, joined, tensors)
        for name, value in self.gradients.items():
            of = case.x if name in ("x", "skip") else case.tensors[name]  # type: ignore[literal-required]
            self.errors[name] += spec.UNIT_ROUNDOFF[of.dtype] * value.abs().clamp(
                min=torch.finfo(of.dtype).tiny
            )

    def check(self, got: ReadGradient) -> None:
        for name, want in self.gradients.items():
            value = getattr(got, name)
            assert value.shape == want.shape
            error, allowed = (value.double() - want).abs(), self.errors[name]
            assert (error <= allowed).all(), (
                f"{name}: {(error / allowed).nan_to_num().max():.2f} times the error"
            )


def _errors(case: GradientCase, x: Tensor, tensors: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """First-order error analysis, elementwise in float64: sums over what was normalised together are means here."""
    s, (batch, channels, height, width) = case.settings, x.shape
    pixels = height * width
    compute = spec.UNIT_ROUNDOFF[torch.float32]

    def per_channel(tensor: Tensor | None, absent: float) -> Tensor:
        of = torch.full((channels,), absent, dtype=torch.float64) if tensor is None else tensor
        return of.reshape(-1, channels, 1, 1).expand(batch, channels, 1, 1)

    def together(values: Tensor) -> Tensor:
        """The mean over what is normalised together."""
        groups = {"instance": channels, "layer": 1, "group": s.num_groups}.get(s.norm)
        if groups is not None:
            grouped = values.expand_as(x).reshape(batch, groups, -1).mean(2)
            return grouped.repeat_interleave(channels // groups, 1)[:, :, None, None]
        return values.expand_as(x).mean(1 if s.norm.endswith("pixel") else (0, 2, 3), keepdim=True)

    running = tensors["running_mean"], tensors["running_var"]
    stats = tensors["stats"] if case.stats_given else reference.channel_stats(x)
    normalised = reference.normalised(x, s, None, None, *running, stats)
    if s.norm.endswith("pixel"):
        square = (
            x.square().mean(1, keepdim=True)
            if s.norm == "rms_pixel"
            else x.var(1, correction=0, keepdim=True)
        )
        rstd = torch.rsqrt(square + s.eps)
    else:
        one, zero = torch.ones_like(x), torch.zeros_like(x)
        rstd = reference.normalised(one, s, None, None, *running, stats) - reference.normalised(
            zero, s, None, None, *running, stats
        )
    film = 1 + per_channel(tensors["film_scale"], 0.0)
    weight, bias = per_channel(tensors["norm_weight"], 1.0), per_channel(tensors["norm_bias"], 0.0)
    a = weight * film
    n = normalised * a + bias * film + per_channel(tensors["film_shift"], 0.0)

    # What x̂ is off by: measured statistics, x minus a mean; n: x·scale + offset as rounded too.
    constant = case.stats_given or running[0] is not None or s.norm == "none"
    measured = 0.0 if constant else stats_spec.tolerance(max(pixels, channels))
    share = (measured + 4 * compute) * (1 + together(x.abs() * rstd))
    of_normalised = share * (1 + normalised.abs())
    of_n = a.abs() * of_normalised + 8 * compute * (n.abs() + (a * x * rstd).abs() + (bias * film).abs())
    if s.activation in ("relu", "leaky_relu"):  # the other side of the kink
        of_slope = (n.abs() <= of_n).double()
    else:
        of_slope = 0.8 * of_n + spec.ACTIVATION_GRADIENT_ERROR  # no activation bends more
    with torch.enable_grad():
        at = n.detach().requires_grad_()
        activated = reference.activated(at, s.activation, s.negative_slope)
        h = activated if s.dropout == 0 else reference.dropped(activated, s, case.tensors["seeds"])  # type: ignore[arg-type]
        (g,) = torch.autograd.grad(h, at, case.gradient.double())
    kept = (
        torch.ones_like(x)
        if s.dropout == 0
        else reference.dropped(torch.ones_like(x), s, case.tensors["seeds"])
    )  # type: ignore[arg-type]
    of_g = (case.gradient.double() * kept).abs() * of_slope

    sums = spec.gradient_tolerance(channels if s.norm.endswith("pixel") else pixels) + share
    size, of_size = (a * g).abs(), a.abs() * of_g
    product = size * normalised.abs()
    of_product = of_size * normalised.abs() + size * of_normalised
    of_x = of_size + sums * size
    if not constant:
        of_x = of_x + together(of_size) + sums * together(size)
        of_x = of_x + normalised.abs() * (together(of_product) + sums * together(product))
        of_x = of_x + of_normalised * together(product)
    of_x = of_x * rstd

    plain = (of_g + sums * g.abs()).sum((2, 3))
    weighted = (of_g * normalised.abs() + g.abs() * (of_normalised + sums * normalised.abs())).sum((2, 3))
    film, weight, bias = (t[:, :, 0, 0].abs() for t in (film, weight, bias))
    errors = {
        "norm_weight": film * weighted,
        "norm_bias": film * plain,
        "film_scale": weight * weighted + bias * plain,
        "film_shift": plain,
    }
    for name in ("norm_weight", "norm_bias"):
        tensor = tensors[name]
        if tensor is not None and tensor.ndim == 1:
            errors[name] = errors[name].sum(0)
    if case.stats_given:
        r = rstd[:, :, 0, 0]
        means = r * pixels * (together(of_size) + sums * together(size))[..., 0, 0]
        products = r * pixels * (together(of_product) + sums * together(product))[..., 0, 0]
        apart = reference.normalised(stats[..., :1, None], s, None, None, None, None, stats)
        errors["stats"] = torch.stack([means + products * apart[..., 0, 0].abs(), r * products], 2)
    own = case.x.shape[1]
    return {"x": of_x[:, :own], "skip": of_x[:, own:], **errors}
