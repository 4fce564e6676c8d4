"""Calls that depend on how tensors lie in memory get what they have in the model; so does the caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genfuse

READERS: dict[str, Callable[[Tensor], Any]] = {
    "as_strided": lambda t: torch.as_strided(t, (2, 16, 6, 12), (2304, 144, 24, 1)) + 0,
    "method as_strided": lambda t: t.as_strided((2, 16, 6, 12), (2304, 144, 24, 1)) + 0,
    "view_as_complex": lambda t: torch.view_as_complex(t[..., :2]).abs(),
    "view to a dtype": lambda t: t.view(torch.int32).view(torch.float32),
    "view of a named size": lambda t: t.view(size=(2, -1)),
    "view_as": lambda t: t.view_as(torch.empty(2, 16, 144)),
    "view as a function": lambda t: torch.Tensor.view(t, 2, -1),
    "stride": lambda t: t * t.stride(1),
}
OUTPUTS: dict[str, Callable[[Tensor], Any]] = {
    "unflatten": lambda t: t.unflatten(1, (2, 8)),
    "permute": lambda t: t.permute(0, 2, 3, 1),
    "one channel": lambda t: t[:, 3],
    "chunk": lambda t: t.chunk(2, 1)[1],
    "sequence": lambda t: t.flatten(2),
}


class Reading(nn.Module):
    def __init__(self, read: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.read = nn.Conv2d(16, 16, 3, padding=1), read

    def forward(self, x: Tensor) -> Any:
        return self.read(self.conv(x))


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("name", [*READERS, *OUTPUTS])
def test_strides_are_the_models(name: str, gradients: bool) -> None:
    model = Reading({**READERS, **OUTPUTS}[name])
    optimized = genfuse.optimize(model)
    x = torch.randn(2, 16, 12, 12)
    with torch.set_grad_enabled(gradients):
        want = model(x)
        for _ in range(2):
            got = optimized(x)
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-3 if name == "stride" else 1e-5)
            # in inference results have memory of their own, of which a part of a tensor leaves no gaps
            whole = want.untyped_storage().nbytes() == want.numel() * want.element_size()
            assert got.stride() == want.stride() or not (gradients or whole)
    if want.requires_grad:
        expected = torch.autograd.grad(want.square().sum(), model.conv.weight)[0]
        gradient = torch.autograd.grad(got.square().sum(), model.conv.weight)[0]
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-3 * float(expected.abs().max()))


GAPS: dict[str, Callable[[], Tensor]] = {
    "rows": lambda: torch.randn(4, 3, 8, 8)[::2],
    "channels": lambda: torch.randn(2, 6, 8, 8)[:, 1:4],
    "columns": lambda: torch.randn(2, 3, 8, 8)[..., ::2],
    "large": lambda: torch.randn(8, 3, 64, 64)[::4],
    "offset": lambda: torch.randn(4, 3, 8, 8)[2:],
}


@torch.no_grad()
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", GAPS)
def test_memory_around_an_argument(name: str, frozen: bool) -> None:
    class Strided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            part = x[:, :, 1:].as_strided((2, 3, 4, 4), x.stride(), 3)
            return part + torch.as_strided(x, (2, 3, 4, 4), x.stride()) + self.conv(x).mean()

    torch._dynamo.reset()
    model = Strided()
    optimized: Any = genfuse.optimize(model)
    optimized.freeze(frozen)
    for _ in range(3):
        x = GAPS[name]()
        torch.testing.assert_close(optimized(x), model(x), rtol=1e-5, atol=1e-5)
    assert "memory around an argument is read" in str(optimized.report())


NORMS: dict[str, Callable[[], nn.Module]] = {
    "running statistics": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True, track_running_stats=True), nn.Tanh()
    ),
    "volumes": lambda: nn.Sequential(nn.Conv3d(3, 4, 3), nn.InstanceNorm3d(4, affine=True), nn.Tanh()),
    "group norm of volumes": lambda: nn.Sequential(nn.GroupNorm(3, 3), nn.Conv3d(3, 4, 3), nn.Tanh()),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_of_one_channels_last_picture(name: str) -> None:
    """That are left to PyTorch, whose own gradient is wrong there, or a crash (2.13)."""
    torch.manual_seed(2)
    exact, model = (NORMS[name]().double() for _ in range(2))
    model.load_state_dict(exact.state_dict())
    volumes = name.endswith("volumes")
    form: Any = torch.channels_last_3d if volumes else torch.channels_last
    x = torch.randn(1, 3, *((5,) if volumes else ()), 8, 8).double()
    want = exact(x)
    gradient = torch.randn_like(want)
    wanted = torch.autograd.grad(want, list(exact.parameters()), gradient)
    y = genfuse.optimize(model.to(memory_format=form))(x.to(memory_format=form))
    found = torch.autograd.grad(y, list(model.parameters()), gradient.to(memory_format=form))
    largest = max(float(each.abs().max()) for each in wanted)
    assert all((a - b).abs().max() <= 1e-12 * largest for a, b in zip(found, wanted, strict=True))
    for a, b in zip(model.buffers(), exact.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)
