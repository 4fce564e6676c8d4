"""What `optimize` and the models it makes are called with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import genfuse
from genfuse.rewrite import genfuse_backend


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module"):
        genfuse.optimize(lambda x: x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"accuracy is 'fat'.*did you mean 'fast'"):
        genfuse.optimize(nn.Conv2d(1, 1, 1), accuracy="fat")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"memory_limit is 1\.5, expected a whole number of bytes"):
        genfuse.optimize(nn.Conv2d(1, 1, 1), memory_limit=1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="example is Tensor, expected a tuple"):
        genfuse.optimize(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"acuracy": "fast"}, ValueError, "option is 'acuracy'.*did you mean 'accuracy'"),
        ({"accuracy": "typo"}, ValueError, "accuracy is 'typo', expected one of 'exact', 'fast'"),
        ({"memory_limit": "3"}, TypeError, "memory_limit is '3', expected a whole number of bytes"),
        ({"memory_limit": -5}, ValueError, "memory_limit is -5, expected bytes, 0 or more"),
        ({"reproducible": "no"}, TypeError, "reproducible is 'no', expected True or False"),
    ],
)
def test_bad_options_of_torch_compile(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        genfuse_backend(torch.fx.symbolic_trace(nn.Conv2d(1, 1, 1)), [], options=options)
    with pytest.raises(Exception, match=message):  # Dynamo wraps what a backend raises
        torch.compile(nn.Conv2d(1, 1, 1), backend="genfuse", options=options)(torch.zeros(1, 1, 2, 2))


def test_numbers_that_are_arguments() -> None:
    """Dynamo makes symbols of floats that change from call to call, and of sizes where it is asked to."""

    class Sloped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3)

        def forward(self, x: Tensor, slope: float) -> Tensor:
            return F.group_norm(F.leaky_relu(self.conv(x), slope), 2, eps=slope)

    model, x = Sloped().eval(), torch.randn(1, 4, 6, 6)
    compiled = torch.compile(model, backend="genfuse")
    with torch.no_grad():
        for slope in (0.1, 0.25, 0.3):
            assert torch.allclose(compiled(x, slope), model(x, slope), atol=1e-5)
        torch._dynamo.reset()
        plain = nn.Sequential(nn.Conv2d(8, 16, 3), nn.GroupNorm(4, 16), nn.SiLU()).eval()
        compiled = torch.compile(plain, backend="genfuse", dynamic=True)
        for size in (6, 9):
            x = torch.randn(2, 8, size, size)
            assert torch.allclose(compiled(x), plain(x), atol=1e-5)


def test_dropout_around_attention_draws_what_the_model_draws() -> None:
    diffusers = pytest.importorskip("diffusers")
    model = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        dropout=0.2,
    ).train()
    optimized = genfuse.optimize(model)
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([3, 700])
    with torch.no_grad():
        for seed in range(3):
            both = []
            for network in (model, optimized):
                torch.manual_seed(seed)
                both.append(network(x, t).sample)
            assert torch.allclose(*both, atol=1e-4)
