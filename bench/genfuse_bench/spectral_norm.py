"""Rows of `genfuse bench spectral_norm`: a critic's weights, normalised and differentiated, beside PyTorch's way.

Both have a network of their own, of the same weights: each weight is used once, as in a forward, and gets a gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as pytorchs

from genfuse.nn import spectral_norms
from genfuse_bench.largest_error import largest_error
from genfuse_bench.tensor_lists import FLOOR, OURS, TOLERANCE, ListRow
from genfuse_bench.timing import Call, Effort, measure
from genfuse_kernels.spectral_norm import spec

PEER = "PyTorch"


def _resnet() -> list[nn.Module]:
    """Of Miyato et al. 2018, table 4: the critic for CIFAR-10."""
    first = [nn.Conv2d(3, 128, 3), nn.Conv2d(128, 128, 3), nn.Conv2d(3, 128, 1)]
    return [*first, *(nn.Conv2d(128, 128, 3) for _ in range(6)), nn.Linear(128, 1)]


def _plain() -> list[nn.Module]:
    """Of table 3: the plain one, with two layers more."""
    widths = (3, 64, 64, 128, 128, 256, 256, 512, 512, 512)
    convs = [nn.Conv2d(i, o, 3 + n % 2) for n, (i, o) in enumerate(pairwise(widths))]
    return [*convs, nn.Linear(512, 1)]


def _narrow() -> list[nn.Module]:
    return [nn.Conv2d(3, 32, 3), *(nn.Conv2d(32, 32, 3) for _ in range(8)), nn.Linear(32, 1)]


CRITICS: dict[str, tuple[str, Callable[[], list[nn.Module]]]] = {
    "narrow": ("10 layers of 32 channels", _narrow),
    "resnet": ("SNGAN's ResNet critic", _resnet),
    "plain": ("SNGAN's plain critic", _plain),
}


class _Weights(nn.Module):
    """The layers' weights, as a forward would ask for them."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self) -> list[Tensor]:
        return [layer.weight for layer in self.layers]  # type: ignore[misc]


def spectral_row(name: str, layers: Sequence[nn.Module], effort: Effort) -> ListRow:
    """Both ways, their gradients held against float64 first."""
    theirs = _Weights([pytorchs(layer) for layer in layers])
    networks = {OURS: spectral_norms(copy.deepcopy(theirs)), PEER: theirs}
    exact = copy.deepcopy(theirs).double()
    gradients = [torch.randn(weight.shape) for weight in copy.deepcopy(theirs).eval()()]
    want = _gradients(exact, [gradient.double() for gradient in gradients])
    error, torch_error = (largest_error(_gradients(each, gradients), want) for each in networks.values())
    flat, other = (torch.randn(sum(gradient.numel() for gradient in gradients)) for _ in range(2))

    def floor() -> None:
        torch.dot(flat, flat)  # a step
        torch.mul(flat, 1.0, out=other)  # the division
        torch.dot(flat, other)  # a gradient's share
        torch.mul(flat, 1.0, out=other)  # and the gradient

    def step(who: str) -> Callable[[], object]:
        return lambda: _gradients(networks[who], gradients)

    calls = {OURS: Call(step(OURS)), PEER: Call(step(PEER)), FLOOR: Call(floor)}
    taken = measure(calls, range(1), torch.device("cpu"), effort)
    ours = taken.us[OURS] / 1e3 if error <= TOLERANCE else None
    peer = taken.us[PEER] / 1e3
    moved = spec.bytes_moved(gradients, 1, gradient=True)
    return ListRow(
        op="spectral_norm",
        workload=name,
        tensors=len(gradients),
        elements=flat.numel(),
        dtype="float32",
        threads=torch.get_num_threads(),
        device="cpu",
        ours_ms=ours,
        peers_ms={PEER: peer},
        floor_ms=taken.us[FLOOR] / 1e3,
        best_peer=PEER,
        ratio=peer / ours if ours else None,
        gb_per_s=moved / (ours * 1e6) if ours else None,
        fastest_ms={who: us / 1e3 for who, us in taken.fastest_us.items()},
        error=error,
        torch_error=torch_error,
        timing=taken.timing(OURS if ours else None),
    )


def _gradients(network: nn.Module, gradients: Sequence[Tensor]) -> list[Tensor]:
    """Of the weights under the norm, from those of the normalised ones; a step of the power iteration."""
    given = list(network.parameters())
    weights = [parameter for parameter in given if parameter.ndim > 1]
    return list(torch.autograd.grad(network(), weights, gradients))
