"""The sizes of every module: whole numbers, large enough, else named where the module is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from genfuse import nn

MODULES: dict[Callable[..., Any], dict[str, int]] = {
    nn.ConvNormAct: {"in_channels": 1, "out_channels": 1, "kernel_size": 1, "stride": 1, "padding": 0, "groups": 1,
                     "output_padding": 0, "num_groups": 1, "upsample": 1, "pool": 1},
    nn.NormAct: {"channels": 1, "num_groups": 1},
    nn.Linear: {"in_features": 1, "out_features": 1},
    nn.SelfAttention: {"channels": 1, "num_heads": 1, "num_groups": 1},
    nn.ResBlock: {"in_channels": 1, "out_channels": 1, "embedding_channels": 0, "num_heads": 0, "num_groups": 1},
    nn.ConditionEmbedding: {"num_classes": 0, "channels": 2, "embedding_channels": 1},
    nn.UNetConfig: {"in_channels": 1, "num_classes": 0, "patch_size": 1, "num_blocks": 1, "head_channels": 1,
                    "embedding_channels": 1, "num_groups": 1},
    nn.DCGANGenerator: {"latent_channels": 1, "out_channels": 1},
    nn.DCGANCritic: {"in_channels": 1},
    nn.CycleGANBlock: {"channels": 1},
    nn.CycleGANGenerator: {"in_channels": 1, "out_channels": 1, "channels": 1, "num_blocks": 0},
    nn.ResNetGeneratorBlock: {"in_channels": 1, "out_channels": 1},
    nn.ResNetCriticBlock: {"in_channels": 1, "out_channels": 1},
}  # fmt: skip
"""Each module's sizes, and the least that each may be."""

GOOD = {
    "kernel_size": 3,
    "stride": 1,
    "padding": 1,
    "groups": 1,
    "output_padding": 0,
    "upsample": 1,
    "pool": 1,
}
"""Other sizes are 8."""


def sizes() -> Iterator[Any]:
    for module, least in MODULES.items():
        yield from (pytest.param(module, name, id=f"{module.__name__}-{name}") for name in least)


@pytest.mark.parametrize(("module", "name"), [*sizes()])
def test_a_size(module: Callable[..., Any], name: str) -> None:
    least = MODULES[module][name]
    good = {key: GOOD.get(key, 8) for key in MODULES[module]}
    module(**good)
    for number in (least - 1, -8):
        with pytest.raises(ValueError, match=rf"^{name} is {number}, expected {least} or more"):
            module(**{**good, name: number})
    for wrong in (8.0, True, "a", torch.tensor(8)):
        with pytest.raises(TypeError, match=rf"^{name} is .*, expected a whole number"):
            module(**{**good, name: wrong})


@pytest.mark.parametrize("module", [nn.UNetConfig, nn.DCGANGenerator, nn.DCGANCritic])
def test_widths(module: Callable[..., Any]) -> None:
    for wrong in ((), 8, "ab", None):
        with pytest.raises(ValueError, match=r"^channels is .*, expected a tuple of whole numbers"):
            module(channels=wrong)
    with pytest.raises(ValueError, match=r"^channels\[1\] is 0, expected 1 or more"):
        module(channels=(8, 0))
    with pytest.raises(TypeError, match=r"^channels\[0\] is 8.0, expected a whole number"):
        module(channels=(8.0, 8))


def test_levels() -> None:
    with pytest.raises(ValueError, match=r"^attention_levels\[0\] is -1, expected 0 or more"):
        nn.UNetConfig(attention_levels=(-1,))
    with pytest.raises(TypeError, match=r"^attention_levels\[1\] is '1', expected a whole number"):
        nn.UNetConfig(attention_levels=(0, "1"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"in_channels": 0}, "in_channels is 0, expected 1 or more"),
        ({"out_channels": 8.0}, "out_channels is 8.0, expected a whole number"),
        ({"kernel_size": (3, 0)}, r"kernel_size\[1\] is 0, expected 1 or more"),
        ({"kernel_size": 3.0}, "kernel_size is 3.0, expected an int"),
        ({"stride": True}, r"stride is \(True, True\), expected an int"),
        ({"padding": (1, 1.5)}, r"padding is \(1, 1.5\), expected an int"),
        ({"dilation": 0}, r"dilation is \(0, 0\), expected 1 or more"),
    ],
)
def test_conv2d(wrong: dict[str, Any], message: str) -> None:
    """`torch.nn.Conv2d`'s arguments: one number, or one an axis."""
    good = {"in_channels": 8, "out_channels": 8, "kernel_size": 3}
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        nn.Conv2d(**{**good, **wrong})


@pytest.mark.parametrize("module", [nn.ConvNormAct, nn.ResBlock])
def test_groups_that_do_not_divide(module: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"^num_groups is 8, expected a divisor of the 12 channels"):
        module(12, 8)


@pytest.mark.parametrize(
    "module",
    [nn.ConvNormAct(8, 8, norm="batch"), nn.ConvNormAct(8, 8), nn.NormAct(8), nn.NormAct(8, norm="batch"),
     nn.Conv2d(8, 8, 1), nn.SelfAttention(8), nn.ResBlock(8, 8)],
)  # fmt: skip
def test_inputs(module: Any) -> None:
    """In training too, where batch norm is PyTorch's own."""
    for wrong in ("a", torch.zeros(2, 8, 4, 4).to_sparse(), torch.zeros(2, 8, 4, 4).to_mkldnn()):
        with pytest.raises(TypeError, match=r"^x (is str|has layout)"):
            module(wrong)
    if isinstance(module, nn.ConvNormAct):
        with pytest.raises(TypeError, match=r"^skip is str"):
            module(torch.zeros(2, 4, 4, 4), skip="a")


@pytest.mark.parametrize(
    ("module", "flag"),
    [(nn.ConvNormAct, "bias"), (nn.ConvNormAct, "affine"), (nn.ConvNormAct, "transposed"),
     (nn.ConvNormAct, "zero_init"), (nn.ResNetCriticBlock, "downsample"), (nn.ResNetCriticBlock, "sees_picture"),
     (nn.ResNetGeneratorBlock, "upsample")],
)  # fmt: skip
def test_flags(module: Callable[..., Any], flag: str) -> None:
    for wrong in (1, None, torch.tensor([True, False])):
        with pytest.raises(TypeError, match=f"^{flag} is .*, expected True or False"):
            module(8, 8, **{flag: wrong})


def test_parts_of_others() -> None:
    for wrong in (3, None, {}):
        with pytest.raises(TypeError, match=r"^config is .*, expected a UNetConfig"):
            nn.UNet(wrong)  # type: ignore[arg-type]
    unit = nn.ConvNormAct(8, 8, norm="rms_pixel")
    unit.norm = torch.nn.RMSNorm(8)
    with pytest.raises(ValueError, match=r"^eps of a unit's RMSNorm is None, expected a number"):
        unit(torch.zeros(1, 8, 4, 4))
