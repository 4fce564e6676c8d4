"""What bad input gets: the argument, what it was, what was expected, and nothing overwritten."""

# ruff: noqa: E501 (a bad call and its whole message stand on one line)

from __future__ import annotations

from typing import Any

import pytest
import torch

import genfuse
from genfuse.ops import sampler_step, sampler_step_
from genfuse_kernels.sampler_step.row import COLUMN
from ops.step_rows import CLIP, LEARNED, LINEAR, ROWS, inputs, table

X = (3, 2, 5)
LIKE_X = ("model_output", "uncond", "variance", "noise", "noise_prev")


def nan_table() -> torch.Tensor:
    rows = table()
    rows[LINEAR, COLUMN["y_x0"]] = torch.nan
    return rows


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    *(({name: torch.zeros(3, 2, 4, dtype=torch.float64)}, ValueError, rf"{name} has shape \(3, 2, 4\), expected \(3, 2, 5\)")
      for name in LIKE_X),
    *(({name: torch.zeros(X)}, TypeError, rf"{name} has dtype torch.float32, expected torch.float64") for name in LIKE_X),
    *(({name: torch.zeros(X, dtype=torch.float64, device="meta")}, ValueError, rf"{name} is on meta, expected cpu")
      for name in LIKE_X),
    *(({name: 1.0}, TypeError, rf"{name} is float, expected a tensor like x") for name in LIKE_X),
    ({"x": [1.0]}, TypeError, r"x is list, expected a tensor"),
    ({"x": torch.zeros(X, dtype=torch.int64)}, TypeError, r"x has dtype torch.int64, expected float32, float64"),
    ({"x": torch.tensor(1.0)}, ValueError, r"x has shape \(\), expected \(N, ...\)"),
    ({"history": torch.zeros(5, *X, dtype=torch.float64)}, ValueError, r"history has 5 slots, expected at most 4"),
    ({"history": torch.zeros(4, 2, dtype=torch.float64)}, ValueError, r"history has shape \(4, 2\), expected \(4, 3, 2, 5\)"),
    ({"history": torch.tensor(1.0)}, ValueError, r"history has shape \(\), expected"),
    ({"history": torch.zeros(4, *X)}, TypeError, r"history has dtype torch.float32, expected torch.float64"),
    ({"history": None}, ValueError, r"history"),
    ({"history": torch.zeros(1, *X, dtype=torch.float64)}, ValueError, r"history"),
    ({"scales": torch.zeros(3, 2)}, TypeError, r"scales has dtype torch.float32, expected torch.float64"),
    ({"scales": torch.zeros(2, 2, dtype=torch.float64)}, ValueError, r"scales has shape \(2, 2\), expected \(3, 2\)"),
    ({"scales": 1.0}, TypeError, r"scales is float, expected a tensor"),
    ({"seeds": torch.zeros(2, dtype=torch.int64)}, ValueError, r"seeds has shape \(2,\), expected \(3,\): one seed a sample"),
    ({"seeds": torch.zeros(3)}, TypeError, r"seeds has dtype torch.float32, expected torch.int64"),
    ({"seeds": [1, 2, 3]}, TypeError, r"seeds is list, expected an int64 tensor \(3,\)"),
    ({"seeds": torch.zeros(3, dtype=torch.int64, device="meta")}, ValueError, r"seeds is on meta, expected cpu"),
    ({"stream": -1}, ValueError, r"stream is -1, expected an int in \[0, 2\*\*32\)"),
    ({"stream": 1.5}, TypeError, r"stream is float, expected an int"),
    ({"table": torch.zeros(5, 31, dtype=torch.float64)}, ValueError, r"table has shape \(5, 31\), expected \(rows, 32\)"),
    ({"table": torch.zeros(5, 32, dtype=torch.float16)}, TypeError, r"table has dtype torch.float16, expected torch.float64"),
    ({"table": [[0.0]]}, TypeError, r"table is list, expected a tensor"),
    ({"table": torch.zeros(5, 32, dtype=torch.float64, device="meta")}, ValueError, r"table is on meta, expected cpu"),
    ({"table": nan_table()}, ValueError, r"table.* nan, expected .*finite"),
    ({"index": 5}, ValueError, r"index is 5, expected a row of the table in \[0, 5\)"),
    ({"index": -1}, ValueError, r"index is -1, expected a row of the table in \[0, 5\)"),
    ({"index": 1.0}, TypeError, r"index is float, expected an int or an int64 tensor"),
    ({"index": True}, TypeError, r"index is bool, expected an int"),
    ({"index": torch.tensor([0, 5, 1])}, ValueError, r"index is 5, expected a row of the table in \[0, 5\)"),
    ({"index": torch.tensor([0, -2, 1])}, ValueError, r"index is -2, expected a row of the table in \[0, 5\)"),
    ({"index": torch.tensor([0, 1])}, ValueError, r"index has shape \(2,\), expected \(\) or \(3,\)"),
    ({"index": torch.tensor([0.0, 1.0, 2.0])}, TypeError, r"index has dtype torch.float32, expected torch.int64"),
    ({"model_output": None}, ValueError, r"model_output is None, but .*pass model_output"),
    ({"noise": None, "seeds": None}, ValueError, r"seeds"),
    ({"index": LEARNED, "variance": None}, ValueError, r"variance is None, but .*pass variance"),
    ({"index": ROWS["threshold"], "scales": None}, ValueError, r"scales is None, but .*pass"),
]  # fmt: skip


