"""Rows of `genfuse bench stylegan`: a style GAN's ops beside plain PyTorch's forms of them.

Each row is a forward, or a forward with all gradients, of tensors that everybody shares; held against float64 first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genfuse.ops import bias_act, conv_norm_act, modulated_conv2d, upfirdn2d
from genfuse_bench import stylegan_peers as peers
from genfuse_bench.largest_error import largest_error
from genfuse_bench.measurement import TimedRow
from genfuse_bench.tensor_lists import FLOOR, OURS
from genfuse_bench.timing import Call, Effort, measure

TOLERANCE = 2e-5
"""Largest error of a row that reports a speed, relative to the largest value of output and gradients each."""

Form = Callable[..., Tensor]


@dataclass(frozen=True)
class Case:
    """An op's forms, ours and others, of the same tensors; all of these but the last `constants` get gradients."""

    op: str
    workload: str
    tensors: tuple[Tensor, ...]
    forms: dict[str, Form]
    floor: Callable[[], object]
    """what none can be faster than, forwards: a pass over memory, or an ordinary convolution of ours"""
    constants: int = 0


@dataclass(frozen=True)
class StyleRow(TimedRow):
    """Milliseconds, medians."""

    op: str
    workload: str
    gradients: bool
    dtype: str
    threads: int
    device: str
    ours_ms: float | None
    peers_ms: dict[str, float]
    floor_ms: float
    best_peer: str
    ratio: float | None
    fastest_ms: dict[str, float]
    """first deciles of all"""
    error: float
    torch_error: float

    @property
    def refused(self) -> bool:
        """Whether the error forbids to report a speed."""
        return not self.error <= TOLERANCE


def _f(*taps: float) -> Tensor:
    f = torch.tensor(taps)
    return f[:, None] * f / f.sum().square()


def bias_act_case(shape: tuple[int, ...], last: bool = False) -> Case:
    """LeakyReLU and gain, as behind each convolution of a critic."""
    x, b = torch.randn(shape), torch.randn(shape[1])
    x = x.to(memory_format=torch.channels_last) if last else x

    def ours(x: Tensor, b: Tensor) -> Tensor:
        return bias_act(x, b, activation="leaky_relu", negative_slope=peers.SLOPE, gain=peers.GAIN)

    out = torch.empty_like(x)
    name = f"{_size(shape)}{', channels last' if last else ''}"
    return Case(
        "bias_act", name, (x, b), {OURS: ours, "plain": peers.bias_act}, lambda: torch.neg(x, out=out)
    )


def ending_case(shape: tuple[int, ...]) -> Case:
    """Demodulation, noise, bias, LeakyReLU and gain, as behind each convolution of a generator."""
    x, scale, b = torch.randn(shape), torch.rand(shape[:2]) + 0.5, torch.randn(shape[1])
    noise = torch.randn(shape[0], 1, *shape[2:]) * 0.1
    value = x * scale[:, :, None, None] + noise + b[:, None, None]
    x = torch.where(value.abs() < 1e-3, x + 0.1, x)  # no value so near to the kink that roundings differ

    def ours(x: Tensor, scale: Tensor, noise: Tensor, b: Tensor) -> Tensor:
        how: dict[str, Any] = {"negative_slope": peers.SLOPE, "gain": peers.GAIN}
        return bias_act(x, b, scale=scale, noise=noise, activation="leaky_relu", **how)

    out = torch.empty_like(x)
    forms: dict[str, Form] = {OURS: ours, "plain": peers.ending}
    return Case("a layer's end", _size(shape), (x, scale, noise, b), forms, lambda: torch.neg(x, out=out))


def upfirdn2d_case(shape: tuple[int, ...], up: int = 1, down: int = 1) -> Case:
    """The filter 1 3 3 1, centred."""
    x, f = torch.randn(shape), _f(1, 3, 3, 1)
    padding = (2, 1, 2, 1) if up > 1 else (1, 1, 1, 1) if down > 1 else (2, 1, 2, 1)

    def ours(x: Tensor, f: Tensor) -> Tensor:
        return upfirdn2d(x, f, up, down, padding, gain=up**2)

    def plain(x: Tensor, f: Tensor) -> Tensor:
        return peers.upfirdn2d(x, f, up, down, padding, up**2)

    out = ours(x, f)
    flat, made = torch.randn(x.numel() + out.numel() >> 1), torch.empty(x.numel() + out.numel() >> 1)
    name = f"{_size(shape)}{f', up {up}' if up > 1 else ''}{f', down {down}' if down > 1 else ''}"
    forms = {OURS: ours, "plain": plain}
    return Case("upfirdn2d", name, (x, f), forms, lambda: torch.neg(flat, out=made), constants=1)


