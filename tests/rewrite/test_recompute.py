"""`optimize(memory="low")`: the same bits, less memory, and errors where the default has them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint

import genfuse
from genfuse.nn import ResBlock
from genfuse.ops.conv_norm_act import Settings, conv_norm_act, unit
from genfuse.ops.recompute import recipe_of
from genfuse_bench.training import Step
from rewrite.models import DCGANDiscriminator, cyclegan_generator


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> None:
    torch._dynamo.reset()


def low(module: nn.Module) -> Any:
    return genfuse.optimize(module, memory="low")


class Block(nn.Module):
    """Norm, activation and convolution; a residual where the sizes allow it."""

    def __init__(self, rng: np.random.Generator, channels: int, outputs: int) -> None:
        super().__init__()
        self.norm = (nn.BatchNorm2d(channels), nn.GroupNorm(2, channels), nn.Identity())[rng.integers(3)]
        self.activation = (nn.SiLU(), nn.LeakyReLU(0.2), nn.Identity())[rng.integers(3)]
        stride, bias = int(rng.integers(1, 3)), bool(rng.integers(2))
        self.conv = nn.Conv2d(channels, outputs, 3, stride, 1, bias=bias)
        self.adds = channels == outputs and stride == 1 and bool(rng.integers(2))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.activation(self.norm(x)))
        return y + x if self.adds else y


def chain(seed: int) -> nn.Module:
    rng = np.random.default_rng([7, seed])
    torch.manual_seed(seed)
    widths = rng.choice([4, 6, 16], 6)
    return nn.Sequential(*(Block(rng, int(c), int(k)) for c, k in pairwise(widths)))


class Dropping(nn.Module):
    """Units of the op with dropout by seeds."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.randn(8, 8, 3, 3) / 9 for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        seeds = torch.arange(len(x))
        for stream, weight in enumerate(self.weights):
            x = conv_norm_act(x, weight, padding=1, dropout=0.3, seeds=seeds, dropout_stream=stream)  # type: ignore[assignment]
        return x


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    **{f"chain {seed}": (lambda seed=seed: chain(seed), (3, -1, 13, 10)) for seed in range(4)},  # type: ignore[misc]
    "critic": (DCGANDiscriminator, (4, 3, 64, 64)),
    "cyclegan": (cyclegan_generator, (1, 3, 24, 20)),
    "own": (lambda: nn.Sequential(*(ResBlock(8, 8, num_groups=2) for _ in "ab")), (2, 8, 9, 8)),
    "dropout": (Dropping, (2, 8, 7, 6)),
    "frozen": (lambda: frozen(chain(4)), (2, -1, 12, 8)),
    "eval": (lambda: chain(5).eval(), (2, -1, 12, 8)),
}


def frozen(module: nn.Module) -> nn.Module:
    for number, parameter in enumerate(module.parameters()):
        parameter.requires_grad_(number % 3 > 0)
    return module


def made(name: str) -> tuple[nn.Module, Tensor]:
    make, shape = MODELS[name]
    module = make()
    for parameter in module.parameters():  # zero where residual blocks begin
        nn.init.normal_(parameter, std=0.2) if parameter.ndim > 1 else None
    channels = (
        next(m.conv.in_channels for m in module.modules() if isinstance(m, Block)) if -1 in shape else 0
    )
    return module, torch.randn([channels if size < 0 else size for size in shape], requires_grad=True)


def gradients(call: Any, module: nn.Module, x: Tensor, second: bool = False) -> list[Tensor | None]:
    wanted = [x, *(p for p in module.parameters() if p.requires_grad)]
    for tensor in wanted:
        tensor.grad = None
    y = call(x)
    if second:
        (y,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    y.square().sum().backward()
    return [tensor.grad for tensor in wanted]


def same(got: list[Tensor | None], want: list[Tensor | None]) -> None:
    assert len(got) == len(want) > 1
    for a, b in zip(got, want, strict=True):
        assert a is b is None or (a is not None and b is not None and torch.equal(a, b))


@pytest.mark.parametrize("name", MODELS)
def test_the_same_bits_in_less_memory(name: str) -> None:
    module, x = made(name)
    twin, other = copy.deepcopy(module), copy.deepcopy(module)
    plain, saving = genfuse.optimize(twin), low(other)
    second = name in ("chain 0", "own", "dropout")
    same(gradients(saving, other, x, second), gradients(plain, twin, x, second))
    for ours, buffer in zip(other.buffers(), twin.buffers(), strict=True):
        assert torch.equal(ours, buffer)
    graph = saving.report().graphs[-1]
    kept, most = (Step(m, call, (x,), x).activation_bytes() for m, call in ((other, saving), (twin, plain)))
    fewer = kept < most
    assert fewer == bool(graph.recomputed) and (fewer or name.startswith("chain"))
    if graph.recomputed:
        assert "compute it again" in str(saving.report())
    assert not plain.report().graphs[-1].kept  # type: ignore[operator]


def two_units() -> tuple[nn.Sequential, Any, Tensor]:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 8, 3))
    return module, low(module), torch.randn(2, 3, 9, 9, requires_grad=True)


