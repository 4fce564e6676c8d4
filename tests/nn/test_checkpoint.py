"""Activation checkpointing around blocks: the same gradients, the block's input alone, and a batch counted once."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import genfuse
from genfuse.nn import ConvNormAct, ResBlock
from genfuse_bench.training import Step
from rewrite.test_recompute import Dropping, gradients, same


def blocks() -> dict[str, nn.Module]:
    torch.manual_seed(3)
    own = ResBlock(8, 8, num_groups=2)
    nn.init.normal_(own.second.conv.weight, std=0.1)
    theirs = nn.Sequential(
        nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
    )
    return {
        "group": own,
        "batch": nn.Sequential(*(ConvNormAct(8, 8, norm="batch") for _ in "ab")),
        "dropout": Dropping(),
        "optimized": theirs,
    }


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", ["group", "batch", "dropout", "optimized"])
def test_a_block(name: str, reentrant: bool) -> None:
    torch._dynamo.reset()
    plain, saving = blocks()[name], blocks()[name]
    calls: list[Any] = [genfuse.optimize(m) if name == "optimized" else m for m in (plain, saving)]
    x = torch.randn(2, 8, 9, 7, requires_grad=True)

    def checkpointed(x: Tensor) -> Tensor:
        y: Tensor = checkpoint(calls[1], x, use_reentrant=reentrant)
        return y

    want = gradients(calls[0], plain, x)
    got = gradients(checkpointed, saving, x)
    buffers = zip(saving.buffers(), plain.buffers(), strict=True)
    if reentrant and name == "optimized":  # its first forward is inference, on other kernels
        assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(got, want, strict=True))  # type: ignore[arg-type]
        assert all(torch.allclose(moved, once) for moved, once in buffers)
    else:
        same(got, want)
        assert all(torch.equal(moved, once) for moved, once in buffers)
    if not reentrant:  # whose hooks count what is kept
        twin = copy.deepcopy(saving)
        calls[1] = genfuse.optimize(twin) if name == "optimized" else twin
        assert Step(twin, checkpointed, (x,), x).activation_bytes() <= x.nbytes


class Checkpointed(nn.Module):
    """A model that checkpoints a block of its own, as diffusers' do."""

    def __init__(self, norm: nn.Module, use_reentrant: bool) -> None:
        super().__init__()
        self.first, self.use_reentrant = nn.Conv2d(4, 16, 3, padding=1), use_reentrant
        self.block = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1), norm, nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = checkpoint(self.block, self.first(x), use_reentrant=self.use_reentrant)
        return y


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d(16), nn.BatchNorm2d(16, momentum=None), nn.GroupNorm(4, 16)])
def test_inside_an_optimised_model(norm: nn.Module, use_reentrant: bool) -> None:
    """Fused, the gradients of the model without a checkpoint, and a batch counts once."""
    torch.manual_seed(0)
    model = Checkpointed(copy.deepcopy(norm), use_reentrant)
    plain = copy.deepcopy(model)
    fast = genfuse.optimize(model)
    for _ in range(2):
        x = torch.randn(2, 4, 9, 10)
        found = []
        for network, own in ((fast, model), (plain, plain)):
            y = network(x) if network is fast else plain.block(plain.first(x))
            own.zero_grad()
            y.square().mean().backward()
            found.append([p.grad.clone() for p in own.parameters() if p.grad is not None])
        for mine, theirs in zip(*found, strict=True):
            assert (mine - theirs).abs().max() <= 1e-4 * theirs.abs().max() + 1e-6
    for mine, theirs in zip(model.buffers(), plain.buffers(), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    (graph,) = fast.report().graphs  # type: ignore[operator]
    assert len(graph.fused) == 3 and not graph.left
