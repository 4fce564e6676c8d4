"""Every op and every argument: what is no dense tensor, no finite number or no size is named before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse import ops
from genfuse_kernels.sampler_step.row import ROW

X = torch.randn(2, 4, 6, 6)
OF_CHANNEL, OF_SAMPLE, SEEDS = torch.ones(4), torch.ones(2, 4), torch.arange(2)
NORM: dict[str, Any] = {
    "norm": "batch",
    "norm_weight": OF_CHANNEL,
    "norm_bias": OF_CHANNEL,
    "running_mean": OF_CHANNEL,
    "running_var": OF_CHANNEL,
    "stats": torch.ones(2, 4, 2),
    "film_scale": OF_SAMPLE,
    "film_shift": OF_SAMPLE,
    "dropout": 0.5,
    "seeds": SEEDS,
}
CONV: dict[str, Any] = {"x": X, "weight": torch.randn(4, 4, 3, 3), "padding": 1}
STEP: dict[str, Any] = {
    **dict.fromkeys(("x", "model_output", "uncond", "variance", "noise", "noise_prev"), X),
    "table": torch.zeros(3, ROW, dtype=torch.float64),
    "index": torch.zeros(2, dtype=torch.int64),
    "history": torch.zeros(4, *X.shape),
    "seeds": SEEDS,
    "scales": torch.ones(2, 2),
}

CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "convolution": (
        ops.conv_norm_act,
        {
            **CONV,
            **NORM,
            "weight": torch.randn(4, 8, 3, 3),
            "bias": OF_CHANNEL,
            "skip": X,
            "shift": OF_SAMPLE,
            "residual": X,
            "residual_skip": X,
            "residual_weight": torch.randn(4, 8, 1, 1),
            **{name: torch.ones(8) for name in ("norm_weight", "norm_bias", "running_mean", "running_var")},
            **{name: torch.ones(2, 8) for name in ("film_scale", "film_shift")},
            "stats": torch.ones(2, 8, 2),
        },
    ),
    "plain convolution": (ops.conv_norm_act, {**CONV, "residual": X}),
    "sequence": (
        ops.conv_norm_act,
        {"x": X[..., 0], "weight": torch.randn(4, 8, 1), "skip": X[..., 0], "residual": X[..., 0]},
    ),
    "norm": (ops.norm_act, {**NORM, "x": X, "residual": X}),
    "statistics": (ops.norm_stats, {"x": X}),
    "norm and direction": (ops.norm_direction, {"x": X}),
    "norm's tangent": (ops.norm_tangent, {"x": X[0, 0], "tangent": X[0, 0], "weight": X[0, 0]}),
    "LeakyReLU's tangent": (ops.leaky_relu_tangent, {"tangent": X, "mask": X > 0}),
    "bias and activation": (
        ops.bias_act,
        {"x": X, "bias": X[0, :, 0, 0], "scale": X[:, :, 0, 0], "noise": X[:, :1]},
    ),
    "linear": (
        ops.linear,
        {"x": X, "weight": torch.randn(5, 6), "bias": torch.ones(5), "residual": torch.ones(2, 4, 6, 5)},
    ),
    "attention": (ops.attention, {"q": X, "k": X, "v": X}),
    "embedding": (ops.timestep_embedding, {"t": torch.ones(2), "channels": 8}),
    "points between": (ops.philox_lerp, {"start": X, "end": X, "seed": 5}),
    "noise": (ops.philox_normal, {"seeds": SEEDS, "shape": (2, 3), "row": SEEDS}),
    "step": (ops.sampler_step, STEP),
    "step in place": (ops.sampler_step_, {**STEP, "out": torch.zeros_like(X), "stored": torch.zeros_like(X)}),
    "reduction": (ops.sampler_reduce, {name: STEP[name] for name in ("x", "model_output", "uncond", "table", "index")}),
}  # fmt: skip
UNITS = ("scale", "negative_slope", "eps", "dropout")
NUMBERS = {
    "convolution": UNITS,
    "norm": UNITS,
    "linear": ("scale", "negative_slope"),
    "attention": ("scale",),
    "embedding": ("scale", "downscale_freq_shift", "max_period"),
}
EXTENTS = ("stride", "padding", "dilation", "output_padding", "upsample", "pool")


def tensors() -> Iterator[tuple[str, str]]:
    """Every op with every tensor that it takes."""
    for name, (_, arguments) in CALLS.items():
        yield from ((name, key) for key, value in arguments.items() if isinstance(value, Tensor))


def call(name: str, **changed: Any) -> Any:
    op, arguments = CALLS[name]
    return op(**{**arguments, **changed})


@pytest.mark.parametrize("name", CALLS)
def test_the_calls_themselves_run(name: str) -> None:
    call(name)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(("name", "argument"), [*tensors()])
def test_no_dense_tensor(name: str, argument: str) -> None:
    good: Tensor = CALLS[name][1][argument]
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])  # whose layout is said to be strided
    others = [good.to_sparse(), nested]
    if good.dtype == torch.float32:
        others.append(good.to_mkldnn())
    for wrong in others:
        with pytest.raises(TypeError, match=rf"^{argument} has layout .*expected a dense tensor"):
            call(name, **{argument: wrong})
    for wrong in ("a", [1.0]):
        with pytest.raises(TypeError, match=rf"^{argument} is (str|list), expected an? .*(tensor|int)"):
            call(name, **{argument: wrong})


@pytest.mark.parametrize(("name", "argument"), [(name, key) for name in NUMBERS for key in NUMBERS[name]])
def test_no_finite_number(name: str, argument: str) -> None:
    for wrong in (math.nan, math.inf, -math.inf, 10**400):
        with pytest.raises(ValueError, match=rf"^{argument} is -?(nan|inf|1000*), expected a finite number"):
            call(name, **{argument: wrong})
    for wrong in ("a", True, 1j, X):
        with pytest.raises(TypeError, match=rf"^{argument} is .*, expected a number"):
            call(name, **{argument: wrong})


@pytest.mark.parametrize("argument", EXTENTS)
def test_no_extent(argument: str) -> None:
    for wrong in (
        True,
        (True, 1),
        (1, False),
        1.0,
        "a",
        None,
        (1, 1, 1),
        *[(0, 0, 0, True)] * (argument == "padding"),
    ):
        with pytest.raises(TypeError, match=rf"^{argument} is .*, expected (an int or|four ints)"):
            call("plain convolution", **{argument: wrong})


@pytest.mark.parametrize(
    ("name", "argument", "least"),
    [
        ("convolution", "groups", 1),
        ("convolution", "num_groups", 1),
        ("norm", "num_groups", 1),
        ("embedding", "channels", 2),
    ],
)
def test_no_count(name: str, argument: str, least: int) -> None:
    for wrong in (least - 1, -3):
        with pytest.raises(ValueError, match=rf"^{argument} is {wrong}, expected {least} or more"):
            call(name, **{argument: wrong})
    for wrong in (True, 4.0, "a", None):
        with pytest.raises(TypeError, match=rf"^{argument} is .*, expected a whole number"):
            call(name, **{argument: wrong})


@pytest.mark.parametrize(
    ("name", "argument"),
    [("convolution", "transposed"), ("convolution", "return_stats"), ("norm", "return_stats"),
     ("embedding", "flip_sin_to_cos")],
)  # fmt: skip
def test_no_flag(name: str, argument: str) -> None:
    for wrong in (1, None, "yes", {}, torch.tensor([True, False])):
        with pytest.raises(TypeError, match=rf"^{argument} is .*, expected True or False"):
            call(name, **{argument: wrong})


def test_more_than_there_can_be() -> None:
    for name, argument in (
        ("plain convolution", "num_groups"),
        ("plain convolution", "groups"),
        ("embedding", "channels"),
    ):
        with pytest.raises(ValueError, match=rf"^{argument} is {2**63}, expected at most"):
            call(name, **{argument: 2**63})
    with pytest.raises(ValueError, match=r"^eps is inf, expected a finite number"):
        call("norm", eps=np.float32(math.inf))
