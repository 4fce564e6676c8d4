"""How often convolutions run, beside double backward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import genfuse
from genfuse_kernels.conv_norm_act import cpu_gradient, cpu_impl
from genfuse_kernels.norm_tangent import cpu_gradient as tangent_gradient
from genfuse_kernels.norm_tangent import cpu_impl as tangent_impl
from penalties.critics import scores
from penalties.double_backward import by_double_backward, by_tangents, samples

LAYERS = 3

Count = Callable[[nn.Module], "Counter[str]"]

FORWARD, DATA, WEIGHTS = "forward", "data backward", "weights' gradient"


class Convolutions(TorchDispatchMode):
    """Counts passes through convolutions, of PyTorch's and ours: each is a forward, or one of its two gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()
        self._kernels = pytest.MonkeyPatch()

    def __enter__(self) -> Convolutions:
        self._kernels.setattr(cpu_impl, "conv_norm_act", self._forward(cpu_impl.conv_norm_act))
        own = self._gradients(cpu_gradient.conv_norm_act_gradient)
        self._kernels.setattr(cpu_gradient, "conv_norm_act_gradient", own)
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._kernels.undo()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            self.counted[FORWARD] += 1
        elif func is torch.ops.aten.convolution_backward.default:
            mask = args[-1]
            self.counted[DATA] += mask[0]
            self.counted[WEIGHTS] += mask[1]
        return func(*args, **(kwargs or {}))

    def _forward(self, run: Any) -> Any:
        def counting(*args: Any, **kwargs: Any) -> Any:
            self.counted[FORWARD] += 1
            return run(*args, **kwargs)

        return counting

    def _gradients(self, run: Any) -> Any:
        def counting(*args: Any, needs: Any, **kwargs: Any) -> Any:
            self.counted[DATA] += "x" in needs
            self.counted[WEIGHTS] += "weight" in needs
            return run(*args, needs=needs, **kwargs)

        return counting


def critic(activation: Callable[[], nn.Module], norm: Callable[[], nn.Module] = nn.Identity) -> nn.Module:
    layers = [
        layer for channels in (3, 6, 6) for layer in (nn.Conv2d(channels, 6, 3, 1, 1), norm(), activation())
    ]
    return nn.Sequential(*layers, *scores(6, 8))


def passes(of: Callable[..., Any], network: nn.Module, **options: Any) -> Counter[str]:
    with Convolutions() as convolutions:
        of(network, *samples((4, 3, 8, 8), torch.float32), "r1", list(network.parameters()), **options)
    return convolutions.counted


@pytest.fixture(params=["cpu", "aten"])
def ours(request: pytest.FixtureRequest) -> Count:
    """By our kernels, and by PyTorch's."""

    def counted(network: nn.Module) -> Counter[str]:
        with genfuse.backend(request.param):
            return +passes(by_tangents, network)

    return counted


def double_backward(network: nn.Module) -> Counter[str]:
    return passes(
        lambda critic, real, fake, kind, weights: by_double_backward(critic, real, kind, weights), network
    )


PIECEWISE_LINEAR: dict[str, nn.Module] = {
    "relu": critic(nn.ReLU),
    "leaky_relu": critic(lambda: nn.LeakyReLU(0.2, inplace=True)),
    "pooling": critic(lambda: nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1))),
    "batch norm in inference": critic(nn.ReLU, lambda: nn.BatchNorm2d(6)).eval(),
}


@pytest.mark.parametrize("name", PIECEWISE_LINEAR)
def test_piecewise_linear_critics_take_four_passes(ours: Count, name: str) -> None:
    network = PIECEWISE_LINEAR[name]
    assert ours(network) == {FORWARD: 2 * LAYERS, DATA: LAYERS, WEIGHTS: LAYERS}
    assert sum(double_backward(network).values()) == 6 * LAYERS - 1


@pytest.mark.parametrize("activation", [nn.SiLU, nn.Tanh])
def test_curved_critics_take_six(ours: Count, activation: type[nn.Module]) -> None:
    """The first layer has no data backward where the samples need no gradient."""
    counted = ours(critic(activation))
    assert counted == {FORWARD: 2 * LAYERS, DATA: LAYERS + LAYERS - 1, WEIGHTS: 2 * LAYERS}


def test_only_what_lies_below_a_curve_is_passed_a_second_time(ours: Count) -> None:
    """Of three convolutions with a curved activation behind the first."""
    network = critic(nn.ReLU)
    assert isinstance(network, nn.Sequential)
    network[2] = nn.SiLU()
    assert ours(network) == {FORWARD: 2 * LAYERS, DATA: LAYERS, WEIGHTS: LAYERS + 1}


@pytest.mark.parametrize(
    "norm",
    [lambda: nn.InstanceNorm2d(6, affine=True), lambda: nn.LayerNorm([6, 8, 8]), lambda: nn.GroupNorm(2, 6)],
)
def test_a_norm_is_read_once_for_its_tangent_and_its_gradients(
    norm: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, calls = critic(nn.ReLU, norm), []

    def seen(*args: Any, **wanted: Any) -> None:
        calls.append(sorted(wanted))
        own(*args, **wanted)

    own = tangent_impl.run
    for module in (tangent_impl, tangent_gradient):
        monkeypatch.setattr(module, "run", seen)
    passes(by_tangents, network)
    everything = ["gradient", "out", "weight_gradient", "x_gradient"]
    assert calls == [everything] * LAYERS


def test_without_gradients_two_passes_give_the_norms() -> None:
    with torch.no_grad():
        real, _ = samples((4, 3, 8, 8), torch.float32)
        network = critic(nn.SiLU)
        with Convolutions() as convolutions:
            genfuse.gradient_penalty(network, real, kind="r1")
    assert +convolutions.counted == {FORWARD: LAYERS, DATA: LAYERS}
