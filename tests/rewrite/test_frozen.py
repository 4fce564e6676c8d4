"""`freeze()`: calls of an optimised model that go straight to their plan, past Dynamo's guards."""

from __future__ import annotations

import copy
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import genfuse


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)


class Record(nn.Module):
    """Returns more than a tensor, and takes numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.calls = 0

    def forward(self, x: Tensor, power: int = 1, *, twice: bool = False) -> dict[str, Any]:
        y = F.relu(self.norm(self.conv(x)))
        return {"y": y * 2 if twice else y, "again": [y, None], "power": power}


def frozen(model: nn.Module) -> Any:
    optimized: Any = genfuse.optimize(model)
    optimized.freeze()
    return optimized


def test_a_frozen_model_goes_straight_to_its_plan() -> None:
    model = Record().eval()
    optimized = frozen(model)
    with torch.no_grad():
        for size in (6, 9, 6):
            for twice in (False, True, False):
                x = torch.randn(2, 8, size, size)
                want, got = model(x, 3, twice=twice), optimized(x, 3, twice=twice)
                assert torch.allclose(got["y"], want["y"], atol=1e-5)
                assert torch.allclose(got["again"][0], want["again"][0], atol=1e-5)
                assert got["again"][1] is None and got["power"] == 3
        assert optimized.report().guards_kept is None
        first = optimized(x)["y"]
        kept = first.clone()
        optimized(torch.randn_like(x))
        assert torch.equal(first, kept)  # results are the caller's own
        graphs = len(optimized.report().graphs)
        model.conv.stride = (2, 2)  # not looked at any more
        assert optimized(x)["y"].shape == first.shape and len(optimized.report().graphs) == graphs
        optimized.freeze(False)
        assert optimized(x)["y"].shape == (2, 8, 3, 3)
        optimized.freeze()
        optimized.refresh()
        assert optimized(x)["y"].shape == (2, 8, 3, 3)


def test_a_frozen_model_in_another_mode() -> None:
    model = Record().eval()
    optimized = frozen(model)
    x = torch.randn(4, 8, 6, 6) + 3
    with torch.no_grad():
        inference = optimized(x)["y"]
        model.train()
        assert torch.allclose(optimized(x)["y"], copy.deepcopy(model)(x)["y"], atol=1e-4)
        model.eval()
    y = optimized(x)["y"]
    y.sum().backward()
    assert y.requires_grad and model.conv.weight.grad is not None
    assert inference.shape == y.shape


def test_frozen_calls_in_two_threads() -> None:
    model = Record().eval()
    optimized = frozen(model)
    inputs = [torch.randn(2, 8, 16, 16) for _ in range(8)]
    with torch.no_grad():
        want = [model(x)["y"] for x in inputs]
        optimized(inputs[0])

    def run(x: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return [optimized(x)["y"] for _ in range(20)]

    with ThreadPoolExecutor(2) as pool:
        for ys, expected in zip(pool.map(run, inputs), want, strict=True):
            assert all(torch.allclose(y, expected, atol=1e-5) for y in ys)


class Looks(nn.Module):
    """Its result depends on values that no graph has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, float]:
        y = F.relu(self.conv(x))
        return y, y.sum().item()


class Holds(Looks):
    """Reads a tensor that the model does not own."""

    other: Tensor

    def forward(self, x: Tensor) -> tuple[Tensor, float]:
        return F.relu(self.conv(x)) + self.other, 1.0


@torch.no_grad()
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_frozen_calls_with_sparse_arguments(layout: torch.layout) -> None:
    class Mixes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3)

        def forward(self, x: Tensor, mix: Tensor) -> Tensor:
            return torch.sparse.mm(mix, self.conv(x).flatten(1))

    model = Mixes().eval()
    optimized = frozen(model)
    for _ in range(3):
        x, mix = torch.randn(4, 8, 6, 6), torch.randn(2, 4).relu().to_sparse(layout=layout)
        torch.testing.assert_close(optimized(x, mix), model(x, mix), rtol=1e-4, atol=1e-5)


def test_frozen_calls_that_need_the_guards() -> None:
    x, also = torch.randn(1, 8, 6, 6), torch.randn(1, 8, 6, 6)
    looks = Looks().eval()
    holds = Holds().eval()
    object.__setattr__(holds, "other", torch.randn(1, 8, 6, 6))
    for model in (looks, holds):
        optimized = frozen(model)
        with torch.no_grad():
            for given in (x, also, x):
                (y, number), (want, expected) = optimized(given), model(given)
                assert torch.allclose(y, want, atol=1e-5) and math.isclose(number, expected, rel_tol=1e-3)
        assert optimized.report().guards_kept and "guards" in str(optimized.report())
