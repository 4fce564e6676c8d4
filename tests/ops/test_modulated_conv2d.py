"""`conv2d_resample` and `modulated_conv2d` against their definitions in float64, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from genfuse.ops import conv2d_resample, modulated_conv2d
from genfuse_kernels.bias_act.reference import bias_act as bias_act_reference
from genfuse_kernels.bias_act.spec import Settings as BiasAct
from genfuse_kernels.modulated_conv2d import reference
from genfuse_kernels.upfirdn2d.reference import upfirdn2d as upfirdn2d_reference
from genfuse_kernels.upfirdn2d.spec import filter_size

Options = dict[str, Any]


def resampled(x: Tensor, weight: Tensor, f: Tensor, o: Options) -> Tensor:
    """By the definition: upsample and filter, convolve at full size, filter and downsample."""
    height, width = filter_size(f)
    left, right, top, bottom = o["padding"]
    up, down = o["up"], o["down"]
    if up > 1:
        left, right = left + (width + up - 1) // 2, right + (width - up) // 2
        top, bottom = top + (height + up - 1) // 2, bottom + (height - up) // 2
    if down > 1:
        left, right = left + (width - down + 1) // 2, right + (width - down) // 2
        top, bottom = top + (height - down + 1) // 2, bottom + (height - down) // 2
    identity = torch.ones(1, 1, dtype=f.dtype)
    sides = (left, right, top, bottom)
    flip = o["flip_filter"]
    h = upfirdn2d_reference(x, f if up > 1 else identity, (up, up), (1, 1), sides, flip, up**2)
    kernel = weight if o["flip_weight"] else weight.flip((2, 3))
    y = F.conv2d(h, kernel, groups=o["groups"])
    return y if down == 1 else upfirdn2d_reference(y, f, (1, 1), (down, down), (0,) * 4, flip, 1)


def generated(seed: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], Options]:
    """Sizes of x, weight and f, and options."""
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2]))
    kernel = [(1, 1), (3, 3), (2, 3), (1, 3), (4, 4)][seed % 5]
    up, down = [(1, 1), (2, 1), (1, 2), (3, 1), (2, 2), (1, 3)][seed // 5 % 6]
    channels, outputs = (int(rng.choice([1, 3, 8, 17])) * groups for _ in range(2))
    shape = (int(rng.integers(1, 4)), channels, *rng.integers(7, 12, 2).tolist())
    taps = (4, 4) if rng.random() < 0.4 else (int(rng.integers(3, 9)),)
    options = {
        "up": up,
        "down": down,
        "padding": tuple(rng.integers(-1, 4, 4).tolist()),
        "groups": groups,
        "flip_weight": bool(rng.random() < 0.6),
        "flip_filter": bool(rng.random() < 0.5),
    }
    return shape, (outputs, channels // groups, *kernel), taps, options


@pytest.mark.parametrize("seed", range(60))
def test_generated_resampling(seed: int) -> None:
    shape, of_weight, taps, options = generated(seed)
    x, weight, f = torch.randn(shape), torch.randn(of_weight), torch.rand(taps)
    f = f / f.sum()
    if seed % 2:
        x = x.to(memory_format=torch.channels_last)
    wide = [t.double().requires_grad_() for t in (x, weight)]
    want = resampled(*wide, f.double(), options)
    bound = resampled(x.double().abs(), weight.double().abs(), f.double(), options)
    given = [t.requires_grad_() for t in (x, weight)]
    with torch.no_grad():
        plain = conv2d_resample(*given, f, **options)
    for out in (conv2d_resample(*given, f, **options), plain):
        assert out.shape == want.shape
        assert ((out - want).abs() <= 1e-5 * bound.amax((2, 3), keepdim=True)).all(), options
    if seed % 3 == 0:
        gradient = torch.randn(want.shape)
        found = torch.autograd.grad(conv2d_resample(*given, f, **options), given, gradient)
        exact = torch.autograd.grad(want, wide, gradient.double())
        for got, one in zip(found, exact, strict=True):
            torch.testing.assert_close(got.double(), one, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


def modulated_inputs(dtype: torch.dtype, kernel: int = 3) -> list[Tensor]:
    return [
        torch.randn(3, 6, 5, 7, dtype=dtype),
        torch.randn(8, 6, kernel, kernel, dtype=dtype),
        torch.randn(3, 6, dtype=dtype) + 1,
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("demodulate", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
def test_against_weights_of_each_sample_s_own(dtype: torch.dtype, demodulate: bool, kernel: int) -> None:
    x, weight, styles = (t.to(dtype) for t in modulated_inputs(torch.float32, kernel))
    gain, noise, bias = torch.rand(3, 6), torch.randn(1, 1, 5, 7), torch.randn(8)
    ending: Options = {"activation": "leaky_relu", "gain": 2**0.5, "clamp": 3.0}
    padding = kernel // 2
    options: Options = {"padding": padding, "demodulate": demodulate, "input_gain": gain}
    out = modulated_conv2d(x, weight, styles, noise=noise, bias=bias, **options, **ending)
    plain = modulated_conv2d(x, weight, styles, **options)
    want = reference.modulated_conv2d(
        x.double(), weight.double(), styles.double(), padding, demodulate, gain.double()
    )
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(plain.double(), want, rtol=2 * step, atol=8 * step * float(want.abs().max()))
    ended = bias_act_reference(want, bias.double(), None, noise.double(), BiasAct(**ending))
    torch.testing.assert_close(out.double(), ended, rtol=2 * step, atol=12 * step * float(want.abs().max()))
    assert out.dtype == dtype


@pytest.mark.parametrize("resampling", [{}, {"up": 2}, {"down": 2}])
def test_gradients_to_second_order(resampling: dict[str, int]) -> None:
    """In float64 by differences; in float32, on our kernels, against float64."""
    f = torch.tensor([1.0, 3, 3, 1]) / 8
    inputs = [torch.randn(2, 2, 4, 4), torch.randn(3, 2, 3, 3), torch.randn(2, 2) + 1]
    options: Options = {"padding": 1, "resample_filter": f, **resampling}

    def call(*given: Tensor) -> Tensor:
        return modulated_conv2d(*given, **options, activation="leaky_relu", bias=torch.ones(3).to(given[0]))

    wide = [t.double().requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(call, wide, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, wide, fast_mode=True)
    found, exact = (second_order(call, [t.to(d) for t in inputs]) for d in (torch.float32, torch.float64))
    for got, want in zip(found, exact, strict=True):
        torch.testing.assert_close(
            got.double(), want, rtol=1e-4, atol=1e-4 * float(want.detach().abs().max())
        )


def second_order(call: Any, inputs: list[Tensor]) -> list[Tensor]:
    """First-order gradients, and those of the square of the styles' one."""
    given = [t.clone().requires_grad_() for t in inputs]
    out = call(*given)
    weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape).to(out.dtype)
    first = torch.autograd.grad((out * weights).sum(), given, create_graph=True)
    return [*first, *torch.autograd.grad(first[2].square().sum(), given)]


