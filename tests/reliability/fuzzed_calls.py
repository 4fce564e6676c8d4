"""Calls of ops with arguments that nobody would choose: answered or refused by name, and no NaN comes of numbers.

    python tests/reliability/fuzzed_calls.py --seconds 600 [--first 0] [--record FILE]

A case is its number: `--first 4711 --seconds 0` runs one alone. Tensors lie between NaNs, so that what is read beyond
an end shows as a NaN in the result, and what is written there as a number. A result that has a NaN, where no argument
has one, is compared with the op's definition in PyTorch: only what is not finite there may be so here. Calls are made
in a child process (`watched.py`): one that is killed or crashes is told of with its case, and the next goes on.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import math
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import watched
from torch import Tensor

import genfuse
from genfuse import ops
from genfuse.errors import GenfuseError
from genfuse_kernels.sampler_step.row import ROW

BORDER = 64  # elements of NaN before and behind every tensor
EXPECTED = (ValueError, TypeError, GenfuseError, NotImplementedError)
DTYPES = (torch.float32, torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16)
SIZES = (0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 32, 33)
SCALARS = (
    -1,
    0,
    1,
    2,
    3,
    5,
    7,
    64,
    -(2**31),
    2**31,
    2**63,
    0.5,
    -0.0,
    1e-30,
    1e30,
    math.inf,
    math.nan,
    None,
    True,
    "a",
)
ACTIVATIONS = (
    "none",
    "relu",
    "leaky_relu",
    "silu",
    "gelu",
    "tanh",
    "sigmoid",
    "softplus",
    "elu",
    "selu",
    "no such",
)
NORMS = ("none", "batch", "instance", "group", "layer", "layer_pixel", "rms_pixel", "no such")


class Case:
    """A numbered source of arguments; `guards` are the tensors it made, each with the memory around it."""

    def __init__(self, number: int) -> None:
        self.draw = random.Random(number)
        self.values = torch.Generator().manual_seed(number)
        self.guards: list[tuple[Tensor, int]] = []
        self.finite = True
        self.dtype = self.draw.choice(DTYPES)

    def size(self) -> int:
        return self.draw.choice(SIZES)

    def sometimes(self, chance: float, value: Callable[[], Any], otherwise: Any = None) -> Any:
        return value() if self.draw.random() < chance else otherwise

    def tensor(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Normal values, in any memory format, of the shape, or now and then of another one."""
        if self.draw.random() < 0.03:
            shape = tuple(self.size() for _ in range(self.draw.randrange(6)))
        if self.draw.random() < 0.02:
            dtype = self.draw.choice((torch.int32, torch.bool, torch.complex64, torch.float64))
        dtype = dtype or self.dtype
        order = list(range(len(shape)))
        if self.draw.random() < 0.4:
            self.draw.shuffle(order)
        count = math.prod(shape)
        step = self.draw.choice((1, 1, 1, 2))
        whole = torch.full(
            (2 * BORDER + step * count,), math.nan if dtype.is_floating_point else 1, dtype=dtype
        )
        strides, stride = [0] * len(shape), step
        for axis in reversed(order):
            strides[axis], stride = stride, stride * max(shape[axis], 1)
        made = whole.as_strided(shape, strides, BORDER)
        filled = torch.randn(shape, generator=self.values)
        made.copy_(filled if dtype.is_floating_point or dtype.is_complex else filled > 0)
        if dtype.is_floating_point and count and self.draw.random() < 0.08:
            extreme = self.draw.choice((math.nan, math.inf, -math.inf, 6e4, -6e4, 1e-8, 0.0))
            made[tuple(self.draw.randrange(extent) for extent in shape)] = extreme
            self.finite &= abs(extreme) <= 1
        self.guards.append((whole, step * count))
        return made

    def intact(self) -> bool:
        """Whether nothing was written beside the tensors."""
        return all(
            bool((part != part).all())
            for whole, count in self.guards
            if whole.dtype.is_floating_point
            for part in (whole[:BORDER], whole[BORDER + count :])
        )


