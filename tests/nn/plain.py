"""genfuse's modules held against PyTorch's: the same state, outputs, gradients and running statistics."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

_Module = TypeVar("_Module", bound=nn.Module)


def settled(module: _Module) -> _Module:
    """With batch norms that have seen something and weights away from their start."""
    for each in module.modules():
        if (
            isinstance(each, nn.BatchNorm2d)
            and each.running_mean is not None
            and each.running_var is not None
        ):
            nn.init.normal_(each.running_mean, std=0.3)
            nn.init.uniform_(each.running_var, 0.5, 1.5)
        if isinstance(each, (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d)) and each.affine:
            nn.init.normal_(each.weight, 1.0, 0.3)
            nn.init.normal_(each.bias, std=0.3)
        if isinstance(each, (nn.LayerNorm, nn.RMSNorm)) and each.elementwise_affine:
            nn.init.normal_(each.weight, 1.0, 0.3)
        if isinstance(each, nn.LayerNorm) and each.elementwise_affine:
            nn.init.normal_(each.bias, std=0.3)
    return module


def with_state_of(ours: _Module, plain: nn.Module) -> _Module:
    """Our module with the plain one's parameters and buffers, which come in the same order."""
    theirs = plain.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs, strict=True)))
    return ours


def alike(ours: nn.Module, plain: nn.Module, *inputs: Tensor) -> None:
    """Both modules give the same in inference and training, with the same gradients, in float32 and float64."""
    for dtype, tolerance in ((torch.float32, 2e-4), (torch.float64, 1e-9)):
        one, other = copy.deepcopy(ours).to(dtype), copy.deepcopy(plain).to(dtype)
        given = tuple(x.to(dtype) for x in inputs)
        for training in (False, True, False):
            one.train(training)
            other.train(training)
            with torch.no_grad():
                _close(one(*given), other(*given), tolerance)
        for training in (False, True):
            one.train(training)
            other.train(training)
            results = [_gradients(module, given) for module in (one, other)]
            (out, *gradients), (expected, *wanted) = results
            _close(out, expected, tolerance)
            # relative to the largest: a bias before an instance norm has none but rounding
            largest = max(float(gradient.abs().max()) for gradient in wanted)
            for got, want in zip(gradients, wanted, strict=True):
                assert (got - want).abs().max() <= tolerance * largest
        for (name, got), want in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.allclose(got, want, rtol=1e-5, atol=1e-6), name


def _gradients(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """The output, and the gradients of a weighted sum of it by inputs and parameters."""
    given = [x.clone().requires_grad_() for x in inputs]
    out = module(*given)
    weighted = (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()
    return [out, *torch.autograd.grad(weighted, [*given, *module.parameters()])]


def _close(got: Tensor, want: Tensor, tolerance: float) -> None:
    assert got.shape == want.shape and got.dtype == want.dtype
    assert (got - want).abs().max() <= tolerance * (want.abs().max() + 1e-3)
