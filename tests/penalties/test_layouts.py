"""Critics and pictures of channels-last memory, where PyTorch's own norms fail (2.13): the same penalties."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import genfuse
from penalties.critics import perturbed, scores

NETWORKS = {
    "instance norm": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1), nn.InstanceNorm2d(8, affine=True), nn.SiLU(), nn.Conv2d(8, 4, 3, 1, 1),
        nn.InstanceNorm2d(4, track_running_stats=True), nn.Conv2d(4, 2, 1), nn.Tanh(), *scores(2, 8),
    ),
    "group norm of pictures": lambda: nn.Sequential(
        nn.GroupNorm(1, 3), nn.Conv2d(3, 4, 3, 1, 1), nn.Tanh(), *scores(4, 8)
    ),
    "group norm of one channel": lambda: nn.Sequential(
        nn.Conv2d(3, 1, 1, bias=False), nn.GroupNorm(1, 1), nn.Softplus(), *scores(1, 8)
    ).requires_grad_(False),
    "group norm of volumes": lambda: nn.Sequential(
        nn.GroupNorm(3, 3), nn.Conv3d(3, 2, (2, 3, 3)), nn.Tanh(), *scores(2, 6)
    ),
}  # fmt: skip


def results(network: nn.Module, real: Tensor) -> list[Tensor]:
    penalty = genfuse.gradient_penalty(network, real, kind="r1")
    assert isinstance(penalty, Tensor)
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    found = torch.autograd.grad(penalty, weights, allow_unused=True, materialize_grads=True)
    return [penalty.detach(), *found]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_channels_last_gives_what_planar_memory_gives(name: str, batch: int, dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    network = perturbed(NETWORKS[name]())
    if name == "group norm of one channel":
        network[1].requires_grad_(True)  # type: ignore[index]
    of_volumes = name == "group norm of volumes"
    form = torch.channels_last_3d if of_volumes else torch.channels_last
    real = torch.randn(batch, 3, *((2,) if of_volumes else ()), 8, 8)
    want = results(copy.deepcopy(network).double(), real.double())
    last = copy.deepcopy(network).to(dtype, memory_format=form)  # type: ignore[call-overload]
    found = results(last, real.to(dtype, memory_format=form))
    largest = max(float(each.abs().max()) for each in want)
    error = largest * (1e-10 if dtype == torch.float64 else 2e-5)
    for a, b in zip(found, want, strict=True):
        assert (a - b).abs().max() <= error
