"""What users do with an optimised model: switch modes, edit weights, copy, save, tie, and call it their own way."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import genfuse


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> None:
    torch._dynamo.reset()


@dataclass
class Output:
    """As diffusers' outputs are."""

    sample: Tensor
    features: list[Tensor]


class Net(nn.Module):
    """Convolutions, one of them tied, batch norms, in-place activations and dropout."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.tied, self.norms = nn.Conv2d(8, 8, 3, padding=1), nn.ModuleList(nn.BatchNorm2d(8) for _ in "ab")
        self.last = nn.Conv2d(8, 4, 1)
        self.dropout = dropout

    def forward(self, x: Tensor, *, power: int = 1, double: bool = False) -> Output:
        h = F.relu(self.norm(self.first(x)), inplace=True)
        for norm in self.norms:
            h = F.leaky_relu(norm(self.tied(h)), 0.2, inplace=True)
            h = F.dropout(h, self.dropout, self.training)
        y = self.last(h)
        return Output(torch.sigmoid(y) * y**power * (2 if double else 1), [h, y])


def net(dropout: float = 0.0) -> Net:
    model = Net(dropout)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(4, 3, 8, 8) * 2)
    return model.eval()


def same(one: nn.Module, other: nn.Module, *args: Any, **kwargs: Any) -> None:
    want, got = one(*args, **kwargs), other(*args, **kwargs)
    assert type(got) is type(want)
    for a, b in zip((got.sample, *got.features), (want.sample, *want.features), strict=True):
        assert torch.allclose(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("grad", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_modes_and_keywords(grad: Callable[[], Any]) -> None:
    model = net()
    twin = copy.deepcopy(model)
    optimized, x = genfuse.optimize(twin), torch.randn(2, 3, 7, 9)
    with grad():
        for training in (False, True, False, True, False):
            model.train(training)
            optimized.train(training)
            assert twin.training == training
            same(model, optimized, x)
            same(model, optimized, x=x, power=2, double=True)
    for buffer, other in zip(model.buffers(), twin.buffers(), strict=True):
        assert torch.allclose(buffer, other, atol=1e-6)


@torch.no_grad()
def test_edits_are_followed() -> None:
    model = net()
    optimized, x = genfuse.optimize(model), torch.randn(1, 3, 6, 6)
    conv, norm = model.first, model.norm
    assert norm.running_mean is not None and norm.running_var is not None
    edits: tuple[Callable[[], Any], ...] = (
        lambda: conv.weight.mul_(1.5),
        lambda: conv.weight.data.mul_(0.5),
        lambda: setattr(conv.weight, "data", conv.weight.data * 2),
        lambda: conv.bias.add_(1),  # type: ignore[union-attr]
        lambda: norm.weight.data.add_(0.5),
        lambda: norm.bias.sub_(0.5),
        lambda: norm.running_mean.add_(0.3),  # type: ignore[union-attr]
        lambda: norm.running_var.mul_(3),  # type: ignore[union-attr]
        lambda: setattr(norm, "running_var", torch.rand(8) + 0.5),
        lambda: model.load_state_dict(net().state_dict()),
        lambda: optimized.load_state_dict(net().state_dict()),
        lambda: setattr(conv, "weight", nn.Parameter(torch.randn(8, 3, 3, 3))),
        lambda: (model.train(), model(torch.randn(4, 3, 8, 8)), model.eval()),
    )
    same(model, optimized, x)
    for number, edit in enumerate(edits):
        before = optimized(x).sample
        edit()
        same(model, optimized, x)
        assert not torch.equal(optimized(x).sample, before), number


def test_copies_and_state() -> None:
    model = net()
    optimized: Any = genfuse.optimize(model, accuracy="exact", memory_limit=0)
    state, x = model.state_dict(), torch.randn(1, 3, 6, 6)
    assert optimized.state_dict().keys() == state.keys()
    assert all(value.data_ptr() == state[name].data_ptr() for name, value in optimized.state_dict().items())
    with torch.no_grad():
        same(model, optimized, x)
        twin: Any = copy.deepcopy(optimized)
        model.first.weight.mul_(2)
        same(model, optimized, x)
        assert not torch.allclose(twin(x).sample, model(x).sample)
        assert len(twin.report().fused) == 4 and twin.report() is not optimized.report()
        same(copy.deepcopy(twin), twin, x)
        file = io.BytesIO()
        torch.save(optimized, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
        assert type(loaded) is type(model)
        same(loaded, model, x)
        shallow: Any = copy.copy(optimized)
        shallow.label = "its own"
        assert not hasattr(model, "label") and shallow.first is model.first
        same(shallow, model, x)


def test_attributes_are_the_models() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.factor = nn.Conv2d(3, 4, 3), 2.0

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) * self.factor

    model = Scaled().eval()
    optimized: Any = genfuse.optimize(model)
    x = torch.randn(1, 3, 6, 6)
    with torch.no_grad():
        for holder, factor in ((optimized, 5.0), (model, 0.5)):
            assert torch.allclose(optimized(x), model(x), atol=1e-5)
            holder.factor = factor
            assert optimized.factor == model.factor == factor
        assert torch.allclose(optimized(x), model(x), atol=1e-5)
        assert genfuse.optimize(optimized).conv is model.conv
    model.train()
    assert optimized.training
    optimized.eval()
    assert not model.training and not model.conv.training
    assert isinstance(optimized, Scaled) and type(optimized).__name__ == "Scaled"


@torch.no_grad()
def test_parametrized_layers() -> None:
    for wrapped in (
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
        nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)), nn.ReLU()),
    ):
        optimized: Any = genfuse.optimize(wrapped.eval())
        for _ in range(4):
            x = torch.randn(2, 3, 6, 6)
            assert torch.allclose(optimized(x), wrapped(x), atol=1e-5)
            for parameter in wrapped.parameters():
                parameter.data.mul_(1.5)


@torch.no_grad()
def test_of_another_dtype_later() -> None:
    model = net()
    optimized, x = genfuse.optimize(model), torch.randn(2, 3, 6, 6)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float32):
        optimized.to(dtype)
        got, want = optimized(x.to(dtype)).sample, model(x.to(dtype)).sample
        assert got.dtype == dtype and torch.allclose(
            got, want, atol=0.05 if dtype == torch.bfloat16 else 1e-5
        )


@torch.no_grad()
def test_autocast() -> None:
    model = net()
    optimized, x = genfuse.optimize(model), torch.randn(2, 3, 6, 6)
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got, want = optimized(x), model(x)
        assert got.sample.dtype == want.sample.dtype and torch.allclose(got.sample, want.sample, atol=0.05)
        same(model, optimized, x)


def test_dropout_draws_what_the_model_draws() -> None:
    model = net(dropout=0.5).train()
    twin = copy.deepcopy(model)
    optimized, x = genfuse.optimize(twin), torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        for seed in (1, 1, 2):
            results = []
            for one in (model, optimized):
                torch.manual_seed(seed)
                results.append([one(x).sample, one(x).sample])
            for got, want in zip(*results, strict=True):
                assert torch.allclose(got, want, atol=1e-5)
            assert not torch.allclose(*results[0])


class Edits(nn.Module):
    """Works on its input, on a view of it and on values that are read again, all in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x += self.conv(x)
        x.view(-1).mul_(0.5)
        y = self.conv(F.relu(x, inplace=True))
        row = y[:, :1]
        z = F.relu(y, inplace=True)
        total = y
        total += self.other(z)
        flat = z.view(z.shape[0], -1)
        z *= 2
        return total, row, flat.sum(1), z