def test_every_second_input_is_kept() -> None:
    module = nn.Sequential(*(layer for _ in range(6) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())))
    optimized = low(module)
    optimized(torch.randn(1, 8, 8, 8))
    graph = optimized.report().graphs[-1]
    assert (graph.kept, graph.recomputed) == (["0", "4", "8"], ["2", "6", "10"])


def test_backward_twice_and_once_more() -> None:
    module, optimized, x = two_units()
    y = optimized(x).square().sum()
    first = torch.autograd.grad(y, [x, *module.parameters()], retain_graph=True)
    same(list(torch.autograd.grad(y, [x, *module.parameters()])), list(first))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(y, [x])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_what_was_edited_is_not_computed_with(number: int) -> None:
    """Weight, bias and input of the unit that made the input, where its own backward does not run."""
    module, optimized, x = two_units()
    given = (x * 1).to(memory_format=torch.channels_last)  # else a copy is read
    y = optimized(given).sum()
    with torch.no_grad():
        (module[0].weight, module[0].bias, given)[number].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(y, module[2].weight)


class Shared(nn.Module):
    """What one unit makes is read by two."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left, self.right = (nn.Conv2d(6, 6, 3, padding=1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        y: Tensor = self.left(F.silu(h)) * self.right(F.relu(h))
        return y


def test_what_another_keeps_is_kept() -> None:
    module = Shared()
    optimized = low(module)
    gradients(optimized, module, torch.randn(1, 6, 8, 8, requires_grad=True))
    assert not optimized.report().graphs[-1].recomputed


class Edited(nn.Module):
    """What the first unit made is edited where autograd does not look."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.randn(4, 4, 3, 3) for _ in "ab")

    def forward(self, x: Tensor) -> Tensor:
        h: Any = conv_norm_act(x, self.weights[0])
        with torch.no_grad():
            h.mul_(3)
        return conv_norm_act(h, self.weights[1], activation="silu")  # type: ignore[return-value]


def test_an_edited_input_is_kept() -> None:
    module, x = Edited(), torch.randn(1, 4, 8, 8, requires_grad=True)
    same(gradients(low(module), module, x), gradients(genfuse.optimize(module), module, x))


def test_other_hooks_on_what_is_saved() -> None:
    module, optimized, x = two_units()
    want = gradients(optimized, module, x)
    with save_on_cpu():
        same(gradients(optimized, module, x), want)
    for reentrant in (False, True):
        same(gradients(lambda x, r=reentrant: checkpoint(optimized, x, use_reentrant=r), module, x), want)  # type: ignore[misc]
    module[2].register_full_backward_hook(lambda *_: None)
    same(gradients(optimized, module, x), gradients(genfuse.optimize(module), module, x))


def test_the_input_is_gone() -> None:
    """Without other hooks, too: its memory is free once the caller drops it."""
    image, weight = torch.randn(1, 4, 8, 8), torch.randn(4, 4, 3, 3, requires_grad=True)
    for with_recipe in (False, True):
        x, _ = unit(image, weight, None, Settings(), {})
        recipe = recipe_of(x, None, None, None) if with_recipe else None
        y, _ = unit(x, weight, None, Settings(), {}, recipe=recipe)
        storage = x.untyped_storage()._weak_ref()  # type: ignore[attr-defined]
        del x
        assert torch.UntypedStorage._expired(storage) == with_recipe  # type: ignore[attr-defined]
        torch.UntypedStorage._free_weak_ref(storage)  # type: ignore[attr-defined]
        assert y.requires_grad
    assert recipe_of(image, None, None, None) is None


def test_the_option() -> None:
    module, optimized, x = two_units()
    for wrong in ("high", 1, True):
        with pytest.raises(ValueError, match=r"memory is .*, expected None or 'low'"):
            genfuse.optimize(module, memory=wrong)  # type: ignore[arg-type]
    twin = copy.deepcopy(optimized)
    compiled: Any = torch.compile(module, backend="genfuse", dynamic=False, options={"memory": "low"})
    want = gradients(optimized, module, x)
    same(gradients(compiled, module, x), want)
    twin(x)
    assert twin.report().graphs[-1].recomputed == optimized.report().graphs[-1].recomputed == ["2"]
    with torch.no_grad():
        optimized(x)
    assert not optimized.report().graphs[-1].recomputed
