"""`SyncBatchNorm` inside units: two processes with a share of the batch each, beside one with all of it."""

from __future__ import annotations

import copy
import multiprocessing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from genfuse.nn import ConvNormAct, NormAct

needs_gloo = pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="no gloo")
CASES = ((3, False), (5, False), (3, True))
"""How many of five samples the first process has, and whether a gradient of the gradient is asked for."""
SECONDS = 60


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


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", meeting, timedelta(seconds=SECONDS), world_size=2, rank=rank)
    found = []
    for share, second in CASES:
        own = slice(0, share) if rank == 0 else slice(share, None)
        module = nn.SyncBatchNorm.convert_sync_batchnorm(network())
        x, direction = (t[own] for t in data())
        found.append(trained(module, x, direction, second))
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@needs_gloo
def test_two_processes_are_as_one(tmp_path: Path) -> None:
    spawning = multiprocessing.get_context("spawn")
    started = [spawning.Process(target=process, args=(rank, str(tmp_path))) for rank in (0, 1)]
    for each in started:
        each.start()
    for each in started:
        each.join(SECONDS)
        if each.is_alive():
            each.kill()
    assert [each.exitcode for each in started] == [0, 0]
    by_rank = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    x, direction = (t.double() for t in data())
    for (_, second), first, other in zip(CASES, *by_rank, strict=True):
        want = trained(network().double(), x, direction, second)
        assert first.keys() == other.keys() == want.keys()
        largest = max(float(exact.abs().max()) for exact in want.values())
        for name, exact in want.items():
            if name == "x":
                got = torch.cat((first[name], other[name]))
            elif "running" in name or "tracked" in name:
                assert torch.equal(first[name], other[name])
                got = first[name]
            else:
                got = first[name] + other[name]  # as data-parallel training sums them
            error = float((got - exact).abs().max())  # a bias before a norm has none but rounding
            assert error <= 1e-4 * float(exact.abs().max()) + 1e-5 * largest, f"{name}: {error:.1e}"


def test_without_processes_it_is_batch_norm() -> None:
    module = network()
    converted: Any = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(module))
    assert any(isinstance(m, nn.SyncBatchNorm) for m in converted.modules())
    one, other = (trained(m, *data(), False) for m in (module, converted))
    assert all(torch.equal(one[name], other[name]) for name in one)
    x = data()[0]
    assert torch.equal(module.eval()(x), converted.eval()(x))