def modulated_case(shape: tuple[int, ...], outputs: int, up: int = 1) -> Case:
    """A demodulated 3x3 convolution, upsampling through the filter 1 3 3 1 or not."""
    x, weight = torch.randn(shape), torch.randn(outputs, shape[1], 3, 3)
    styles, f = torch.randn(shape[:2]) * 0.3 + 1, _f(1, 3, 3, 1)
    turned = weight.transpose(0, 1).contiguous()

    def ours(x: Tensor, weight: Tensor, styles: Tensor, f: Tensor) -> Tensor:
        return modulated_conv2d(x, weight, styles, up=up, padding=1, resample_filter=f if up > 1 else None)

    def fused(x: Tensor, weight: Tensor, styles: Tensor, f: Tensor) -> Tensor:
        return peers.fused(x, weight, styles, f, up)

    def unfused(x: Tensor, weight: Tensor, styles: Tensor, f: Tensor) -> Tensor:
        return peers.unfused(x, weight, styles, f, up)

    def floor() -> object:
        if up == 1:
            return conv_norm_act(x, weight, padding=1)
        return conv_norm_act(x, turned, stride=up, transposed=True)

    name = f"{_size(shape)} to {outputs}{f', up {up}' if up > 1 else ''}"
    forms = {OURS: ours, "fused": fused, "unfused": unfused}
    return Case("modulated_conv2d", name, (x, weight, styles, f), forms, floor, constants=1)


CASES: dict[str, Sequence[Callable[[], Case]]] = {
    "bias_act": (
        lambda: bias_act_case((16, 64, 64, 64)),
        lambda: bias_act_case((16, 512, 8, 8)),
        lambda: bias_act_case((16, 64, 64, 64), last=True),
        lambda: ending_case((16, 64, 64, 64)),
    ),
    "upfirdn2d": (
        lambda: upfirdn2d_case((16, 64, 32, 32), up=2),
        lambda: upfirdn2d_case((16, 64, 64, 64), down=2),
        lambda: upfirdn2d_case((16, 64, 64, 64)),
    ),
    "modulated_conv2d": (
        lambda: modulated_case((8, 256, 8, 8), 256),
        lambda: modulated_case((8, 128, 32, 32), 128),
        lambda: modulated_case((8, 64, 64, 64), 32),
        lambda: modulated_case((8, 128, 16, 16), 128, up=2),
        lambda: modulated_case((1, 256, 8, 8), 256, up=2),
    ),
}


def style_row(case: Case, gradients: bool, effort: Effort) -> StyleRow:
    """Everybody's time for the forward, or the forward and all gradients."""
    given = [tensor.detach().requires_grad_(gradients) for tensor in case.tensors]
    for constant in given[len(given) - case.constants :]:
        constant.requires_grad_(False)
    exact = [t.detach().double().requires_grad_(t.requires_grad) for t in given]
    names = [name for name in case.forms if name != OURS]
    weights = torch.randn(case.forms[OURS](*given).shape)
    want = _step(case.forms[names[0]], exact, weights.double())
    errors = {
        name: max(largest_error([a], [b]) for a, b in zip(_step(form, given, weights), want, strict=True))
        for name, form in case.forms.items()
    }
    calls = {name: Call(_timed(form, given, weights)) for name, form in case.forms.items()}
    calls[FLOOR] = Call(_without_gradients(case.floor))
    taken = measure(calls, range(1), torch.device("cpu"), effort)
    ours = taken.us[OURS] / 1e3 if errors[OURS] <= TOLERANCE else None
    peers_ms = {name: taken.us[name] / 1e3 for name in names}
    best = min(names, key=peers_ms.__getitem__)
    return StyleRow(
        op=case.op,
        workload=case.workload,
        gradients=gradients,
        dtype="float32",
        threads=torch.get_num_threads(),
        device="cpu",
        ours_ms=ours,
        peers_ms=peers_ms,
        floor_ms=taken.us[FLOOR] / 1e3,
        best_peer=best,
        ratio=peers_ms[best] / ours if ours else None,
        fastest_ms={who: us / 1e3 for who, us in taken.fastest_us.items()},
        error=errors[OURS],
        torch_error=max(errors[name] for name in names),
        timing=taken.timing(OURS if ours else None),
    )


def _step(form: Form, tensors: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    """The output, and the gradients of those that need one."""
    asked = [tensor for tensor in tensors if tensor.requires_grad]
    with torch.set_grad_enabled(bool(asked)):
        out = form(*tensors)
        found = torch.autograd.grad(out, asked, weights) if asked else ()
    return [out.detach(), *found]


def _timed(form: Form, tensors: Sequence[Tensor], weights: Tensor) -> Callable[[], object]:
    return lambda: _step(form, tensors, weights)


def _without_gradients(floor: Callable[[], object]) -> Callable[[], object]:
    return torch.no_grad()(floor)


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
