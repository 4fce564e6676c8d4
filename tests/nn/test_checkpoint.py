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
