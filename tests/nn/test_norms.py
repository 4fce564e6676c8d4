"""The norms that PyTorch has no picture module for: over C, H and W, and over C at each pixel."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genfuse.nn import ConvNormAct, NormAct
from genfuse_kernels.conv_norm_act.settings import NORMS
from nn.plain import alike, settled, with_state_of

TOLERANCE = 1e-5
"""Of float32 against float64, relative to the largest value: sums of 72 products and of 8 channels."""

PLAIN: dict[Any, nn.Module] = {
    "layer": nn.GroupNorm(1, 8),
    "layer_pixel": nn.LayerNorm(8),
    "rms_pixel": nn.RMSNorm(8, eps=1e-5),
}


class Composed(nn.Module):
    """convolution(silu(norm(x))) + residual of `torch.nn`'s modules; the channels last for a norm of each pixel."""

    def __init__(self, norm: nn.Module, conv: nn.Module | None) -> None:
        super().__init__()
        self.norm = norm
        self.conv = nn.Identity() if conv is None else conv

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        h = x if isinstance(self.norm, nn.GroupNorm) else x.permute(0, 2, 3, 1)
        h = self.norm(h)
        h = h if isinstance(self.norm, nn.GroupNorm) else h.permute(0, 3, 1, 2)
        y: Tensor = self.conv(F.silu(h))
        return y + residual


class Unit(nn.Module):
    """One of ours, with the residual in second place."""

    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        y: Tensor = self.unit(x, residual=residual)
        return y


def pair(norm: Any, convolves: bool) -> tuple[nn.Module, nn.Module]:
    """Ours and PyTorch's, of one state."""
    plain = settled(
        Composed(copy.deepcopy(PLAIN[norm]), nn.Conv2d(8, 8, 3, padding=1) if convolves else None)
    )
    ours = ConvNormAct(8, 8, norm=norm) if convolves else NormAct(8, norm=norm, activation="silu")
    assert list(ours.state_dict()) == list(plain.state_dict())
    return with_state_of(ours, plain), plain


@pytest.mark.parametrize("convolves", [False, True])
@pytest.mark.parametrize("norm", PLAIN)
def test_it_is_its_modules(norm: Any, convolves: bool) -> None:
    ours, plain = pair(norm, convolves)
    x, residual = torch.randn(3, 8, 5, 6), torch.randn(3, 8, 5, 6)
    alike(Unit(ours), plain, x, residual)
    with torch.no_grad():
        want = plain.double()(x.double(), residual.double())
        for given in (x, x.to(memory_format=torch.channels_last)):
            assert (ours(given, residual=residual) - want).abs().max() <= TOLERANCE * want.abs().max()


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm != "none"])
def test_eps_is_given_or_the_modules(norm: Any) -> None:
    x = torch.randn(2, 8, 5, 6) / 10
    given, edited = NormAct(8, norm=norm, eps=0.1).eval(), NormAct(8, norm=norm).eval()
    assert not torch.equal(given(x), edited(x))
    edited.norm.eps = 0.1  # type: ignore[assignment]
    assert torch.equal(given(x), edited(x))
    assert ConvNormAct(8, 8, norm=norm, eps=0.1).norm.eps == 0.1
    with pytest.raises(ValueError, match="eps is -1"):
        NormAct(8, norm=norm, eps=-1)


@pytest.mark.parametrize("norm", PLAIN)
def test_eps_is_the_modules(norm: Any) -> None:
    ours, plain = pair(norm, True)
    x, residual = torch.randn(2, 8, 5, 6) / 10, torch.randn(2, 8, 5, 6)
    with torch.no_grad():
        before = ours(x, residual=residual)
        ours.norm.eps = plain.norm.eps = 0.1  # type: ignore[union-attr]
        want = plain.double()(x.double(), residual.double())
        got = ours(x, residual=residual)
    assert (got - want).abs().max() <= TOLERANCE * want.abs().max() < (before - want).abs().max()


@pytest.mark.parametrize("module", [ConvNormAct, NormAct])
def test_every_norm_of_the_op(module: Any) -> None:
    sizes = (8, 8) if module is ConvNormAct else (8,)
    for norm in NORMS:
        unit = module(*sizes, norm=norm, affine=False)
        assert not any(key.startswith("norm.") for key in unit.state_dict() if norm != "batch")
        assert unit(torch.randn(2, 8, 4, 4)).isfinite().all()
    names = ", ".join(map(repr, NORMS))
    with pytest.raises(ValueError, match=rf"^norm is 'rms', expected one of {names}"):
        module(*sizes, norm="rms")