def test_half_precision_does_not_overflow_before_demodulation() -> None:
    x, weight, styles = (
        torch.randn(2, 64, 8, 8) * 100,
        torch.randn(16, 64, 3, 3) * 10,
        torch.full((2, 64), 50.0),
    )
    out = modulated_conv2d(x.half(), weight, styles, padding=1)
    want = reference.modulated_conv2d(x.double(), weight.double(), styles.double(), 1)
    torch.testing.assert_close(out.double(), want, rtol=1e-2, atol=1e-2 * float(want.abs().max()))


def test_no_weights_of_a_sample_s_own_are_kept() -> None:
    """What backward keeps is a few images and small tensors, whatever the batch."""
    x, weight, styles = torch.randn(16, 32, 4, 4), torch.randn(32, 32, 3, 3), torch.randn(16, 32)
    kept: list[Tensor] = []
    given = [t.requires_grad_() for t in (x, weight, styles)]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        modulated_conv2d(*given, padding=1)
    assert (
        sum(t.numel() for t in {t.data_ptr(): t for t in kept}.values()) < 3 * x.numel() + 3 * weight.numel()
    )


def test_bits_do_not_depend_on_the_batch() -> None:
    x, weight, styles = torch.randn(4, 16, 8, 8), torch.randn(16, 16, 3, 3), torch.randn(4, 16)
    whole = modulated_conv2d(x, weight, styles, padding=1, up=2, resample_filter=torch.ones(2) / 2)
    one = modulated_conv2d(x[2:3], weight, styles[2:3], padding=1, up=2, resample_filter=torch.ones(2) / 2)
    torch.testing.assert_close(whole[2:3], one, rtol=1e-6, atol=1e-6)  # the demodulation is PyTorch's product


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"x": torch.ones(2, 3, 4)}, ValueError, "x has shape"),
        ({"weight": torch.ones(5, 2, 3, 3)}, ValueError, "x has shape .* and weight"),
        ({"styles": torch.ones(3)}, ValueError, r"styles has shape \(3,\), expected \(2, 3\)"),
        ({"input_gain": torch.ones(2)}, ValueError, "input_gain has shape"),
        ({"demodulate": 1}, TypeError, "demodulate is 1"),
        ({"up": 0}, ValueError, "up is 0"),
        ({"noise": torch.ones(2, 5, 4, 4)}, ValueError, "noise has shape"),
        ({"padding": -2}, ValueError, "x has 0 x 0 pixels|does not fit"),
    ],
)
def test_bad_arguments(changed: Options, error: type[Exception], message: str) -> None:
    given = {"x": torch.ones(2, 3, 4, 4), "weight": torch.ones(5, 3, 1, 1), "styles": torch.ones(2, 3)}
    with pytest.raises(error, match=message):
        modulated_conv2d(**{**given, **changed})
    with pytest.raises(ValueError, match="expected"):
        conv2d_resample(torch.ones(2, 3, 4, 4), torch.ones(2, 3))


class Copies(TorchDispatchMode):
    """Which of PyTorch's calls turned a weight over."""

    def __init__(self) -> None:
        super().__init__()
        self.flips = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.flips += func is torch.ops.aten.flip.default
        return func(*args, **(kwargs or {}))


def test_an_upsampling_convolution_turns_its_weight_over_once_at_most() -> None:
    """A transposed convolution convolves: only one that is to correlate has its weight turned over."""
    x, weight = torch.randn(1, 4, 5, 5), torch.randn(6, 4, 3, 3)
    for flip_weight in (True, False):
        with Copies() as copies:
            conv2d_resample(x, weight, up=2, padding=1, flip_weight=flip_weight)
        assert copies.flips <= flip_weight
