"""stylegan3's `conv2d_resample` and modulated convolutions: signatures, and what they compute."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genfuse.compat import stylegan
from genfuse.compat.stylegan.modulated_conv2d import modulated_conv2d, modulated_conv2d_alias_free
from genfuse_kernels.modulated_conv2d import reference


def parameters(function: Callable[..., Any]) -> dict[str, object]:
    return {p.name: p.default for p in inspect.signature(function).parameters.values()}


def assert_near(found: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)


def test_signatures() -> None:
    needed = inspect.Parameter.empty
    assert parameters(stylegan.conv2d_resample.conv2d_resample) == {
        "x": needed, "w": needed, "f": None, "up": 1, "down": 1, "padding": 0, "groups": 1, "flip_weight": True,
        "flip_filter": False,
    }  # fmt: skip
    assert parameters(modulated_conv2d) == {
        "x": needed, "weight": needed, "styles": needed, "noise": None, "up": 1, "down": 1, "padding": 0,
        "resample_filter": None, "demodulate": True, "flip_weight": True, "fused_modconv": True,
    }  # fmt: skip
    assert parameters(modulated_conv2d_alias_free) == {
        "x": needed, "w": needed, "s": needed, "demodulate": True, "padding": 0, "input_gain": None,
    }  # fmt: skip


def test_convolutions() -> None:
    x, weight, styles = torch.randn(2, 4, 6, 6), torch.randn(5, 4, 3, 3), torch.rand(2, 4) + 0.5
    want = F.conv2d(x, weight, padding=1)
    assert_near(stylegan.conv2d_resample.conv2d_resample(x, weight, padding=1), want)
    noise = torch.randn(6, 6)
    for fused in (True, False):
        out = modulated_conv2d(x, weight, styles, noise, padding=1, fused_modconv=fused)
        want = reference.modulated_conv2d(x, weight, styles, 1) + noise
        assert_near(out, want)
    turned = modulated_conv2d(x, weight, styles, padding=1, flip_weight=False)
    assert_near(turned, reference.modulated_conv2d(x, weight.flip((2, 3)), styles, 1))


def test_alias_free_normalises_before_it_modulates() -> None:
    x, w, s = torch.randn(2, 4, 6, 6), torch.randn(5, 4, 3, 3), torch.rand(2, 4) + 0.5
    gain = torch.tensor(0.7)
    unit = w * w.square().mean((1, 2, 3), keepdim=True).rsqrt()
    normal = s * s.square().mean().rsqrt()
    want = reference.modulated_conv2d(x, unit, normal, 1, True, gain)
    out = modulated_conv2d_alias_free(x, w, s, padding=1, input_gain=gain)
    assert_near(out, want)
    plain = modulated_conv2d_alias_free(x, w, s, demodulate=False, padding=1)
    assert_near(plain, reference.modulated_conv2d(x, w, s, 1, False))
