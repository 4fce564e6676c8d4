"""The public reduction: guidance factor and threshold of each sample, by the papers' formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import genfuse
from genfuse.ops import sampler_reduce, sampler_step
from genfuse_kernels.sampler_reduce.spec import tolerance
from genfuse_kernels.sampler_step.row import COLUMN
from ops.step_rows import LINEAR, THRESHOLD, inputs, table

SHAPE = (3, 2, 40, 41)
STEP_INPUTS = ("noise", "noise_prev", "history")


@pytest.fixture(params=["aten", None], ids=["aten", "automatic"])
def chosen(request: pytest.FixtureRequest, poisoned: None) -> Any:
    with genfuse.backend(request.param):
        yield request.param


def arguments(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    made = inputs(SHAPE, dtype)
    return made["x"], made["model_output"], made["uncond"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_is_the_papers_formulas(dtype: torch.dtype, chosen: str | None) -> None:
    """Lin et al. 2023, eq. 15 and 16; Saharia et al. 2022, section 2.3; by torch.std and torch.quantile."""
    x, output, free = arguments(dtype)
    rows = table()
    rows[THRESHOLD, COLUMN["threshold_max"]] = 100.0
    got = sampler_reduce(x, output, rows, THRESHOLD, uncond=free)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    guided = free.double() + 1.7 * (output.double() - free.double())
    factor = 0.6 * output.double().flatten(1).std(1) / guided.flatten(1).std(1) + 0.4
    x0 = 1.3 * x.double() - 0.9 * factor.view(-1, 1, 1, 1) * guided
    threshold = torch.quantile(x0.abs().flatten(1), 0.7, dim=1)
    limit = tolerance(dtype, x[0].numel())
    torch.testing.assert_close(got[:, 0].double(), factor, rtol=limit, atol=0)
    # the threshold moves with every element that it is an order statistic of: twice the factor's own error
    torch.testing.assert_close(got[:, 1].double(), threshold, rtol=2 * limit, atol=0)


def test_threshold_is_kept_within_one_and_its_maximum(chosen: str | None) -> None:
    x, output, _ = arguments()
    rows = table()
    assert (sampler_reduce(x * 1e-3, output * 1e-3, rows, THRESHOLD)[:, 1] == 1).all()
    assert (sampler_reduce(x * 1e3, output, rows, THRESHOLD)[:, 1] == 1.8).all()


def test_rows_that_do_neither_give_one_and_infinity(chosen: str | None) -> None:
    x, output, free = arguments()
    got = sampler_reduce(x, output, table(), torch.tensor([LINEAR, THRESHOLD, LINEAR]), uncond=free)
    assert got[0].tolist() == got[2].tolist() == [1, math.inf]
    assert torch.equal(got[1:2], sampler_reduce(x[1:2], output[1:2], table(), THRESHOLD, uncond=free[1:2]))
    assert (sampler_reduce(x, output, table(), THRESHOLD)[:, 0] == 1).all()


def test_a_constant_output_has_factor_one(chosen: str | None) -> None:
    x, _, _ = arguments()
    flat = torch.full_like(x, 2.0)
    assert (sampler_reduce(x, flat, table(), THRESHOLD, uncond=flat)[:, 0] == 1).all()


@pytest.mark.parametrize("backend", ["reference", "aten", "cpu"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("numel", [1023, 8193, 12288])
def test_rounding_of_a_constants_mean_is_no_deviation(numel: int, dtype: torch.dtype, backend: str) -> None:
    """0.1, 1/3 and −0.2 have no exact sums: their means are other numbers than they are."""
    x = torch.randn(2, numel).to(dtype)
    for value in (0.1, 1 / 3, 1e37 if dtype == torch.float32 else 3e4):
        constant, uncond = (torch.full((2, 1), v, dtype=dtype) for v in (value, -0.2))
        for output in (constant.expand_as(x), constant.expand_as(x).clone(), x):
            rows = table()
            rows[THRESHOLD, COLUMN["guidance"]] = 0 if output is x else 2.5
            with genfuse.backend(backend):
                got = sampler_reduce(x, output, rows, THRESHOLD, uncond=uncond.expand_as(x))
            assert (got[:, 0] == 1).all()


def test_one_nan_spreads_over_its_sample_as_in_torch_quantile(chosen: str | None) -> None:
    """As diffusers' threshold does; the other samples of the batch are untouched."""
    x, output, _ = arguments(torch.float32)
    x[1, 0, 3, 4] = math.nan
    rows = table()
    scales = sampler_reduce(x, output, rows, THRESHOLD)
    assert scales[:, 1].isnan().tolist() == [False, True, False]
    rest = {name: value for name, value in inputs(SHAPE, torch.float32).items() if name in STEP_INPUTS}
    y = sampler_step(x, output, rows, THRESHOLD, scales=scales, **rest)
    assert y.isnan().flatten(1).all(1).tolist() == [False, True, False]
    assert y[[0, 2]].isfinite().all()


