"""`torch.nn.SyncBatchNorm` inside an optimised model: two processes with a share of the batch each, beside one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import genfuse
from genfuse.ops import synchronised_stats
from nn import two_processes
from nn.test_synchronised import trained


class Network(nn.Module):
    """Norms before a convolution, behind one alone, of a sequence, and of what is no image."""

    def __init__(self, checkpointed: bool = False) -> None:
        super().__init__()
        self.checkpointed = checkpointed
        self.first = nn.Sequential(nn.Conv2d(6, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.block = nn.Sequential(
            nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5, momentum=None), nn.SiLU(), nn.Conv2d(5, 4, 1)
        )
        self.last = nn.BatchNorm2d(4, affine=False)
        self.of_sequence = nn.BatchNorm1d(4, track_running_stats=False)
        self.of_features = nn.BatchNorm1d(4, momentum=0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = checkpoint(self.block, x, use_reentrant=False) if self.checkpointed else self.block(x)
        y = self.of_sequence(self.last(x).flatten(2))
        return y * self.of_features(y.mean(2))[:, :, None]


NORMS = 5


class Case(NamedTuple):
    """A run of it."""

    share: int = 3
    """How many of five samples the first process has."""
    second: bool = False
    """Whether a gradient of the gradient is asked for."""
    checkpointed: bool = False
    memory: Any = None
    size: tuple[int, int] = (5, 4)
    named: bool = False
    """Whether the processes are those of a group of the norms' own."""


CASES = (
    Case(),
    Case(5),
    Case(second=True),
    Case(checkpointed=True),
    Case(memory="low"),
    Case(2, named=True),
    Case(4, size=(1, 1)),  # of which the second process has one value a channel
)


def network(checkpointed: bool = False) -> nn.Module:
    torch.manual_seed(1)
    return Network(checkpointed)


def data(case: Case) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(5, 6, *case.size, generator=generator) * 2 + 3
    return x, torch.randn(5, 4, case.size[0] * case.size[1], generator=generator)


class Counted:
    """A function, with how often it ran."""

    def __init__(self, run: Any) -> None:
        self.calls, self._run = 0, run

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self._run(*args)


def shares(rank: int) -> list[Any]:
    """For each case what one process finds, how often it exchanged and measured, and the layers left to PyTorch."""
    exchanges, measured = Counted(dist.all_gather), Counted(synchronised_stats.stats_of)
    dist.all_gather, synchronised_stats.stats_of = exchanges, measured
    found: list[Any] = []
    for case in CASES:
        own = slice(0, case.share) if rank == 0 else slice(case.share, None)
        group = dist.new_group([0, 1]) if case.named else None
        model = nn.SyncBatchNorm.convert_sync_batchnorm(network(case.checkpointed), group)
        before = copy.deepcopy(model.state_dict())
        fast: Any = genfuse.optimize(model, memory=case.memory)
        x, direction = (t[own] for t in data(case))
        exchanges.calls = 0
        with torch.no_grad():
            without_gradients = fast(x)
        forwards = exchanges.calls
        model.load_state_dict(before)
        assert torch.allclose(fast(x), without_gradients, atol=1e-4)
        model.load_state_dict(before)
        exchanges.calls = measured.calls = 0
        of = trained(fast, x, direction, case.second)
        assert not any("forward" in module.__dict__ for module in model.modules())
        left = [each.name for each in fast.report().graphs[-1].left]
        found.append((of, forwards, exchanges.calls, measured.calls, left))
    return found


@two_processes.needs_gloo
def test_two_processes_are_as_one(tmp_path: Path) -> None:
    by_rank = two_processes.run(shares, tmp_path)
    for case, (first, *counts), (other, *others) in zip(CASES, *by_rank, strict=True):
        x, direction = (t.double() for t in data(case))
        want = trained(network().double(), x, direction, case.second)
        two_processes.check_share(want, first, other)
        forwards, both_ways, measured, left = counts
        assert counts == others and forwards == NORMS and len(left) == 1, "that of features"
        again = 1 if case.checkpointed else 0  # the block's, in backward
        assert case.second or both_ways == 2 * NORMS + again
        assert measured == (3 if case.checkpointed else 2), "but what a convolution measured as it wrote"


@pytest.mark.parametrize("momentum", [0.1, None])
def test_without_processes_it_is_batch_norm(momentum: float | None) -> None:
    torch._dynamo.reset()
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=momentum), nn.Conv2d(4, 2, 1))
    model: Any = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    fast: Any = genfuse.optimize(model)
    for _ in range(2):
        x, direction = torch.randn(3, 3, 6, 6), torch.randn(3, 2, 4, 4)
        for (name, want), got in zip(
            trained(plain, x, direction, False).items(),
            trained(fast, x, direction, False).values(),
            strict=True,
        ):
            assert torch.allclose(got, want, rtol=1e-4, atol=1e-5), name
    (graph,) = fast.report().graphs
    assert [unit.steps for unit in graph.fused][1] == ("batch norm", "convolution") and not graph.left
