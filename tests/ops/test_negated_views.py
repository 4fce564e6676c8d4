"""Views that PyTorch negates when they are read: their memory holds the values' negatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from genfuse import ops
from genfuse.samplers import Sampler
from ops.step_rows import LEARNED, THRESHOLD, inputs, table


def negated(values: Tensor) -> Tensor:
    """Equal to `values`, dense, over memory of the opposite sign."""
    view: Tensor = torch._neg_view(-values)
    assert view.is_neg() and view.is_contiguous()
    return view


def image(*shape: int) -> Tensor:
    return torch.randn(shape)


CALLS: dict[str, tuple[Callable[..., Any], dict[str, Tensor], dict[str, Any]]] = {
    "linear": (
        ops.linear,
        {"x": image(3, 8), "weight": image(5, 8), "bias": image(5), "residual": image(3, 5)},
        {},
    ),
    "attention": (ops.attention, {"q": image(2, 2, 5, 8), "k": image(2, 2, 6, 8), "v": image(2, 2, 6, 8)}, {}),
    "norm_stats": (ops.norm_stats, {"x": image(2, 8, 5, 6)}, {}),
    "norm_act": (
        ops.norm_act,
        {"x": image(2, 8, 5, 6), "norm_weight": image(8), "norm_bias": image(8), "residual": image(2, 8, 5, 6)},
        {"norm": "group", "num_groups": 4, "activation": "silu"},
    ),
    "conv_norm_act": (
        ops.conv_norm_act,
        {
            "x": image(2, 8, 6, 6), "weight": image(8, 8, 3, 3), "bias": image(8), "shift": image(2, 8),
            "norm_weight": image(8), "norm_bias": image(8), "residual": image(2, 8, 6, 6),
        },
        {"padding": 1, "norm": "group", "num_groups": 4, "activation": "silu"},
    ),
    "leaky_relu_tangent": (
        lambda tangent: ops.leaky_relu_tangent(tangent, torch.arange(48).reshape(6, 8) % 3 == 0),
        {"tangent": image(6, 8)},
        {},
    ),
    "bias_act": (
        ops.bias_act,
        {"x": image(2, 4, 3), "bias": image(4), "scale": image(2, 4), "noise": image(2, 1, 3)},
        {"activation": "silu"},
    ),
    "norm_direction": (ops.norm_direction, {"x": image(3, 8)}, {}),
    "norm_tangent": (ops.norm_tangent, {"x": image(6, 8), "tangent": image(6, 8), "weight": image(2, 4)}, {}),
    "philox_lerp": (ops.philox_lerp, {"start": image(3, 8), "end": image(3, 8)}, {"seed": 5}),
    "timestep_embedding": (lambda t: ops.timestep_embedding(t, 8), {"t": image(4).abs()}, {}),
    "sampler_step": (
        ops.sampler_step,
        {name: value for name, value in inputs((3, 2, 5), torch.float32).items() if value is not None},
        {"table": table(), "index": LEARNED},
    ),
    "sampler_reduce": (
        ops.sampler_reduce,
        {name: inputs((3, 2, 5), torch.float32)[name] for name in ("x", "model_output", "uncond")},
        {"table": table(), "index": THRESHOLD},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("op", "argument"), [(op, name) for op, (_, tensors, _) in CALLS.items() for name in tensors]
)
@torch.no_grad()
def test_every_op_reads_their_values(op: str, argument: str) -> None:
    function, tensors, options = CALLS[op]
    expected = function(**tensors, **options)
    got = function(**{**tensors, argument: negated(tensors[argument])}, **options)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["out", "stored", "history"])
def test_none_is_written_to(name: str) -> None:
    made = inputs((3, 2, 5), torch.float32)
    made |= {"out": torch.zeros(3, 2, 5), "stored": torch.zeros(3, 2, 5) if name == "stored" else None}
    made[name] = negated(made[name])
    with pytest.raises(ValueError, match=f"{name} is a negated view"):
        ops.sampler_step_(table=table(), index=LEARNED, **made)


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m"])
def test_a_sampler_steps_along_them(name: str) -> None:
    plain, other = Sampler(name, 4, seeds=0), Sampler(name, 4, seeds=0)
    x = y = plain.start((2, 3, 4, 4))
    imaginary = torch.randn(2, 3, 4, 4, dtype=torch.complex64).conj().imag
    assert imaginary.is_neg()
    for i in range(4):
        x = plain.step(imaginary.resolve_neg().contiguous(), i, x)
        y = other.step(imaginary if i % 2 else negated(imaginary), i, negated(y))
        assert torch.equal(y, x)
