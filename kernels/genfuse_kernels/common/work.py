"""What a call of an op moves and computes at least, from its launcher's arguments: what a roofline is counted from.

Bytes are of each tensor once a direction, whatever is read from a cache again. FLOPs are of matrix products and filters
alone: of the other ops the bytes decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genfuse_kernels.attention import spec as attention
from genfuse_kernels.clip_grad_norm import spec as clip_grad_norm
from genfuse_kernels.clip_weights import spec as clip_weights
from genfuse_kernels.conv_norm_act import spec as conv
from genfuse_kernels.ema_update import spec as ema_update
from genfuse_kernels.sampler_step.row import COLUMN, TERMS
from genfuse_kernels.spectral_norm import spec as spectral_norm
from genfuse_kernels.upfirdn2d.spec import filter_size

Arguments = dict[str, Any]


class Work(NamedTuple):
    """Bytes, and multiplications and additions."""

    bytes: int
    flops: int


def work(op: str, given: Arguments) -> Work:
    """Of one call; given: its arguments by name."""
    count = _BYTES.get(op, _each_once)
    return Work(count(given), _FLOPS[op](given) if op in _FLOPS else 0)


def gradient_work(op: str, given: Arguments, made: object) -> Work:
    """Of one call of an op's kernel for backward, and what it returned."""
    tensors = _tensors((*given.values(), made))
    return Work(_nbytes(tensors), _GRADIENT_FLOPS[op](given) if op in _GRADIENT_FLOPS else 0)


def _tensors(value: object) -> list[Tensor]:
    """In lists and dictionaries too; those without memory, whose shape alone is told, are not read."""
    if isinstance(value, Tensor):
        return [] if value.device.type == "meta" else [value]
    parts = (
        value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    )
    return [tensor for part in parts for tensor in _tensors(part)]


def _nbytes(tensors: list[Tensor]) -> int:
    return sum({(t.data_ptr(), t.nbytes): t.nbytes for t in tensors}.values())


def _each_once(given: Arguments) -> int:
    return _nbytes([value for value in given.values() if isinstance(value, Tensor)])


def _of_unit(given: Arguments) -> int:
    """With one more pass over x where the norm measures it."""
    x, skip = given["x"], given.get("skip")
    measured = conv.measures(given["settings"], given.get("running_mean"), given.get("stats"))
    again = (x.nbytes + (0 if skip is None else skip.nbytes)) if measured else 0
    return _each_once(given) + again


def _of_step(given: Arguments) -> int:
    """What the row reads and writes: a zero coefficient loads nothing."""
    x, table, index = given["x"], given["table"], given["index"]
    row = table[int(index.reshape(-1)[0]) if isinstance(index, Tensor) else index].to("cpu", torch.float64)
    store = row[COLUMN["store"]] >= 0 or given["stored"] is not None
    live = {term for term in TERMS for made in ("ys" if store else "y") if row[COLUMN[f"{made}_{term}"]] != 0}
    if "x0" in live:
        live |= {term for term in ("x", "m") if row[COLUMN[f"x0_{term}"]] != 0}
    inputs = len(live & {"x", "m", "h0", "h1", "h2", "h3"})
    inputs += "m" in live and given["uncond"] is not None and float(row[COLUMN["guidance"]]) not in (0, 1)
    inputs += sum(term in live and given[term] is not None for term in ("noise", "noise_prev"))
    inputs += "noise" in live and float(row[COLUMN["log_std_v"]]) != 0
    return int(x.nbytes * (inputs + 1 + bool(store)))


_BYTES: dict[str, Callable[[Arguments], int]] = {
    "clip_grad_norm": lambda given: clip_grad_norm.bytes_moved(given["gradients"], clipped=True),
    "clip_weights": lambda given: clip_weights.bytes_moved(given["parameters"]),
    "conv_norm_act": _of_unit,
    "ema_update": lambda given: ema_update.bytes_moved(given["averages"], given["parameters"]),
    "norm_act": _of_unit,
    "sampler_step": _of_step,
    "spectral_norm": lambda given: spectral_norm.bytes_moved(given["weights"], given["steps"]),
}


def _convolution(given: Arguments) -> int:
    out, x, weight, s = given["out"], given["x"], given["weight"], given["settings"]
    pooled = s.pool[0] * s.pool[1]
    if s.transposed:
        return int(2 * (x.numel() // x.shape[1]) * weight.numel())
    products = conv.flops(out.shape[0], out.shape[1], out.shape[2] * out.shape[3] * pooled, weight[0].numel())
    projection = given.get("residual_weight")
    return products + (0 if projection is None else 2 * out.numel() * pooled * projection.shape[1])


def _filter(given: Arguments) -> int:
    height, width = filter_size(given["f"])
    up, apart = given["up"], given["f"].ndim == 1
    taps = height / up[1] + width / up[0] if apart else height * width / (up[0] * up[1])
    return int(2 * given["out"].numel() * taps)


def _attention(given: Arguments) -> int:
    q, k, v = given["q"], given["k"], given["v"]
    return attention.flops(q.shape[0], q.shape[1], q.shape[2], k.shape[2], q.shape[3], v.shape[3])


_FLOPS: dict[str, Callable[[Arguments], int]] = {
    "attention": _attention,
    "conv_norm_act": _convolution,
    "linear": lambda given: 2 * given["out"].numel() * given["x"].shape[1],
    "spectral_norm": lambda given: sum(4 * max(given["steps"], 1) * w.numel() for w in given["weights"]),
    "upfirdn2d": _filter,
}


def _convolution_gradient(given: Arguments) -> int:
    """The forward pass's products for data, and again for weights."""
    forward = _convolution({**given, **given["tensors"], "out": given["gradient"]})
    needs = set(given["needs"])
    return forward * (bool(needs & {"x", "skip"}) + ("weight" in needs))


_GRADIENT_FLOPS: dict[str, Callable[[Arguments], int]] = {
    "attention": lambda given: (
        _attention(given) * 5 // 2
    ),  # the scores again, and the gradients of four factors
    "conv_norm_act": _convolution_gradient,
}