@torch.no_grad()
def test_edits_in_place_are_seen() -> None:
    model = Edits().eval()
    optimized = genfuse.optimize(model)
    for _ in range(3):
        x = torch.randn(2, 4, 6, 6)
        theirs, ours = x.clone(), x.clone()
        for want, got in zip(model(theirs), optimized(ours), strict=True):
            assert torch.allclose(got, want, atol=1e-5)
        assert torch.allclose(ours, theirs, atol=1e-5) and not torch.equal(x, theirs)


@torch.no_grad()
def test_what_happens_once_happens_once() -> None:
    """A network that cannot be planned has run once, not once for the plan and once more."""

    class Counts(nn.Module):
        seen: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(4)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            room = torch.zeros(4)
            y = self.norm(x)
            room[:] = y.mean((0, 2, 3))
            return y + room.view(1, 4, 1, 1) + torch.rand(4, 1, 1)

    model = Counts().train()
    twin = copy.deepcopy(model)
    optimized: Any = genfuse.optimize(twin)
    x = torch.randn(2, 4, 5, 5) + 3
    torch.manual_seed(1)
    want = [model(x) for _ in range(3)]
    torch.manual_seed(1)
    for each in want:
        assert torch.allclose(optimized(x), each, atol=1e-5)
    assert optimized.report().plans[0].obstacle is not None and "without a plan" in str(optimized.report())
    for buffer, other in zip(model.buffers(), twin.buffers(), strict=True):
        assert torch.allclose(buffer, other)
