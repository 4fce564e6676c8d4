"""Tensors on the CPU give results on the CPU, whatever device new tensors go to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse import ops, schedulers

X, W = torch.randn(2, 16, 8, 8), torch.randn(16, 16, 3, 3)
PARAMETERS = torch.rand(16), torch.rand(16)
HALF = X.bfloat16()
LARGE = torch.randn(4, 16, 128, 128)
TOKENS = torch.randn(2, 4, 9, 8)

CALLS: dict[str, Callable[[], Tensor]] = {
    "conv_norm_act": lambda: ops.conv_norm_act(X, W, padding=1),
    "its residual's projection": lambda: ops.conv_norm_act(
        X, W, padding=1, residual=X, residual_weight=W[:, :, :1, :1]
    ),
    "half precision": lambda: ops.conv_norm_act(
        HALF,
        W.bfloat16(),
        padding=1,
        norm="group",
        num_groups=4,
        norm_weight=PARAMETERS[0].bfloat16(),
        norm_bias=PARAMETERS[1].bfloat16(),
    ),
    "dropout": lambda: ops.conv_norm_act(X, W, dropout=0.5, seeds=torch.tensor([1, 2], device="cpu")),
    "norm_act": lambda: ops.norm_act(X, norm="instance", activation="silu"),
    "a large result": lambda: ops.norm_act(LARGE, activation="relu"),
    "a large result in channels last": lambda: ops.norm_act(
        LARGE.to(memory_format=torch.channels_last), activation="relu"
    ),
    "norm_stats": lambda: ops.norm_stats(X),
    "leaky_relu_tangent": lambda: ops.leaky_relu_tangent(X, X > 0),
    "norm_direction": lambda: ops.norm_direction(X)[1],
    "norm_tangent": lambda: ops.norm_tangent(X.flatten(1), X.flatten(1)),
    "bias_act": lambda: ops.bias_act(X, torch.ones(X.shape[1], device="cpu")),
    "linear": lambda: ops.linear(X, torch.ones(5, 8, device="cpu")),
    "attention": lambda: ops.attention(TOKENS, TOKENS, TOKENS),
    "spectral_norm": lambda: ops.spectral_norm(
        [W.clone()], [W[:, 0, 0, 0].clone()], [W[0].flatten().clone()]
    )[0][0],
    "timestep_embedding": lambda: ops.timestep_embedding(torch.ones(3, device="cpu"), 8),
    "upfirdn2d": lambda: ops.upfirdn2d(X, torch.ones(3, device="cpu"), up=2, padding=1),
    "upfirdn2d without a filter": lambda: ops.upfirdn2d(X, None, down=2),
    "philox_lerp": lambda: ops.philox_lerp(X, X, 5),
    "philox_normal": lambda: ops.philox_normal(torch.tensor([1, 2], device="cpu"), (2, 3)),
    "clip_grad_norm": lambda: ops.clip_grad_norm([X.clone()], 1.0, are_gradients=True),
    "clip_grad_norm of nothing": lambda: ops.clip_grad_norm([], 1.0),
    "clip_grad_norm of float64": lambda: ops.clip_grad_norm([X.double()], 1.0, are_gradients=True),
    "sample": lambda: genfuse.sample(
        lambda x, t: 0.1 * x, (2, 3, 4, 4), sampler="ddim", steps=3, seeds=0, device="cpu"
    ),
}


@pytest.fixture(params=["block", "set"])
def elsewhere(request: pytest.FixtureRequest) -> Iterator[None]:
    """New tensors go to a device that holds none."""
    if request.param == "block":
        with torch.device("meta"):
            yield
    else:
        torch.set_default_device("meta")
        yield
        torch.set_default_device(None)


@pytest.mark.parametrize("call", CALLS)
def test_an_op_keeps_to_its_tensors_device(call: str, elsewhere: None) -> None:
    got = CALLS[call]()
    torch.set_default_device(None)
    with torch.device("cpu"):
        assert got.device.type == "cpu"
        assert torch.equal(got, CALLS[call]())


def test_an_optimized_network_does_too(elsewhere: None) -> None:
    with torch.device("cpu"):
        network = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 3, 3)
        )
    fast = genfuse.optimize(network.eval())
    with torch.no_grad():
        first, second = fast(X), fast(X)
        want = network(X)
    with torch.device("cpu"):
        assert torch.equal(first, second)
        assert (first - want).abs().max() < 1e-5


SCHEDULERS = [name for name in schedulers.__all__ if name.endswith("Scheduler")]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_does_too(name: str, elsewhere: None) -> None:
    try:
        scheduler = getattr(schedulers, name)()
    except ValueError:
        pytest.skip("its defaults ask for a choice")
    scheduler.set_timesteps(4)
    x = X
    for t in scheduler.timesteps:
        x = scheduler.step(0.1 * scheduler.scale_model_input(x, t), t, x).prev_sample
    assert x.device.type == "cpu" and bool(x.isfinite().all())