def test_a_sample_is_reduced_by_itself(chosen: str | None) -> None:
    x, output, free = arguments(torch.float32)
    whole = sampler_reduce(x, output, table(), THRESHOLD, uncond=free)
    for n in range(3):
        alone = sampler_reduce(
            *(t[n : n + 1] for t in (x, output)), table(), THRESHOLD, uncond=free[n : n + 1]
        )
        assert torch.equal(alone[0], whole[n])
    torch.set_num_threads(1)
    assert torch.equal(sampler_reduce(x, output, table(), THRESHOLD, uncond=free), whole)


def test_opcheck_and_compile() -> None:
    x, output, free = arguments()
    torch.library.opcheck(
        torch.ops.genfuse.sampler_reduce.default, (x, output, table(), None, THRESHOLD, free)
    )

    def step(x: Tensor, output: Tensor, free: Tensor) -> Tensor:
        scales = sampler_reduce(x, output, rows, THRESHOLD, uncond=free)
        return sampler_step(x, output, rows, THRESHOLD, uncond=free, scales=scales, **rest)

    rest = {name: value for name, value in inputs(SHAPE).items() if name in STEP_INPUTS}
    rows = table()
    torch._dynamo.reset()
    got = torch.compile(step, fullgraph=True, backend="aot_eager")(x, output, free)
    torch.testing.assert_close(got, step(x, output, free), rtol=0, atol=0)


def test_takes_part_in_a_step_without_a_gradient_of_its_own() -> None:
    x, output, free = arguments()
    scales = sampler_reduce(x.requires_grad_(), output.requires_grad_(), table(), THRESHOLD, uncond=free)
    assert not scales.requires_grad


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": 1.0}, TypeError, r"x is float, expected a tensor"),
        ({"model_output": None}, TypeError, r"model_output is NoneType, expected a tensor"),
        (
            {"model_output": torch.zeros(3, 2)},
            ValueError,
            r"model_output has shape \(3, 2\), expected \(3, 2, 5\)",
        ),
        (
            {"uncond": torch.zeros(3, 2, 5)},
            TypeError,
            r"uncond has dtype torch.float32, expected torch.float64",
        ),
        ({"table": torch.zeros(1, 3)}, ValueError, r"table has shape \(1, 3\), expected \(rows, 32\)"),
        ({"index": 5}, ValueError, r"index is 5, expected a row of the table in \[0, 5\)"),
        (
            {"index": torch.tensor([0, 1, 9])},
            ValueError,
            r"index is 9, expected a row of the table in \[0, 5\)",
        ),
    ],
)
def test_bad_input(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    given = {name: inputs()[name] for name in ("x", "model_output", "uncond")}
    given |= {"table": table(), "index": THRESHOLD} | changes
    with pytest.raises(error, match=message):
        sampler_reduce(
            given["x"], given["model_output"], given["table"], given["index"], uncond=given["uncond"]
        )
