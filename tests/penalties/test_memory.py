"""The memory that a penalty takes, beside double backward's: at most at once, and what is left for backward."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import genfuse
from genfuse.penalties.recorder import tensors
from genfuse_bench.critics import NORMS, dcgan_critic, resnet_critic
from penalties.double_backward import PENALTIES, by_double_backward, by_tangents, samples

pytestmark = pytest.mark.filterwarnings("ignore:.*reduces over the first axis")

SHAPE = (8, 3, 32, 32)
CHANNELS = 16


class Memory(TorchDispatchMode):
    """The largest sum of the memory of all tensors that were made inside and not dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.largest = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read = {tensor.untyped_storage()._cdata for tensor in tensors((args, kwargs))}
        for tensor in tensors(result):
            if tensor.untyped_storage()._cdata in read or tensor.is_meta:
                continue  # a view, an edit, or a shape without memory
            self._hold(tensor)
        return result

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place, size = storage._cdata, storage.nbytes()
        if place in self._known:
            return
        self._known.add(place)
        self.held += size
        self.largest = max(self.largest, self.held)

        def drop() -> None:
            self.held -= size
            self._known.discard(place)

        weakref.finalize(storage, drop)


def critic(activation: Callable[[], nn.Module], norm: Callable[[], nn.Module] = nn.Identity) -> nn.Module:
    layers: list[nn.Module] = []
    for channels in (3, CHANNELS, CHANNELS, CHANNELS):
        layers += [nn.Conv2d(channels, CHANNELS, 3, 1, 1), norm(), activation()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(CHANNELS * 32 * 32, 1))


class BiasAct(nn.Module):
    """What ends a layer of StyleGAN2's critic."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        return genfuse.ops.bias_act(x, self.bias, activation="leaky_relu", gain=2**0.5)


def largest(run: Callable[[], object]) -> int:
    with Memory() as memory:
        run()
    return memory.largest


CRITICS: dict[str, tuple[nn.Module, float]] = {
    "relu": (critic(nn.ReLU), 0.6),
    "leaky_relu": (critic(lambda: nn.LeakyReLU(0.2, inplace=True)), 0.6),
    "bias_act": (critic(BiasAct), 0.6),
    "silu": (critic(nn.SiLU), 0.7),
    "tanh": (critic(nn.Tanh), 1.1),
    "instance norm": (critic(nn.ReLU, lambda: nn.InstanceNorm2d(CHANNELS, affine=True)), 0.8),
    "batch norm": (critic(nn.ReLU, lambda: nn.BatchNorm2d(CHANNELS)), 1.0),
    "layer norm": (critic(nn.ReLU, lambda: nn.GroupNorm(1, CHANNELS)), 0.95),
}
"""With the share of double backward's memory that a penalty takes at most, all layers being of one size.

What is kept: of a ReLU a byte an element, of each layer with weights an adjoint, and of what convolutions read nothing
where no tangent depends on a primal. Where tangents do, the forward's graph stays to the end, and so do two adjoints a
layer; double backward keeps as much.
"""

BENCHED: dict[str, nn.Module] = {
    **{f"DCGAN, {norm}": dcgan_critic(64, norm, 32) for norm in ("no norm", "spectral norm", *NORMS)},
    **{f"ResNet, {norm}": resnet_critic(norm, 32) for norm in NORMS},
}


@pytest.mark.parametrize("name", BENCHED)
def test_critics_of_the_bench_take_three_fifths_at_most(name: str) -> None:
    network = BENCHED[name]
    weights = list(network.parameters())
    side = 64 if "DCGAN" in name else 32
    real, fake = samples((64, 3, side, side), torch.float32)
    ours = largest(lambda: by_tangents(network, real, fake, "r1", weights))
    theirs = largest(lambda: by_double_backward(network, real, "r1", weights))
    assert ours <= 0.6 * theirs


@pytest.mark.parametrize("name", CRITICS)
def test_at_most_at_once(name: str) -> None:
    network, share = CRITICS[name]
    weights = list(network.parameters())
    real, fake = samples(SHAPE, torch.float32)
    ours = largest(lambda: by_tangents(network, real, fake, "r1", weights))
    theirs = largest(lambda: by_double_backward(network, real, "r1", weights))
    assert ours <= share * theirs


def test_backward_needs_a_gradient_a_weight_and_nothing_else() -> None:
    """So the penalty's memory is free again while the rest of the loss is computed; double backward's is not."""
    network = critic(nn.SiLU)
    weights = sum(weight.nbytes for weight in network.parameters())
    real, _ = samples(SHAPE, torch.float32)
    with Memory() as ours:
        penalty = genfuse.gradient_penalty(network, real, kind="r1")
    assert isinstance(penalty, Tensor) and penalty.requires_grad
    assert ours.held <= weights + 1024
    with Memory() as theirs:
        x = real.requires_grad_()
        (g,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
        kept = PENALTIES["r1"](g.flatten(1).norm(dim=1))
    assert kept.requires_grad and theirs.held > 100 * weights
