"""Every op that has GPU kernels, by the calls that networks make, and what runs them today."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import genfuse
from genfuse_bench.units import GroupNormUnit
from genfuse_kernels.norm_tangent.reference import norm_tangent as norm_tangent_reference
from genfuse_kernels.timestep_embedding.reference import timestep_embedding as embedding_reference
from genfuse_kernels.upfirdn2d.reference import upfirdn2d as upfirdn2d_reference

Made = Callable[[], Any]


@dataclass
class Subject:
    """One call of an op.

    ours      by memory format, "" as it comes; on whatever backend is forced around it
    peers     the same by others, by name; "eager" always
    compile   by name what makes such a call where it may take long, or fail
    exact     the result in float64; None where there is nothing to compare
    """

    op: str
    case: str
    shape: tuple[int, ...]
    ours: dict[str, Made]
    peers: dict[str, Made]
    compile: dict[str, Callable[[], Made]] = field(default_factory=dict)
    exact: Made | None = None


def _compiled(function: Callable[..., Tensor], *arguments: Tensor) -> Callable[[], Made]:
    def make() -> Made:
        compiled = torch.compile(function, dynamic=False)
        return lambda: compiled(*arguments)

    return make


IMAGES = ((8, 128, 32, 32), (8, 256, 16, 16), (1, 512, 64, 64), (1, 128, 256, 256))
QUICK = ((2, 32, 8, 8),)


def subjects(
    ops: Sequence[str],
    dtype: torch.dtype,
    device: torch.device,
    *,
    quick: bool = False,
    shapes: Sequence[tuple[int, ...]] | None = None,
) -> Iterator[Subject]:
    """The calls of these ops, on images of these shapes; `quick`: of small tensors."""
    torch.manual_seed(0)
    for op in ops:
        for shape in shapes or (QUICK if quick else IMAGES):
            yield _MAKERS[op](torch.randn(shape, device=device, dtype=dtype))


def _norm_act(x: Tensor) -> Subject:
    weight, bias = (torch.randn(x.shape[1], device=x.device, dtype=x.dtype) for _ in range(2))
    groups = 32
    options = {"norm": "group", "num_groups": groups, "activation": "silu"}
    last = x.contiguous(memory_format=torch.channels_last)

    def plain(x: Tensor, weight: Tensor = weight, bias: Tensor = bias) -> Tensor:
        return F.silu(F.group_norm(x, groups, weight, bias))

    def ours(x: Tensor) -> Made:
        return lambda: genfuse.ops.norm_act(x, norm_weight=weight, norm_bias=bias, **options)  # type: ignore[arg-type]

    peers: dict[str, Made] = {"eager": lambda: plain(x), "eager channels-last": lambda: plain(last)}
    if (apex := _apex(groups, last, weight, bias)) is not None:
        peers["apex channels-last"] = apex
    return Subject(
        "norm_act",
        "GroupNorm(32) + SiLU",
        tuple(x.shape),
        {"": ours(x), "channels-last": ours(last)},
        peers,
        {
            "torch.compile": _compiled(plain, x),
            "torch.compile channels-last": _compiled(plain, last),
        },
        lambda: plain(x.double(), weight.double(), bias.double()),
    )


def _apex(groups: int, last: Tensor, weight: Tensor, bias: Tensor) -> Made | None:
    """apex's fused GroupNorm and SiLU, where it is installed and takes these tensors."""
    try:
        module = importlib.import_module("apex.contrib.group_norm")
        norm = module.GroupNorm(groups, last.shape[1], act="silu", device=last.device, dtype=last.dtype)
        with torch.no_grad():
            norm.weight.copy_(weight)
            norm.bias.copy_(bias)
            norm(last)
    except Exception:  # whatever another package raises where it does not fit
        return None
    return lambda: norm(last)


def _norm_stats(x: Tensor) -> Subject:
    def plain(x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x.float(), (2, 3), correction=0)
        return torch.stack([mean, variance], -1)

    return Subject(
        "norm_stats",
        "mean and variance",
        tuple(x.shape),
        {"": lambda: genfuse.ops.norm_stats(x)},
        {"eager": lambda: plain(x)},
        {"torch.compile": _compiled(plain, x)},
        lambda: torch.stack(torch.var_mean(x.double(), (2, 3), correction=0)[::-1], -1),
    )


