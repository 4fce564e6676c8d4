"""A scheduler beside diffusers' class, with float64 also where diffusers' step casts to float32 by name."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

SHAPE = (2, 3, 4, 4)
_TENSORS = ("sigmas", "alphas_cumprod", "alphas", "betas", "final_alpha_cumprod")


def pseudo_model(x: Tensor, t: float) -> Tensor:
    """A smooth bounded function of sample and time, different at every element."""
    phase = torch.arange(x[0].numel(), dtype=x.dtype).reshape(x.shape[1:])
    return torch.tanh(0.8 * x + 0.5 * torch.sin(phase + 0.003 * t))


class _Float64Torch:
    """The torch module with float64 where a scheduler's step says float32."""

    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextlib.contextmanager
def float64_inside(peer: Any, drawn: torch.dtype | None = None) -> Iterator[None]:
    """diffusers' own arithmetic in float64, from the very schedule that it rounded to float32.

    drawn   the dtype that it draws noise in as it stands, where that is float32 by name: another sequence
    """
    for name in _TENSORS:
        if isinstance(getattr(peer, name, None), Tensor):
            setattr(peer, name, getattr(peer, name).double())
    module: Any = sys.modules[type(peer).__module__]
    module.torch, randn_tensor = _Float64Torch(), getattr(module, "randn_tensor", None)
    if drawn is not None:
        module.randn_tensor = lambda *args, dtype, **named: randn_tensor(*args, dtype=drawn, **named).to(
            dtype
        )
    try:
        yield
    finally:
        module.torch = torch
        if drawn is not None:
            module.randn_tensor = randn_tensor


def trajectory(scheduler: Any, begin: int, dtype: torch.dtype, seed: int | None, **step: Any) -> list[Tensor]:
    """The samples after each step, on the scheduler's own timesteps from `begin` on."""
    if seed is not None:
        step = {**step, "generator": torch.Generator().manual_seed(seed)}
    if begin:
        scheduler.set_begin_index(begin)
    x = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(7)).to(dtype)
    x = x * scheduler.init_noise_sigma if hasattr(scheduler, "init_noise_sigma") else x
    samples = []
    for t in scheduler.timesteps[begin:]:
        seen = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(pseudo_model(seen, float(t)), t, x, **step)[0]
        samples.append(x)
    return samples


def difference(
    ours: Any,
    peer: Any,
    *nodes: Any,
    begin: int = 0,
    seed: int | None = None,
    dtype: torch.dtype = torch.float64,
    exact: bool = True,
    drawn: torch.dtype | None = None,
    step: dict[str, Any] | None = None,
    **named_nodes: Any,
) -> float:
    """Largest relative difference of two trajectories, as a share of the peer's largest element at that step.

    exact: diffusers computes in float64 from its float32 schedule; else as it stands. drawn: `float64_inside`.
    """
    ours.set_timesteps(*nodes, **named_nodes)
    peer.set_timesteps(*nodes, **named_nodes)
    assert ours.timesteps.dtype == peer.timesteps.dtype
    assert torch.equal(ours.timesteps, peer.timesteps), (ours.timesteps, peer.timesteps)
    if hasattr(peer, "sigmas") and hasattr(ours, "sigmas"):
        torch.testing.assert_close(ours.sigmas, peer.sigmas.float(), rtol=3e-7, atol=0.0)
    with float64_inside(peer, drawn) if exact else contextlib.nullcontext():
        expected = trajectory(peer, begin, dtype, seed, **(step or {}))
    got = trajectory(ours, begin, dtype, seed, **(step or {}))
    assert len(got) == len(expected) == len(peer.timesteps) - begin
    errors = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(got, expected, strict=True)]
    assert all(error == error for error in errors), "a trajectory is not finite"
    return max(errors)
