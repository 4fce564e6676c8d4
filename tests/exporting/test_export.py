"""Networks as files: what they hold, and that they do what the module does, bit for bit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

import genfuse
from genfuse import env
from genfuse.nn import UNet, UNetConfig
from genfuse.rewrite.plan import Planned

pytestmark = pytest.mark.skipif(
    env.backend_missing("cpu") is not None, reason="the compiled extension is not built here"
)

SMALL = UNetConfig(num_classes=3, channels=(16, 32), attention_levels=(1,), embedding_channels=16)


def conditions(batch: int) -> dict[str, Tensor]:
    return {
        "x": torch.randn(batch, 3, 8, 8),
        "t": torch.rand(batch) * 1000,
        "label": torch.randint(0, 4, (batch,)),
    }


@torch.no_grad()
def planned(module: nn.Module, **inputs: Tensor) -> Tensor:
    result: Tensor = Planned(module)(**inputs)
    return result


@torch.no_grad()
def test_unet_gives_its_own_bits_for_every_form(tmp_path: Path) -> None:
    unet = UNet(SMALL).eval()
    for weight in unet.parameters():
        weight.normal_(std=0.1)
    path = genfuse.export(unet, [conditions(1), conditions(3)], tmp_path / "unet.gfz")
    network = genfuse.load_network(path)
    assert len(network) == 2
    for batch in (1, 3, 1):
        inputs = conditions(batch)
        assert torch.equal(network(**inputs), planned(unet, **inputs))  # type: ignore[arg-type]
    with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
        assert torch.equal(file.get_tensor("conv_in.weight"), unet.conv_in.weight)
        assert file.metadata()["format"] == "genfuse-network"


def test_inputs_of_other_forms_are_refused(tmp_path: Path) -> None:
    network = genfuse.load_network(genfuse.export(UNet(SMALL).eval(), conditions(1), tmp_path / "unet.gfz"))
    with pytest.raises(ValueError, match="no plan for"):
        network(**conditions(2))
    with pytest.raises(ValueError, match=r"index 0 is 4, expected 0 to 3"):
        network(**conditions(1) | {"label": torch.tensor([4])})


class Mixed(nn.Module):
    """Layers of PyTorch, and what stands between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(16, 4, 1)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        h = F.relu(self.norm(self.first(x)))
        half = F.interpolate(F.avg_pool2d(h, 2), scale_factor=2.0)
        both = self.second(torch.cat([h, half], 1)) * self.scale
        return {"sum": torch.tanh(both) + y, "shuffled": F.pixel_shuffle(both, 2)}


@torch.no_grad()
def test_pytorchs_own_layers_are_optimised_first(tmp_path: Path) -> None:
    module = Mixed().eval()
    nn.init.normal_(module.norm.running_mean)  # type: ignore[arg-type]
    x, y = torch.randn(2, 3, 6, 6), torch.randn(2, 4, 6, 6)
    network = genfuse.load_network(genfuse.export(module, (x, y), tmp_path / "mixed.gfz"))
    found = network(x=x, y=y)
    assert isinstance(found, dict)
    for got, want in zip(found.values(), genfuse.optimize(module)(x, y).values(), strict=True):
        assert torch.equal(got, want)


@torch.no_grad()
def test_half_precision(tmp_path: Path) -> None:
    layers = (
        nn.Conv2d(3, 20, 3, padding=1),
        nn.GroupNorm(4, 20),
        nn.SiLU(),
        nn.ConvTranspose2d(20, 2, 4, 2, 1),
    )
    module, x = nn.Sequential(*layers).to(torch.bfloat16).eval(), torch.randn(1, 3, 5, 7).bfloat16()
    network = genfuse.load_network(genfuse.export(module, x, tmp_path / "half.gfz"))
    assert torch.equal(network(input=x), genfuse.optimize(module)(x))  # type: ignore[arg-type]


class Left(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).cumsum(1)


def test_what_is_pytorchs_alone_is_named(tmp_path: Path) -> None:
    with pytest.raises(genfuse.UnsupportedError, match=r"aten\._softmax\.default in inner, aten\.cumsum"):
        genfuse.export(Left().eval(), torch.randn(2, 3), tmp_path / "left.gfz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "example", "error"),
    [
        (nn.Linear(2, 2).train(), torch.ones(1, 2), ValueError),
        (nn.Linear(2, 2).eval(), [], ValueError),
        (nn.Linear(2, 2).eval(), {"y": torch.ones(1, 2)}, TypeError),
        (math.sin, torch.ones(1, 2), TypeError),
    ],
)
def test_arguments_that_do_not_fit(module: Any, example: Any, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        genfuse.export(module, example, tmp_path / "none.gfz")
    assert not list(tmp_path.iterdir())