def _conv_norm_act(x: Tensor) -> Subject:
    unit = GroupNormUnit(x.shape[1]).to(x.device, x.dtype).eval()
    residual = torch.randn_like(x)
    last, residual_last = (t.contiguous(memory_format=torch.channels_last) for t in (x, residual))
    unit_last: Any = GroupNormUnit(x.shape[1]).to(x.device, x.dtype).eval()
    unit_last.load_state_dict(unit.state_dict())
    unit_last = unit_last.to(memory_format=torch.channels_last)
    exact = GroupNormUnit(x.shape[1]).to(x.device).double()
    exact.load_state_dict(unit.state_dict())
    return Subject(
        "conv_norm_act",
        "GroupNorm(32) + SiLU + conv3x3 + residual",
        tuple(x.shape),
        {
            "": lambda: unit.ours(x, residual, accuracy=None),
            "channels-last": lambda: unit_last.ours(last, residual_last, accuracy=None),
        },
        {
            "eager": lambda: unit(x, residual),
            "eager channels-last": lambda: unit_last(last, residual_last),
        },
        {"torch.compile channels-last": _compiled(unit_last, last, residual_last)},
        lambda: exact(x.double(), residual.double()),
    )


def _philox_normal(x: Tensor) -> Subject:
    seeds = torch.arange(x.shape[0], device=x.device)
    return Subject(
        "philox_normal",
        "beside torch.randn",
        tuple(x.shape),
        {"": lambda: genfuse.ops.philox_normal(seeds, tuple(x.shape), dtype=x.dtype)},
        {"eager": lambda: torch.randn(x.shape, device=x.device, dtype=x.dtype)},
    )


def _philox_lerp(x: Tensor) -> Subject:
    end = torch.randn_like(x)

    def plain(x: Tensor) -> Tensor:
        weight = torch.rand((x.shape[0], *[1] * (x.ndim - 1)), device=x.device, dtype=x.dtype)
        return torch.lerp(x, end, weight)

    return Subject(
        "philox_lerp",
        "beside torch.rand and lerp",
        tuple(x.shape),
        {"": lambda: genfuse.ops.philox_lerp(x, end, 5)},
        {"eager": lambda: plain(x)},
        {"torch.compile": _compiled(plain, x)},
    )


def _sampler_reduce(x: Tensor) -> Subject:
    sampler = genfuse.Sampler("ddim", 4, clip=genfuse.samplers.Clip(quantile=0.995, threshold_max=2.0))
    dtype = torch.float64 if x.device.type == "cpu" else torch.float32
    table, output = sampler.table.rows.to(x.device, dtype), torch.randn_like(x)

    def plain() -> Tensor:
        with genfuse.backend("aten"):
            return genfuse.ops.sampler_reduce(x, output, table, 0)

    return Subject(
        "sampler_reduce",
        "dynamic threshold",
        tuple(x.shape),
        {"": lambda: genfuse.ops.sampler_reduce(x, output, table, 0)},
        {"eager": plain},
        {},
        lambda: genfuse.ops.sampler_reduce(x.double(), output.double(), table.double(), 0),
    )


