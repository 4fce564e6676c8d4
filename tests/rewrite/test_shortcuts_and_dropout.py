"""What `genfuse.optimize` does with 1x1 shortcuts, and with dropout, whose draws are PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import genfuse


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)


def test_dropout_in_training_stays_pytorchs_and_in_inference_hinders_nothing() -> None:
    model = nn.Sequential(
        nn.GroupNorm(2, 8), nn.SiLU(), nn.Dropout(0.5), nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8),
        nn.Dropout2d(0.5), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Dropout(0.1),
    )  # fmt: skip
    x = torch.randn(4, 8, 16, 16)
    optimized: Any = genfuse.optimize(model.eval())
    with torch.no_grad():
        assert torch.allclose(optimized(x), model(x), atol=1e-4)
    steps = [unit.steps for unit in optimized.report().fused]
    assert steps == [("group norm", "silu", "convolution"), ("group norm", "relu", "convolution")]
    assert not any(graph.norms for graph in optimized.report().graphs)
    model.train()
    trained: Any = genfuse.optimize(model)
    with torch.no_grad():
        assert not torch.equal(trained(x), trained(x)), "every call draws anew"
        draws = []
        for _ in range(2):
            torch.manual_seed(5)
            draws.append(trained(x))
        assert torch.equal(*draws), "from PyTorch's own generator"
    assert [unit.steps[0] for unit in trained.report().fused] == ["convolution", "relu"]
    trained(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_shortcuts_become_projections() -> None:
    class Block(nn.Module):
        def __init__(self, stride: int = 1, bias: bool = True) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(6, 10, 3, padding=1), nn.Conv2d(10, 10, 3, stride, 1)
            self.shortcut = nn.Conv2d(6, 10, 1, stride, bias=bias)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.shortcut(x)  # before the unit that takes it along
            return F.relu(y + self.second(F.relu(self.first(x))))

    class Shared(Block):
        def forward(self, x: Tensor) -> Tensor:
            y = self.shortcut(x)  # read twice
            z: Tensor = self.second(F.relu(self.first(x))) + y
            return z * y

    class Two(Block):
        def forward(self, x: Tensor) -> Tensor:
            z: Tensor = self.shortcut(x) + self.shortcut(x * 2)
            return z

    x = torch.randn(2, 6, 12, 12)
    for model, projects in (
        (Block(), True), (Block(bias=False), True), (Block(stride=2), False), (Shared(), False), (Two(), True),
    ):  # fmt: skip
        optimized: Any = genfuse.optimize(model.eval())
        with torch.no_grad():
            for _ in range(2):
                assert torch.allclose(optimized(x), model(x), atol=1e-5)
            for parameter in model.parameters():
                parameter.add_(0.01)
            assert torch.allclose(optimized(x), model(x), atol=1e-5)
        units = optimized.report().fused
        assert projects == any(step.startswith("residual through") for unit in units for step in unit.steps)
        assert len(units) == (1 if type(model) is Two else 2 if projects else 3)