def convolution(case: Case) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    n, channels, outputs = case.draw.choice((0, 1, 1, 2, 3)), case.size(), case.size()
    spatial = [case.size() for _ in range(case.draw.choice((2, 2, 2, 1)))]
    kernel = [case.draw.choice((1, 3, 3, 4, 5, 7)) for _ in spatial]
    norm = case.draw.choice(NORMS) if case.draw.random() < 0.5 else "none"
    options: dict[str, Any] = {
        "padding": case.draw.choice((0, 1, 1, 2, 3)),
        "stride": case.draw.choice((1, 1, 1, 2, 3)),
        "activation": case.draw.choice(ACTIVATIONS),
        "norm": norm,
        "num_groups": case.draw.choice((1, 2, 4)),
        "groups": case.sometimes(0.1, case.size, 1),
        "transposed": case.draw.random() < 0.15,
        "padding_mode": case.draw.choice(("zeros", "zeros", "reflect", "replicate", "circular")),
        "norm_weight": case.sometimes(0.3, lambda: case.tensor(channels)),
        "norm_bias": case.sometimes(0.3, lambda: case.tensor(channels)),
        "shift": case.sometimes(0.2, lambda: case.tensor(n, outputs)),
        "scale": case.sometimes(0.1, lambda: case.draw.choice(SCALARS), 1.0),
        "residual": case.sometimes(0.2, lambda: case.tensor(n, outputs, *spatial)),
        "accuracy": case.draw.choice(("fast", "fast", "exact")),
    }
    weight = case.tensor(*((channels, outputs) if options["transposed"] else (outputs, channels)), *kernel)
    bias = case.sometimes(0.5, lambda: case.tensor(outputs))
    return ops.conv_norm_act, (case.tensor(n, channels, *spatial), weight, bias), options


def norm_act(case: Case) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    n, channels, height, width = (case.size() for _ in range(4))
    return (
        ops.norm_act,
        (case.tensor(n, channels, height, width),),
        {
            "norm": case.draw.choice(NORMS),
            "num_groups": case.draw.choice((1, 2, 4, 0)),
            "activation": case.draw.choice(ACTIVATIONS),
            "pool": case.draw.choice((1, 1, 2, 0)),
            "residual": case.sometimes(0.3, lambda: case.tensor(n, channels, height, width)),
            "eps": case.sometimes(0.1, lambda: case.draw.choice(SCALARS), 1e-5),
        },
    )


def linear(case: Case) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    inputs, outputs, rows = case.size(), case.size(), case.size()
    bias = case.sometimes(0.5, lambda: case.tensor(outputs))
    options = {
        "activation": case.draw.choice(ACTIVATIONS),
        "scale": case.sometimes(0.1, lambda: case.draw.choice(SCALARS), 1.0),
    }
    return ops.linear, (case.tensor(rows, inputs), case.tensor(outputs, inputs), bias), options


def attention(case: Case) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    n, heads, queries, keys, channels = (case.size() for _ in range(5))
    q, k, v = (case.tensor(n, heads, length, channels) for length in (queries, keys, keys))
    return ops.attention, (q, k, v), {"scale": case.sometimes(0.2, lambda: case.draw.choice(SCALARS))}


def bias_act(case: Case) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    shape = tuple(case.size() for _ in range(case.draw.choice((2, 4, 4, 5))))
    options = {
        "activation": case.draw.choice(ACTIVATIONS),
        "dim": case.draw.choice((1, 1, 1, 0, 7)),
        "gain": case.sometimes(0.1, lambda: case.draw.choice(SCALARS), 1.0),
        "clamp": case.sometimes(0.2, lambda: case.draw.choice(SCALARS)),
    }
    return ops.bias_act, (case.tensor(*shape), case.sometimes(0.6, lambda: case.tensor(shape[1]))), options


def upfirdn2d(case: Case) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    taps = case.sometimes(
        0.8, lambda: case.tensor(*[case.draw.choice((1, 2, 4, 5))] * 2, dtype=torch.float32)
    )
    padding = case.draw.choice((0, 1, -1, [1, 2, 0, 1], [2, 1], "a", [-9, 0, 0, 0]))
    factors = [case.draw.choice((1, 2, 3, 0)) for _ in range(2)]
    return ops.upfirdn2d, (case.tensor(*(case.size() for _ in range(4))), taps, *factors, padding), {}


def noise(case: Case) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    n = case.size()
    seeds = torch.randint(-(2**62), 2**62, (n,), generator=case.values)
    batch = case.sometimes(0.9, lambda: n, case.size())
    shape = (batch, *(case.draw.choice((*SIZES, -1)) for _ in range(case.draw.randrange(4))))
    return (
        ops.philox_normal,
        (seeds, shape),
        {"row": case.draw.choice((0, 1, 7, -1, 2**40, None)), "dtype": case.dtype},
    )


