"""`genfuse.optimize` of other people's models: the same numbers in inference and training, gradients too."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genfuse
from rewrite.models import MODELS

TOLERANCE = 2e-5
"""Of a network's output, relative to its largest value; Winograd's error through some thirty layers is near 3e-6."""


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> None:
    torch._dynamo.reset()


def tensor_of(result: Any) -> Tensor:
    """What a model returns, without what is around it."""
    tensor: Tensor = result if isinstance(result, Tensor) else result.sample
    return tensor


def made(name: str) -> nn.Module:
    """The model, with batch norms that have seen something."""
    model = MODELS[name][0]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.05, 0.2)  # type: ignore[arg-type]
            nn.init.normal_(module.weight, 1.0, 0.2)
            nn.init.normal_(module.bias, std=0.2)
    return model


def close(got: Tensor, want: Tensor, tolerance: float = TOLERANCE) -> bool:
    return bool((got - want).abs().max() <= tolerance * want.abs().max())


def layers(unit: str) -> list[str]:
    """The layers that a unit's name stands for: "block.to_q, to_k" are block.to_q and block.to_k."""
    first, *others = unit.split(", ")
    block = first.rpartition(".")[0]
    return [first, *(f"{block}.{other}" for other in others)]


@pytest.mark.parametrize("name", MODELS)
def test_inference(name: str) -> None:
    model, inputs = made(name).eval(), MODELS[name][1]
    optimized: Any = genfuse.optimize(model)
    three, (image, *others) = inputs(3), inputs(1)
    one = (image.to(memory_format=torch.channels_last), *others)
    with torch.no_grad():
        for given in (three, one, three, one):
            want, got = tensor_of(model(*given)), tensor_of(optimized(*given))
            assert want.abs().max() > 0 and close(got, want)
            assert given is one or got.stride() == want.stride()
    report = optimized.report()
    assert len(report.graphs) == 2
    convolutions = sum(isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) for m in model.modules())
    if not isinstance(getattr(model, "decodes", None), bool):  # of an autoencoder one half runs
        linear = {name for name, m in model.named_modules() if isinstance(m, nn.Linear)}
        units = [unit for unit in report.graphs[0].fused if unit.name.partition(",")[0] not in linear]
        projected = [unit for unit in units if any("residual through" in step for step in unit.steps)]
        assert len(units) + len(projected) == convolutions
    assert {left.reason for left in report.left} <= {"layer norm of tokens"}
    named = {name.removesuffix(".weight") for name, _ in model.named_parameters()}
    assert all(layer in named for unit in report.fused for layer in layers(unit.name))
    assert all(plan.obstacle is None for plan in report.plans)
    if name.startswith("resnet"):
        steps = " ".join(report.fused[2].steps if name == "resnet basic" else report.fused[3].steps)
        assert steps == "relu convolution batch norm in its weights residual relu"


@pytest.mark.parametrize("name", MODELS)
def test_training(name: str) -> None:
    model, inputs = made(name).train(), MODELS[name][1](3)
    twin = copy.deepcopy(model)
    optimized: Any = genfuse.optimize(twin)
    outputs = [tensor_of(one(*inputs)) for one in (model, optimized)]
    assert close(outputs[1], outputs[0])
    for output in outputs:
        (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    largest = max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None)
    for (key, parameter), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert (parameter.grad is None) == (other.grad is None), key
        if parameter.grad is not None and other.grad is not None:
            # relative to the largest: a bias before an instance norm has none but rounding
            assert torch.allclose(other.grad, parameter.grad, rtol=1e-3, atol=1e-5 * largest), key
    (graph,) = optimized.report().graphs
    assert graph.gradients and all(unit.packed_bytes == 0 for unit in graph.fused)
    with torch.no_grad():  # a plan, which updates running statistics
        for _ in range(3):
            assert close(tensor_of(optimized(*inputs)), tensor_of(model(*inputs)))
    for (key, buffer), other in zip(model.named_buffers(), twin.buffers(), strict=True):
        assert torch.allclose(buffer, other, rtol=1e-4, atol=1e-5), key


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["resnet basic", "dcgan generator", "unet"])
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    """The error against the network in float64 is at most twice that of PyTorch's own at that dtype."""
    model, inputs = made(name).eval().to(dtype), MODELS[name][1](2)
    exact = copy.deepcopy(model).double()
    given = tuple(x.to(dtype) for x in inputs)
    optimized = genfuse.optimize(model)
    with torch.no_grad():
        want = tensor_of(exact(*(x.double() for x in given)))
        theirs, ours = (tensor_of(one(*given)).double() - want for one in (model, optimized))
        again = tensor_of(optimized(*given)).double() - want
    assert ours.square().mean().sqrt() <= 2 * theirs.square().mean().sqrt()
    assert torch.equal(ours, again)
