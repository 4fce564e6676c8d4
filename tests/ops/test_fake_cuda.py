"""Every op on a GPU that is not there: tensors without values, through `torch.compile(fullgraph=True)`.

So no op looks at values or leaves the graph on its way to a CUDA kernel. `torch.library.opcheck` is each op's own test,
on the CPU, with gradients: PyTorch without CUDA has none for tensors that say they are on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._pytree import tree_leaves

from genfuse import dispatch, ops

Make = Callable[..., Tensor]


def _steps(make: Make) -> tuple[Tensor, ...]:
    x = make(2, 3, 8, 8)
    return x, make(2, 3, 8, 8), make(4, 32, dtype=torch.float32)


def _unit(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y = ops.conv_norm_act(x, weight, bias, padding=1, norm="group", num_groups=4, activation="silu")
    assert isinstance(y, Tensor)
    return y


CALLS: dict[str, tuple[Callable[..., Any], Callable[[Make], tuple[Any, ...]]]] = {
    "attention": (ops.attention, lambda make: tuple(make(2, 4, 16, 8) for _ in range(3))),
    "bias_act": (
        lambda x, bias: ops.bias_act(x, bias, activation="leaky_relu"),
        lambda make: (make(2, 3, 8, 8), make(3)),
    ),
    "clip_grad_norm": (
        lambda *gradients: ops.clip_grad_norm(gradients, 1.0, are_gradients=True),
        lambda make: (make(3, 4), make(5)),
    ),
    "clip_weights": (
        lambda *parameters: ops.clip_weights(parameters, 0.01),
        lambda make: (make(3, 4), make(5)),
    ),
    "conv_norm_act": (_unit, lambda make: (make(2, 16, 8, 8), make(24, 16, 3, 3), make(24))),
    "ema_update": (
        lambda a, b, p, q: ops.ema_update([a, b], [p, q], 0.999),
        lambda make: (make(3), make(4), make(3), make(4)),
    ),
    "leaky_relu_tangent": (
        ops.leaky_relu_tangent,
        lambda make: (make(2, 3, 8, 8), make(2, 3, 8, 8, dtype=torch.bool)),
    ),
    "linear": (ops.linear, lambda make: (make(5, 16), make(8, 16), make(8))),
    "norm_act": (
        lambda x: ops.norm_act(x, norm="group", num_groups=4, activation="silu"),
        lambda make: (make(2, 16, 8, 8),),
    ),
    "norm_direction": (ops.norm_direction, lambda make: (make(2, 3, 8, 8),)),
    "norm_stats": (ops.norm_stats, lambda make: (make(2, 3, 8, 8),)),
    "philox_lerp": (
        lambda start, end: ops.philox_lerp(start, end, 5),
        lambda make: (make(2, 3, 8, 8), make(2, 3, 8, 8)),
    ),
    "philox_normal": (
        lambda seeds: ops.philox_normal(seeds, (2, 3, 8, 8)),
        lambda make: (make(2, dtype=torch.int64),),
    ),
    "sampler_reduce": (lambda x, m, table: ops.sampler_reduce(x, m, table, 1), _steps),
    "sampler_step": (lambda x, m, table: ops.sampler_step(x, m, table, 1), _steps),
    "timestep_embedding": (lambda t: ops.timestep_embedding(t, 16), lambda make: (make(4),)),
    "upfirdn2d": (
        lambda x, f: ops.upfirdn2d(x, f, up=2, padding=1),
        lambda make: (make(2, 3, 8, 8), make(4, dtype=torch.float32)),
    ),
}
"""An op, and what it is called with."""

ELSEWHERE = {"norm_tangent", "spectral_norm"}
"""Called by penalties and parametrisations alone, whose tests compile them."""


def fake(*shape: int, dtype: torch.dtype = torch.float16) -> Tensor:
    return torch.empty(shape, device="cuda", dtype=dtype)


def described(made: Any) -> list[tuple[Any, ...]]:
    return [(tuple(t.shape), t.dtype, t.device.type) for t in tree_leaves(made) if isinstance(t, Tensor)]


def test_every_op_is_called() -> None:
    assert set(CALLS) | ELSEWHERE == set(dispatch.OPS)


@pytest.mark.parametrize("op", CALLS)
def test_an_op_is_one_graph_for_a_gpu(op: str) -> None:
    call, arguments = CALLS[op]
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: object) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    with FakeTensorMode(), torch.no_grad():
        given = arguments(fake)
        eager = described(call(*given))
        compiled = described(torch.compile(call, fullgraph=True, backend=keep)(*given))
    assert compiled == eager and all(device == "cuda" for *_, device in eager)
    (graph,) = graphs
    called = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    assert any(name.startswith(f"genfuse.{op}") for name in called), called
