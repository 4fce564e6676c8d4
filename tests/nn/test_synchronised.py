"""`SyncBatchNorm` inside units: two processes with a share of the batch each, beside one with all of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genfuse.errors import UnsupportedError
from genfuse.nn import ConvNormAct, NormAct
from nn import two_processes

CASES = ((3, False), (5, False), (3, True))
"""How many of five samples the first process has, and whether a gradient of the gradient is asked for."""


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        ConvNormAct(6, 4, norm="batch"), ConvNormAct(4, 5, norm="batch"), NormAct(5, norm="batch")
    )


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(5, 6, 5, 4, generator=generator) * 2 + 3, torch.randn(5, 5, 5, 4, generator=generator)


def trained(module: nn.Module, x: Tensor, direction: Tensor, second: bool) -> dict[str, Tensor]:
    """Gradients, and what the norms remember."""
    x = x.clone().requires_grad_()
    y = module(x) * direction
    if second:
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    y.square().sum().backward()
    assert x.grad is not None
    of = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {"x": x.grad, **of, **{name: b.clone() for name, b in module.named_buffers()}}


def shares(rank: int) -> list[dict[str, Tensor]]:
    """What one of the processes finds."""
    found = []
    for share, second in CASES:
        own = slice(0, share) if rank == 0 else slice(share, None)
        module = nn.SyncBatchNorm.convert_sync_batchnorm(network())
        x, direction = (t[own] for t in data())
        found.append(trained(module, x, direction, second))
    transforms = torch.func.vmap(module), torch.func.grad(lambda x: module(x).sum())
    for transform, given in zip(transforms, (x[:, None], x), strict=True):
        with pytest.raises(UnsupportedError, match=r"torch\.func.*SyncBatchNorm"):
            transform(given)
    return found


@two_processes.needs_gloo
def test_two_processes_are_as_one(tmp_path: Path) -> None:
    by_rank = two_processes.run(shares, tmp_path)
    x, direction = (t.double() for t in data())
    for (_, second), first, other in zip(CASES, *by_rank, strict=True):
        want = trained(network().double(), x, direction, second)
        two_processes.check_share(want, first, other)


def test_one_mean_for_all_that_is_mapped_over_is_refused() -> None:
    module, x = NormAct(4, norm="batch"), torch.randn(2, 3, 4, 5, 5)
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with pytest.raises(UnsupportedError, match="track_running_stats=False"):
        torch.func.vmap(module)(x)
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())
    module.norm = nn.BatchNorm2d(4, track_running_stats=False)
    assert torch.allclose(torch.func.vmap(module)(x)[1], module(x[1]), atol=1e-5)


def test_without_processes_it_is_batch_norm() -> None:
    module = network()
    converted: Any = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(module))
    assert any(isinstance(m, nn.SyncBatchNorm) for m in converted.modules())
    one, other = (trained(m, *data(), False) for m in (module, converted))
    assert all(torch.equal(one[name], other[name]) for name in one)
    x = data()[0]
    assert torch.equal(module.eval()(x), converted.eval()(x))