def points(case: Case) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    shape = [case.size() for _ in range(case.draw.choice((1, 2, 4, 5)))]
    seed, first = case.draw.choice((0, 5, 2**63 - 1, -1, None)), case.draw.choice((0, 7, 2**32 - 1, -1))
    return ops.philox_lerp, (case.tensor(*shape), case.tensor(*shape), seed, first), {}


def embedding(case: Case) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    return ops.timestep_embedding, (case.tensor(case.size()), case.draw.choice((*SIZES, -1, None))), {}


def statistics(case: Case) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    op = case.draw.choice((ops.norm_stats, ops.norm_direction))
    return op, (case.tensor(*(case.size() for _ in range(case.draw.choice((2, 3, 4, 4))))),), {}


def step(case: Case) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    shape = tuple(case.size() for _ in range(case.draw.choice((2, 4, 4))))
    table = torch.zeros(case.draw.choice((1, 3)), ROW, dtype=torch.float64)
    for _ in range(case.draw.randrange(8)):
        table[case.draw.randrange(len(table)), case.draw.randrange(ROW)] = case.draw.choice(
            (1.0, -0.5, 0.1, 2.0)
        )
    options = {
        "uncond": case.sometimes(0.2, lambda: case.tensor(*shape)),
        "history": case.sometimes(0.3, lambda: case.tensor(4, *shape)),
        "seeds": case.sometimes(0.5, lambda: torch.arange(shape[0])),
        "scales": case.sometimes(0.1, lambda: case.tensor(shape[0], 2, dtype=torch.float32)),
        "store": case.draw.random() < 0.2,
    }
    index = case.draw.choice((0, 0, 0, 1, -1, 99, None))
    return ops.sampler_step, (case.tensor(*shape), case.tensor(*shape), table, index), options


MAKERS = (
    convolution,
    convolution,
    norm_act,
    linear,
    attention,
    bias_act,
    upfirdn2d,
    noise,
    points,
    embedding,
    statistics,
    step,
)


def floats(result: Any) -> list[Tensor]:
    return [each for each in (result if isinstance(result, tuple) else (result,)) if isinstance(each, Tensor)]


def run(number: int) -> str:
    """How a case ended. AssertionError, naming the call, where that is a defect."""
    case = Case(number)
    op, args, options = case.draw.choice(MAKERS)(case)

    def described() -> str:
        shown = [tuple(each.shape) if isinstance(each, Tensor) else each for each in args]
        given = {name: tuple(v.shape) if isinstance(v, Tensor) else v for name, v in options.items()}
        return f"case {number}: {op.__name__}{tuple(shown)} {given} {case.dtype}"

    try:
        result = floats(op(*args, **options))
    except EXPECTED as error:
        assert str(error), f"{described()}: no message"
        assert case.intact(), f"{described()}: memory beside a tensor was written"
        return "refused"
    except Exception as error:
        raise AssertionError(f"{described()}: {type(error).__name__}: {error}") from error
    assert case.intact(), f"{described()}: memory beside a tensor was written"
    if all(bool(each.isfinite().all()) for each in result):
        return "answered"
    if not case.finite:
        return "answered, not finite as an argument was"
    with genfuse.backend("reference"):
        want = floats(op(*args, **options))
    for got, meant in zip(result, want, strict=True):
        assert not bool((got.isnan() & meant.isfinite()).any()), f"{described()}: NaN of numbers"
    return "answered, not finite as the definition"


def alone(first: int, seconds: float, progress: int) -> None:
    """As `watched` wants it of a child: a line about each thousand cases, and about the last."""
    end, number = time.monotonic() + seconds, first
    ended: Counter[str] = Counter()
    defects: list[str] = []
    while True:
        watched.begin(progress, number)
        try:
            ended[run(number)] += 1
        except AssertionError as defect:
            ended["defect"] += 1
            defects.append(str(defect))
        number += 1
        over = time.monotonic() >= end
        if over or number % 1000 == 0:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            line = {"next": number, "ended": ended, "defects": defects, "peak_mib": peak}
            print(json.dumps(line), flush=True)
            ended.clear()
            defects.clear()
        if over:
            break


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--record", type=Path, help="a file of JSON lines, one a thousand cases")
    parser.add_argument("--progress", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.progress:
        faulthandler.enable()  # where a crash was, in Python
        torch.set_num_threads(1)
        return alone(told.first, told.seconds, os.open(told.progress, os.O_WRONLY))
    watched.tell_of_signals()
    found = watched.watch([sys.executable, __file__], told.first, told.seconds, told.record)
    print(json.dumps(found.summary()))
    raise SystemExit(bool(found.defects))


if __name__ == "__main__":
    main()
