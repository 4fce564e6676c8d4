"""`Planned`: what a network did once, repeated; always the network's own numbers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import genfuse
from genfuse.nn import UNet, UNetConfig
from genfuse.ops import conv_norm_act, linear
from genfuse.rewrite.plan import Planned

_NAN = float("nan")


def network() -> UNet:
    """Small, with every layer at work."""
    config = UNetConfig(
        channels=(16, 32), attention_levels=(1,), head_channels=8, num_groups=4, num_classes=3
    )
    model = UNet(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model


def arguments(batch: int = 2) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, 3, 16, 16), torch.rand(batch) * 999


def plan_of(planned: Planned) -> Any:
    (plan,) = planned._plans.values()
    return plan


@torch.no_grad()
def test_a_network_gives_its_own_bits() -> None:
    model = network()
    planned = Planned(model)
    for batch in (2, 1, 2, 3):
        for _ in range(3):
            x, t = arguments(batch)
            label = torch.randint(0, 3, (batch,))
            assert torch.equal(planned(x, t, label=label), model(x, t, label=label))
            assert torch.equal(planned(x, t), model(x, t))
    assert len(planned._plans) == 6


@torch.no_grad()
def test_memory_is_reused_and_results_are_the_callers() -> None:
    model = network()
    planned = Planned(model)
    x, t = arguments(8)
    first = planned(x, t)
    kept = first.clone()
    for buffer in plan_of(planned).pool._buffers.values():
        if all(buffer.data_ptr() != held.data_ptr() for held in plan_of(planned).held):
            buffer.view(torch.float32).fill_(_NAN)  # whatever a run reads it must have written
    again = planned(x, t)
    assert torch.equal(again, kept) and torch.equal(first, kept)
    made = 8 * 16 * 16 * 16 * 4 // 4  # bytes of one image of 16 channels at half the size
    assert plan_of(planned).pool.nbytes < 12 * made
    assert planned.nbytes == plan_of(planned).pool.nbytes


@torch.no_grad()
def test_changed_weights_are_noticed() -> None:
    model = network()
    planned = Planned(model)
    x, t = arguments()
    edits = (
        lambda: model.conv_in.weight.mul_(2),
        lambda: model.conv_in.weight.data.mul_(2),
        lambda: setattr(model.conv_in.weight, "data", model.conv_in.weight.data * 2),
        lambda: setattr(model.conv_in.bias, "data", model.conv_in.bias.data + 1),
        lambda: model.down[0].blocks[0].first.norm.weight.data.add_(1),
        lambda: setattr(model.embed.time[0].weight, "data", model.embed.time[0].weight.data * 2),
        lambda: setattr(model.embed.label.weight, "data", model.embed.label.weight.data * 2),
        lambda: setattr(model, "middle", network().middle),
        lambda: model.load_state_dict(network().state_dict()),
    )
    for number, edit in enumerate(edits):
        before = planned(x, t)
        edit()
        if number == 7:  # other modules are another network: a plan follows tensors, not attributes
            planned = Planned(model)
        assert torch.equal(planned(x, t), model(x, t)), number
        assert not torch.equal(planned(x, t), before), number


@torch.no_grad()
def test_calls_of_pytorch_are_made_again() -> None:
    """Views, edits in place, constants, random numbers, several results, and inputs that are handed on."""
    weight = torch.randn(4, 4, 3, 3)
    scale = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)

    def function(x: Tensor, power: int) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        h = conv_norm_act(x, weight, padding=1)
        assert isinstance(h, Tensor)
        first, second = h.chunk(2, dim=1)
        first = first.contiguous().mul_(3)
        ramp = torch.arange(x.shape[-1]).float() / 2
        values, places = (h + ramp).max(dim=1)
        joined = torch.cat([second, first], 1)[:, :, ::2] * scale
        return joined.pow(power), {"values": values, "places": places}, x

    planned = Planned(function)
    for shape in ((2, 4, 6, 6), (2, 4, 6, 6), (1, 4, 5, 8)):
        x = torch.randn(shape)
        for _ in range(2):
            ours, theirs = planned(x, 2), function(x, 2)
            for a, b in zip(
                (ours[0], *ours[1].values(), ours[2]), (theirs[0], *theirs[1].values(), x), strict=True
            ):
                assert torch.equal(a, b) and a.stride() == b.stride()
    noisy = Planned(lambda x: x + torch.rand(4))
    zero = torch.zeros(4)
    assert not torch.equal(noisy(zero), noisy(zero))
    view = Planned(lambda x: linear(x.t(), weight[:, 0, 0].t()[:3].t().contiguous()))
    rows = torch.randn(3, 5)
    for _ in range(2):
        assert torch.allclose(view(rows), F.linear(rows.t(), weight[:, 0, 0, :]), atol=1e-5)


@torch.no_grad()
def test_what_cannot_be_planned_runs_as_it_is() -> None:
    def reads_a_value(x: Tensor) -> Tensor:
        return x * 2 if float(x.sum()) > 0 else x * 3

    planned = Planned(reads_a_value)
    assert torch.equal(planned(torch.ones(3)), torch.full((3,), 2.0))
    assert torch.equal(planned(-torch.ones(3)), torch.full((3,), -3.0))
    assert planned.obstacle is not None and "reads values" in planned.obstacle

    shaped = Planned(lambda x: x[x > 0])
    for x in (torch.tensor([1.0, -1.0]), torch.tensor([1.0, 2.0])):
        assert torch.equal(shaped(x), x[x > 0])
    assert shaped.obstacle is not None

    def edits_a_constant(x: Tensor) -> Tensor:
        room = torch.zeros(3)
        room += x
        return room

    planned = Planned(edits_a_constant)
    for _ in range(3):
        assert torch.equal(planned(torch.ones(3)), torch.ones(3))
    assert planned.obstacle is not None and "same in every run" in planned.obstacle
    listed = Planned(lambda x, sizes: x * len(sizes[0]))
    assert torch.equal(listed(torch.ones(2), ([1, 2],)), torch.full((2,), 2.0))


def test_gradients_and_errors_go_to_the_network() -> None:
    model = network()
    planned = Planned(model)
    x, t = arguments()
    planned(x, t).sum().backward()
    assert model.conv_in.weight.grad is not None and not planned._plans
    with torch.no_grad(), pytest.raises(ValueError, match="x has shape"):
        planned(x[:, :2], t)
    with torch.no_grad():
        assert torch.equal(planned(x, t), model(x, t))
    with torch.inference_mode():
        assert torch.equal(planned(x, t), model(x, t)) and torch.equal(planned(x, t), model(x, t))


@torch.no_grad()
def test_another_backend_or_number_of_threads_is_another_plan() -> None:
    model = network()
    planned = Planned(model)
    x, t = arguments()
    ours = planned(x, t)
    with genfuse.backend("aten"):
        for _ in range(2):
            assert torch.equal(planned(x, t), model(x, t))
    assert torch.equal(planned(x, t), ours) and len(planned._plans) == 2
    for batch in range(1, 12):
        planned(*arguments(batch))
    assert len(planned._plans) == 8


@torch.no_grad()
def test_callers_on_several_threads() -> None:
    model = network()
    planned = Planned(model)
    inputs = [arguments() for _ in range(4)]
    want = [model(*each) for each in inputs]
    planned(*inputs[0])
    with ThreadPoolExecutor(4) as callers, torch.no_grad():
        for _ in range(10):
            with torch.no_grad():
                results = list(callers.map(lambda each: torch.no_grad()(planned)(*each), inputs))
            for got, wanted in zip(results, want, strict=True):
                assert torch.equal(got, wanted)


@torch.no_grad()
def test_a_network_is_one_call_but_for_what_is_pytorchs() -> None:
    planned = Planned(network())
    planned(*arguments())
    plan = plan_of(planned)
    names = [step.function.__name__ for step in plan.steps if not isinstance(step, tuple)]
    assert not any("conv" in name or "linear" in name or "attention" in name for name in names)
    assert len(plan.program) > 20 and len(plan.steps) < 20


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_in_half_precision_is_kernels_too(dtype: torch.dtype) -> None:
    model = network().to(dtype)
    planned = Planned(model)
    for _ in range(3):
        x, t = arguments(2)
        assert torch.equal(planned(x.to(dtype), t), model(x.to(dtype), t))
    calls = [step.function for step in plan_of(planned).steps if not isinstance(step, tuple)]
    ours = {call for call in calls if call.namespace == "genfuse"}
    assert ours <= {torch.ops.genfuse.timestep_embedding.default}  # filled in float32 and rounded by PyTorch


class Made(nn.Module):
    """Weights that are computed in every call, or given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 8, 3, 3))
        self.norm = nn.BatchNorm2d(16)

    def forward(self, x: Tensor, matrix: Tensor, scale: Tensor) -> Tensor:
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        y = self.norm(nn.functional.conv2d(x, centred, padding=1))
        y = nn.functional.conv2d(y, self.weight.transpose(0, 1) * scale, padding=1)
        y = nn.functional.batch_norm(y, scale[0, 0, 0].abs().expand(8), scale[0, 0, 0].square().expand(8) + 1)
        return nn.functional.linear(y.mean((2, 3)), matrix)


@torch.no_grad()
@pytest.mark.parametrize("frozen", [False, True])
def test_weights_that_are_computed_are_packed_in_every_call(frozen: bool) -> None:
    model = Made().eval()
    optimized: Any = genfuse.optimize(model)
    optimized.freeze(frozen)
    for turn in range(6):
        if turn == 3 and not frozen:
            model.weight.data.mul_(3)
        given = torch.randn(2, 8, 9, 9), torch.randn(5, 8), torch.randn(8, 16, 1, 1)
        want = model(*given)
        assert torch.allclose(optimized(*given), want, atol=1e-5 * float(want.abs().max()))


@torch.no_grad()
def test_frozen_calls_with_shared_arguments() -> None:
    class Difference(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.conv(a) - self.conv(b)

    model = Difference().eval()
    optimized: Any = genfuse.optimize(model)
    optimized.freeze()
    x, y = torch.randn(2, 1, 4, 6, 6)
    for a, b in ((x, x), (x, y), (y, y), (x, x[:]), (y, x), (x, x)):
        assert torch.allclose(optimized(a, b), model(a, b), atol=1e-5)