@pytest.mark.parametrize("backend", ["aten", None], ids=["aten", "automatic"])
@pytest.mark.parametrize(
    ("changes", "error", "message"), BAD, ids=[f"{i}-{next(iter(b[0]))}" for i, b in enumerate(BAD)]
)
def test_bad_input(changes: dict[str, Any], error: type[Exception], message: str, backend: Any) -> None:
    arguments = {"table": table(), "index": LINEAR} | inputs() | changes
    before = arguments["history"].clone() if isinstance(arguments["history"], torch.Tensor) else None
    out = torch.full(X, 7.0, dtype=torch.float64)
    x, output, rows, index = (arguments.pop(name) for name in ("x", "model_output", "table", "index"))
    with genfuse.backend(backend):
        with pytest.raises(error, match=message):
            sampler_step(x, output, rows, index, **arguments)
        with pytest.raises(error, match=message):
            sampler_step_(x, output, rows, index, out=out, **arguments)
    assert (out == 7).all()
    assert before is None or before.device.type == "meta" or torch.equal(arguments["history"], before)


def test_outputs_that_overlap_inputs() -> None:
    arguments = inputs()
    x, output = arguments.pop("x"), arguments.pop("model_output")
    memory = torch.zeros(2 * x.numel(), dtype=torch.float64)
    shifted, whole = memory[3 : 3 + x.numel()].view(X), memory[: x.numel()].view(X).copy_(x)
    history = arguments.pop("history")

    def step(message: str, **outputs: Any) -> None:
        kept = {name: value.clone() for name, value in {"x": whole, "history": history, **outputs}.items()}
        with pytest.raises(ValueError, match=message):
            sampler_step_(whole, output, table(), CLIP, history=history, **arguments, **outputs)
        assert all(
            torch.equal(value, kept[name])
            for name, value in {"x": whole, "history": history, **outputs}.items()
        )

    fresh = torch.zeros(X, dtype=torch.float64)
    step(r"out overlaps x in memory without being the same tensor; pass a copy", out=shifted)
    step(r"stored overlaps x in memory", out=fresh, stored=shifted)
    step(r"out overlaps stored in memory; pass a copy", out=fresh, stored=fresh)
    step(r"out overlaps history\[2\] in memory; pass a copy", out=history[2])
    step(r"out overlaps itself in memory", out=torch.zeros(1, 1, 1, dtype=torch.float64).expand(X))
    step(r"out overlaps itself in memory \(strides \(1, 8, 2\)\)", out=memory.as_strided(X, (1, 8, 2), 31))
    step(
        r"stored overlaps itself in memory",
        out=fresh,
        stored=torch.zeros(1, 1, 1, dtype=torch.float64).expand(X),
    )


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((3, 2, 5), (1, 3, 6)),  # permuted
        ((3, 2, 5), (40, 20, 3)),  # sliced
        ((3, 2, 1), (3, 4, 0)),  # neither axis passes what the other reaches, and yet no two elements meet
        ((3, 0, 5), (0, 0, 0)),
        ((0, 2, 5), (0, 0, 1)),
    ],
    ids=str,
)
def test_an_output_of_any_strides_that_no_two_elements_share(
    shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    arguments = inputs(shape)
    x, output = arguments.pop("x"), arguments.pop("model_output")
    out = torch.zeros(120, dtype=torch.float64).as_strided(shape, strides)
    expected = sampler_step(x, output, table(), CLIP, **arguments)
    sampler_step_(x, output, table(), CLIP, out=out, **arguments)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"out": torch.zeros(3, 2, 4, dtype=torch.float64)},
            ValueError,
            r"out has shape \(3, 2, 4\), expected \(3, 2, 5\)",
        ),
        ({"out": torch.zeros(X)}, TypeError, r"out has dtype torch.float32, expected torch.float64"),
        ({"out": None}, TypeError, r"out is None, expected a tensor like x"),
        ({"stored": torch.zeros(X)}, TypeError, r"stored has dtype torch.float32, expected torch.float64"),
    ],
)
def test_bad_outputs(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"out": torch.zeros(X, dtype=torch.float64)} | inputs() | changes
    x, output = arguments.pop("x"), arguments.pop("model_output")
    with pytest.raises(error, match=message):
        sampler_step_(x, output, table(), LINEAR, **arguments)
