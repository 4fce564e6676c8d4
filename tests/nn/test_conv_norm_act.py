"""`ConvNormAct`, `NormAct` and `ResBlock`: PyTorch's modules in the same order, in both modes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import genfuse.nn
from genfuse.errors import UnsupportedError
from genfuse.nn import ConvNormAct, NormAct, ResBlock
from nn.plain import alike, settled


class Plain(nn.Module):
    """norm → activation → upsampling → convolution → shift → residual → activation → pooling."""

    def __init__(self, unit: ConvNormAct) -> None:
        super().__init__()
        self.norm, self.conv, self.s = unit.norm, unit.conv, unit.settings

    def forward(self, x: Tensor, shift: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        acts: dict[str, Any] = {"none": lambda x: x, "relu": F.relu, "silu": F.silu, "tanh": torch.tanh}
        acts["leaky_relu"] = lambda x: F.leaky_relu(x, self.s.negative_slope)
        h = acts[self.s.activation](self.norm(x))
        h = F.interpolate(h, scale_factor=2.0) if self.s.upsample == (2, 2) else h
        y = self.conv(h)
        y = y if shift is None else y + shift[:, :, None, None]
        y = acts[self.s.out_activation](y if residual is None else y + residual)
        return y if self.s.pool == (1, 1) else F.avg_pool2d(y, 2)


CASES: dict[str, dict[str, Any]] = {
    "diffusion": {},
    "batch": {"norm": "batch", "activation": "relu"},
    "no weights": {"norm": "batch", "affine": False, "activation": "leaky_relu", "negative_slope": 0.2},
    "instance": {"norm": "instance", "padding_mode": "reflect", "bias": False},
    "pooled": {"norm": "none", "pool": 2, "out_activation": "tanh"},
    "upsampled": {"norm": "group", "num_groups": 4, "upsample": 2, "kernel_size": 5},
    "strided": {"norm": "batch", "kernel_size": 4, "stride": 2, "padding": 1, "groups": 2},
    "transposed": {"norm": "batch", "stride": 2, "output_padding": 1, "transposed": True},
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_its_modules(name: str) -> None:
    unit = settled(ConvNormAct(8, 6, **CASES[name]))
    plain = Plain(unit)
    x = torch.randn(3, 8, 8, 10)
    with torch.no_grad():
        like = unit.eval().conv(F.interpolate(x, scale_factor=2.0) if unit.settings.upsample == (2, 2) else x)
    alike(unit, plain, x)
    alike(unit, plain, x, torch.randn(3, 6), torch.randn_like(like))


def test_a_skip_is_a_concatenation() -> None:
    unit = settled(ConvNormAct(8, 6, norm="batch"))
    x, skip = torch.randn(2, 5, 6, 6), torch.randn(2, 3, 6, 6)
    for training in (False, True):
        unit.train(training)
        assert torch.allclose(unit(x, skip=skip), unit(torch.cat([x, skip], 1)), atol=1e-5)


def test_batch_norm_alone_in_eval() -> None:
    """A frozen batch norm in a unit that trains reads its running statistics and leaves them."""
    unit = settled(ConvNormAct(8, 6, norm="batch")).train()
    unit.norm.eval()
    before = {key: value.clone() for key, value in unit.state_dict().items()}
    x = torch.randn(2, 8, 6, 6)
    assert torch.allclose(unit(x), unit.eval()(x), atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in unit.state_dict().items())


@pytest.mark.parametrize("norm", ["none", "batch", "instance", "group"])
def test_norm_act_is_its_modules(norm: Any) -> None:
    class PlainNorm(nn.Module):
        def __init__(self, norm: nn.Module) -> None:
            super().__init__()
            self.norm = norm

        def forward(self, x: Tensor, residual: Tensor) -> Tensor:
            return F.relu(self.norm(x)) + residual

    unit = settled(NormAct(8, norm=norm, num_groups=2, activation="relu"))
    alike(unit, PlainNorm(unit.norm), torch.randn(3, 8, 5, 6), torch.randn(3, 8, 5, 6))


@pytest.mark.parametrize("outputs", [8, 12])
@pytest.mark.parametrize("embedding", [0, 5])
def test_res_block_is_its_equation(outputs: int, embedding: int) -> None:
    block = settled(ResBlock(8, outputs, embedding, num_groups=4))
    nn.init.normal_(block.second.conv.weight)
    x, given = torch.randn(2, 8, 6, 6), torch.randn(2, embedding) if embedding else None
    first, second = Plain(block.first), Plain(block.second)
    shift = None if block.shift is None else F.linear(given, block.shift.weight, block.shift.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        want = second(first(x, shift), residual=block.project(x))
        assert torch.allclose(block(x, given), want, atol=1e-4)
    with pytest.raises(ValueError, match=f"embedding is {'missing' if embedding else 'given'}"):
        block(x, None if embedding else torch.randn(2, 5))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kernel_size": 4}, "padding is None, expected a number with the even kernel_size=4"),
        ({"norm": "batches"}, r"norm is 'batches'.*did you mean 'batch'"),
        ({"activation": "swish"}, "activation is 'swish'"),
        ({"transposed": True, "upsample": 2}, "transposed is True"),
        ({"pool": 3}, r"pool is \(3, 3\)"),
    ],
)
def test_bad_arguments(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvNormAct(8, 6, **wrong)


def test_parts_are_read_at_the_call() -> None:
    x = torch.randn(2, 8, 7, 6)
    unit, conv = ConvNormAct(8, 4, num_groups=2).eval(), genfuse.nn.Conv2d(8, 4, 3, padding=1)
    unit.norm.eps = 1.0
    unit.conv.stride = conv.stride = (2, 2)
    h = F.silu(F.group_norm(x, 2, unit.norm.weight, unit.norm.bias, 1.0))
    want = F.conv2d(h, unit.conv.weight, unit.conv.bias, 2, 1)
    assert torch.allclose(unit(x), want, atol=1e-5)
    assert torch.allclose(conv(x), F.conv2d(x, conv.weight, conv.bias, 2, 1), atol=1e-5)


def test_parts_with_hooks_are_refused() -> None:
    x = torch.randn(2, 8, 7, 6)
    for part in ("conv", "norm"):
        unit = ConvNormAct(8, 4, num_groups=2)
        getattr(unit, part).register_forward_hook(lambda *_: None)
        with pytest.raises(UnsupportedError, match="inside a unit has forward hooks"):
            unit(x)
    unit = ConvNormAct(8, 4, num_groups=2)
    torch.nn.utils.spectral_norm(unit.conv)
    with pytest.raises(UnsupportedError, match="parametrizations"):
        unit(x)
    unit = ConvNormAct(8, 4, num_groups=2).eval()
    before = unit(x)
    torch.nn.utils.parametrizations.weight_norm(unit.conv)
    assert torch.allclose(unit(x), before, atol=1e-5)
    unit.register_forward_hook(lambda *given: given[2] * 2)
    assert torch.allclose(unit(x), 2 * before, atol=1e-5)


def test_bad_numbers() -> None:
    with pytest.raises(TypeError, match=r"kernel_size is \(3, 3\), expected a whole number"):
        ConvNormAct(8, 4, (3, 3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="negative_slope is 'a', expected a number"):
        ConvNormAct(8, 4, negative_slope="a")  # type: ignore[arg-type]


def test_exported_for_any_batch() -> None:
    module, batch = ConvNormAct(8, 8, num_groups=2), torch.export.Dim("batch")
    exported = torch.export.export(module, (torch.randn(2, 8, 6, 6),), dynamic_shapes=({0: batch},)).module()
    x = torch.randn(5, 8, 6, 6)
    assert torch.equal(exported(x), module(x))