def _parameters(x: Tensor) -> list[Tensor]:
    """A network's: many small tensors and some large ones."""
    return [x.reshape(-1)[: x.numel() // (1 << i)].clone() for i in range(8)]


def _ema_update(x: Tensor) -> Subject:
    averages, others, parameters = _parameters(x), _parameters(x), _parameters(x * 2)
    return Subject(
        "ema_update",
        "8 tensors",
        tuple(x.shape),
        {"": lambda: genfuse.ops.ema_update(averages, parameters, 0.999)},
        {"eager": lambda: torch._foreach_lerp_(others, parameters, 1e-3)},
    )


def _clip_weights(x: Tensor) -> Subject:
    parameters, others = _parameters(x), _parameters(x)

    def plain() -> None:
        torch._foreach_clamp_min_(others, -0.01)
        torch._foreach_clamp_max_(others, 0.01)

    return Subject(
        "clip_weights",
        "8 tensors",
        tuple(x.shape),
        {"": lambda: genfuse.ops.clip_weights(parameters, 0.01)},
        {"eager": plain},
    )


def _clip_grad_norm(x: Tensor) -> Subject:
    ours, theirs = ([torch.nn.Parameter(p) for p in _parameters(x)] for _ in range(2))
    for parameter in (*ours, *theirs):
        parameter.grad = torch.randn_like(parameter)
    return Subject(
        "clip_grad_norm",
        "8 tensors",
        tuple(x.shape),
        {"": lambda: genfuse.ops.clip_grad_norm(ours, 1.0)},
        {"eager": lambda: torch.nn.utils.clip_grad_norm_(theirs, 1.0, foreach=True)},
    )


def _leaky_relu_tangent(x: Tensor) -> Subject:
    mask = torch.randn_like(x) > 0

    def plain(x: Tensor) -> Tensor:
        return torch.where(mask, x, 0.2 * x)

    return Subject(
        "leaky_relu_tangent",
        "LeakyReLU(0.2)",
        tuple(x.shape),
        {"": lambda: genfuse.ops.leaky_relu_tangent(x, mask, 0.2)},
        {"eager": lambda: plain(x)},
        {"torch.compile": _compiled(plain, x)},
        lambda: plain(x.double()),
    )


def _norm_direction(x: Tensor) -> Subject:
    def plain(x: Tensor) -> Tensor:
        norms = x.flatten(1).norm(dim=1)
        direction: Tensor = x / norms.reshape(-1, *[1] * (x.ndim - 1))
        return direction

    return Subject(
        "norm_direction",
        "of each sample",
        tuple(x.shape),
        {"": lambda: genfuse.ops.norm_direction(x)[1]},
        {"eager": lambda: plain(x)},
        {"torch.compile": _compiled(plain, x)},
        lambda: plain(x.double()),
    )


def _norm_tangent(x: Tensor) -> Subject:
    """In float32, as penalties have it under autocast too."""
    sets = x.float().flatten(2).flatten(0, 1)
    tangent = torch.randn_like(sets)
    weight = torch.randn(x.shape[1], 1, device=x.device)

    def plain(x: Tensor, tangent: Tensor, weight: Tensor = weight) -> Tensor:
        return norm_tangent_reference(x, tangent, weight, 1e-5)

    return Subject(
        "norm_tangent",
        "instance norm",
        tuple(x.shape),
        {"": lambda: genfuse.ops.norm_tangent(sets, tangent, weight)},
        {"eager": lambda: plain(sets, tangent)},
        {"torch.compile": _compiled(plain, sets, tangent)},
        lambda: plain(sets.double(), tangent.double(), weight.double()),
    )


def _bias_act(x: Tensor) -> Subject:
    bias = torch.randn(x.shape[1], device=x.device, dtype=x.dtype)

    def plain(x: Tensor, bias: Tensor = bias) -> Tensor:
        return F.leaky_relu(x + bias.reshape(-1, 1, 1), 0.2) * math.sqrt(2)

    return Subject(
        "bias_act",
        "bias + LeakyReLU(0.2), gain",
        tuple(x.shape),
        {"": lambda: genfuse.ops.bias_act(x, bias, activation="leaky_relu", gain=math.sqrt(2))},
        {"eager": lambda: plain(x)},
        {"torch.compile": _compiled(plain, x)},
        lambda: plain(x.double(), bias.double()),
    )


def _upfirdn2d(x: Tensor) -> Subject:
    """Upsampling by two with StyleGAN2's filter."""
    f = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device)
    f = torch.outer(f, f) / 64
    last = x.contiguous(memory_format=torch.channels_last)

    def plain(x: Tensor, f: Tensor = f) -> Tensor:
        return upfirdn2d_reference(x, f, (2, 2), (1, 1), (2, 1, 2, 1), False, 4.0)

    def ours(x: Tensor) -> Made:
        return lambda: genfuse.ops.upfirdn2d(x, f, up=2, padding=(2, 1, 2, 1), gain=4.0)

    return Subject(
        "upfirdn2d",
        "up 2, 4 x 4 taps",
        tuple(x.shape),
        {"": ours(x), "channels-last": ours(last)},
        {"eager": lambda: plain(x)},
        {"torch.compile": _compiled(plain, x)},
        lambda: plain(x.double(), f.double()),
    )


def _spectral_norm(x: Tensor) -> Subject:
    """Of six 4x4 convolutions, a step from the same vectors each time."""
    channels = x.shape[1]
    weights = [torch.randn(channels, channels, 4, 4, device=x.device, dtype=x.dtype) for _ in range(6)]
    us, vs = (
        [F.normalize(torch.randn(size, device=x.device), dim=0).to(x.dtype) for _ in weights]
        for size in (channels, channels * 16)
    )
    first = [vector.clone() for vector in (*us, *vs)]

    def plain(weights: Sequence[Tensor] = weights, vs: Sequence[Tensor] = first[len(us) :]) -> Tensor:
        made = []
        for weight, v in zip(weights, vs, strict=True):
            u = F.normalize(torch.mv(weight.flatten(1), v), dim=0, eps=1e-12)
            v = F.normalize(torch.mv(weight.flatten(1).mT, u), dim=0, eps=1e-12)
            made.append(weight / torch.dot(u, torch.mv(weight.flatten(1), v)))
        return torch.stack(made)

    def ours() -> Tensor:
        torch._foreach_copy_([*us, *vs], first)
        return torch.stack(genfuse.ops.spectral_norm(weights, us, vs, steps=1)[0])

    return Subject(
        "spectral_norm",
        "six 4x4 convolutions, one step",
        tuple(weights[0].shape),
        {"": ours},
        {"eager": plain},
        {"torch.compile": _compiled(plain)},
        lambda: plain(*([tensor.double() for tensor in each] for each in (weights, first[len(us) :]))),
    )


def _attention(x: Tensor) -> Subject:
    """One head of the image's pixels, 4096 of them at most."""
    size = min(x.shape[2], 64)
    rows = x[:, :, :size, :size].flatten(2).transpose(1, 2).contiguous()[:, None]

    def plain(rows: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(rows, rows, rows)

    return Subject(
        "attention",
        "one head",
        tuple(rows.shape),
        {"": lambda: genfuse.ops.attention(rows, rows, rows)},
        {"eager": lambda: plain(rows)},
        {"torch.compile": _compiled(plain, rows)},
        lambda: plain(rows.double()),
    )


def _linear(x: Tensor) -> Subject:
    """A projection of the image's pixels."""
    channels = x.shape[1]
    rows = x.flatten(2).transpose(1, 2).reshape(-1, channels).contiguous()
    weight = torch.randn(channels, channels, device=x.device, dtype=x.dtype) / math.sqrt(channels)

    def plain(rows: Tensor, weight: Tensor = weight) -> Tensor:
        return F.linear(rows, weight)

    return Subject(
        "linear",
        "of each pixel",
        tuple(rows.shape),
        {"": lambda: genfuse.ops.linear(rows, weight)},
        {"eager": lambda: plain(rows)},
        {"torch.compile": _compiled(plain, rows)},
        lambda: plain(rows.double(), weight.double()),
    )


def _timestep_embedding(x: Tensor) -> Subject:
    t = torch.linspace(0, 999, len(x), device=x.device, dtype=x.dtype)
    channels = x.shape[1]

    def plain(t: Tensor) -> Tensor:
        return embedding_reference(t, channels, True, 0.0, 1.0, 1e4)

    return Subject(
        "timestep_embedding",
        f"{channels} channels",
        (len(x),),
        {"": lambda: genfuse.ops.timestep_embedding(t, channels)},
        {"eager": lambda: plain(t)},
        {"torch.compile": _compiled(plain, t)},
        lambda: plain(t.double()),
    )


_MAKERS: dict[str, Callable[[Tensor], Subject]] = {
    "norm_act": _norm_act,
    "norm_stats": _norm_stats,
    "conv_norm_act": _conv_norm_act,
    "philox_lerp": _philox_lerp,
    "philox_normal": _philox_normal,
    "sampler_reduce": _sampler_reduce,
    "ema_update": _ema_update,
    "clip_weights": _clip_weights,
    "clip_grad_norm": _clip_grad_norm,
    "leaky_relu_tangent": _leaky_relu_tangent,
    "norm_direction": _norm_direction,
    "norm_tangent": _norm_tangent,
    "bias_act": _bias_act,
    "upfirdn2d": _upfirdn2d,
    "spectral_norm": _spectral_norm,
    "attention": _attention,
    "linear": _linear,
    "timestep_embedding": _timestep_embedding,
}

OPS = tuple(_MAKERS)
"""`sampler_step` has a command of its own."""
