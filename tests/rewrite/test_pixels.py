"""Linear layers on an image's pixels: 1x1 units where that is the same, linear layers everywhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import genfuse
from genfuse import env

pytestmark = pytest.mark.skipif(
    env.backend_missing("cpu") is not None, reason="the compiled extension is not built here"
)


class Pixels(nn.Module):
    """Some linear layers around the tokens of an image of 8 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.group = nn.GroupNorm(2, 8)
        self.instance = nn.InstanceNorm2d(8, affine=True)
        self.layer = nn.LayerNorm(8)
        self.a, self.b = nn.Linear(8, 6), nn.Linear(8, 10)
        self.plain, self.back = nn.Linear(8, 4, bias=False), nn.Linear(6, 8)
        self.activation = nn.SiLU()


def tokens_of(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def image_of(tokens: Tensor, like: Tensor) -> Tensor:
    return tokens.transpose(1, 2).reshape(like.shape[0], -1, *like.shape[2:])


class Joined(Pixels):
    def forward(self, x: Tensor) -> Any:
        tokens = tokens_of(self.group(x))
        return self.a(tokens), self.b(tokens)


class NormOfTokens(Pixels):
    """As diffusers' attention writes it."""

    def forward(self, x: Tensor) -> Any:
        tokens = x.view(*x.shape[:2], -1).transpose(1, 2)
        tokens = self.group(tokens.transpose(1, 2)).transpose(1, 2)
        return self.a(tokens) * 2, self.b(tokens)


class Instance(Pixels):
    def forward(self, x: Tensor) -> Any:
        return self.a(tokens_of(self.instance(x)))


class Bare(Pixels):
    def forward(self, x: Tensor) -> Any:
        return self.plain(x.reshape(*x.shape[:2], -1).permute(0, 2, 1))


class Back(Pixels):
    def forward(self, x: Tensor) -> Any:
        tokens = self.a(tokens_of(self.group(x)))
        return self.activation(image_of(self.back(F.silu(tokens)), x) + x)


class Others(Pixels):
    """Somebody else reads the tokens."""

    def forward(self, x: Tensor) -> Any:
        tokens = tokens_of(self.group(x))
        return self.a(tokens), tokens * 2


class NormIsRead(Pixels):
    def forward(self, x: Tensor) -> Any:
        h = self.group(x)
        return self.a(tokens_of(h)), h


class SomeBiases(Pixels):
    def forward(self, x: Tensor) -> Any:
        tokens = tokens_of(x)
        return self.a(tokens), self.plain(tokens)


class LayerNormed(Pixels):
    def forward(self, x: Tensor) -> Any:
        return self.a(self.layer(tokens_of(x)))


class NoImage(Pixels):
    """Columns are tokens."""

    def forward(self, x: Tensor) -> Any:
        return self.a(x[:, :, 0].transpose(1, 2))


class MadeWeight(Pixels):
    def forward(self, x: Tensor) -> Any:
        return F.linear(tokens_of(x), self.plain.weight * 2)


class Shared(Pixels):
    """One layer twice on the same tokens, and once more on others."""

    def forward(self, x: Tensor) -> Any:
        tokens = tokens_of(self.group(x))
        return self.a(tokens), self.a(tokens) + 1, self.a(tokens_of(x))


class OtherShape(Pixels):
    """Back to an image, of another height."""

    def forward(self, x: Tensor) -> Any:
        y = self.plain(tokens_of(x)).transpose(1, 2)
        return y.reshape(x.shape[0], 4, x.shape[3], x.shape[2])


def flat(outputs: Any) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


UNITS = {
    Joined: ["a, b"],
    NormOfTokens: ["a, b"],
    Instance: ["a"],
    Bare: ["plain"],
    Back: ["a", "back"],
    Others: [],
    NormIsRead: ["a"],
    SomeBiases: [],
    LayerNormed: [],
    NoImage: [],
    MadeWeight: [],
    Shared: ["a, a", "a"],
    OtherShape: ["plain"],
}


@pytest.mark.parametrize("kind", UNITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_results_are_the_models(kind: type[Pixels], dtype: torch.dtype) -> None:
    model = kind().eval().to(dtype)
    optimized: Any = genfuse.optimize(model)
    error = 3e-2 if dtype == torch.bfloat16 else 1e-5
    with torch.no_grad():
        for batch in (2, 2, 1, 2):
            x = torch.randn(batch, 8, 6, 4).to(dtype)
            for laid in (x, x.contiguous(memory_format=torch.channels_last)):
                for got, want in zip(flat(optimized(laid)), flat(model(laid)), strict=True):
                    assert got.shape == want.shape and got.dtype == want.dtype
                    assert torch.allclose(got, want, atol=error, rtol=error)
        model.a.weight.mul_(2)
        model.plain.weight.data.mul_(2)
        model.back.load_state_dict({"weight": torch.randn(8, 6), "bias": torch.randn(8)})
        for got, want in zip(flat(optimized(x)), flat(model(x)), strict=True):
            assert torch.allclose(got, want, atol=error, rtol=error)
    if dtype == torch.float32:
        assert [unit.name for unit in optimized.report().graphs[0].fused] == UNITS[kind]
    if dtype != torch.bfloat16:
        x.requires_grad_()
        for got, want in zip(flat(optimized(x)), flat(model(x)), strict=True):
            both = (torch.autograd.grad(y.sum(), x, retain_graph=True)[0] for y in (got, want))
            assert torch.allclose(*both, atol=1e-4)


def test_statistics_and_residuals_pass_through_attention() -> None:
    """A block's output unit adds its residual; the norm behind takes the statistics from there."""
    pytest.importorskip("diffusers")
    from diffusers.models.attention_processor import Attention

    attention = Attention(16, heads=2, dim_head=8, norm_num_groups=4, residual_connection=True, bias=True)
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), attention, nn.GroupNorm(4, 16), nn.Conv2d(16, 3, 1))
    model.eval()
    optimized: Any = genfuse.optimize(model)
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        for _ in range(2):
            assert torch.allclose(optimized(x), model(x), atol=1e-5)
    (graph,) = optimized.report().graphs
    assert [unit.steps for unit in graph.fused] == [
        ("convolution",),
        ("group norm", "convolution"),
        ("convolution", "residual"),
        ("group norm", "convolution"),
    ]
    assert (graph.linears, graph.norms, graph.attentions) == (0, 0, 1)
    (plan,) = graph.plan._plans.values()
    assert all(isinstance(step, tuple) for step in plan.steps)
