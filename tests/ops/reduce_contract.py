"""What every GPU kernel of `sampler_reduce` has to do, by cases against the float64 reference.

A test module of a backend derives a `Test...` class from `ReduceContract` and names the kernel.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genfuse_kernels.sampler_reduce import reference, spec
from genfuse_kernels.sampler_step.row import COLUMN, ROW

BOTH = {"x0_x": 1.2, "x0_m": -0.7, "guidance": 7.5, "rescale": 0.7, "quantile": 0.95, "threshold_max": 100.0}


def table(*rows: dict[str, float]) -> Tensor:
    values = torch.zeros(len(rows), ROW, dtype=torch.float64)
    for i, columns in enumerate(rows):
        for name, value in columns.items():
            values[i, COLUMN[name]] = value
    return values


def random_inputs(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(sum(shape))
    return [torch.randn(shape).to(dtype) for _ in range(3)]


def run(
    kernel: Callable[..., None],
    x: Tensor,
    model_output: Tensor,
    rows: Tensor,
    index: int | Tensor,
    uncond: Tensor | None,
) -> Tensor:
    scales = torch.full(
        (len(x), 2), torch.nan, dtype=torch.float64 if x.dtype == torch.float64 else torch.float32
    )
    kernel(scales, x, model_output, rows, index, uncond=uncond)
    return scales


def check(
    kernel: Callable[..., None],
    x: Tensor,
    model_output: Tensor,
    rows: Tensor,
    index: int | Tensor,
    uncond: Tensor | None,
) -> None:
    got = run(kernel, x, model_output, rows, index, uncond).double()
    wide = None if uncond is None else uncond.double()
    expected = reference.sampler_reduce(x.double(), model_output.double(), rows, index, uncond=wide)
    torch.testing.assert_close(got, expected, rtol=spec.tolerance(x.dtype, x[0].numel()), atol=0)


class ReduceContract:
    kernel: Callable[..., None]

    @pytest.mark.parametrize("dtype", spec.DTYPES, ids=str)
    @pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 1), (1, 3, 64, 40)], ids=str)
    def test_both_numbers(self, shape, dtype):
        x, m, u = random_inputs(shape, dtype)
        check(self.kernel, x, m, table({}, BOTH), 1, u)

    @pytest.mark.parametrize(
        "columns",
        [
            {"rescale": 0.0},
            {"quantile": 0.0},
            {"guidance": 0.0},
            {"guidance": 1.0},
            {"x0_x": 0.0},
            {"x0_m": 0.0},
            {"quantile": 1.0},
            {"quantile": 1e-6, "x0_x": 100.0},
            {"threshold_max": 1.5},
            {"x0_x": 1e-4, "x0_m": 1e-4},
        ],
        ids=str,
    )
    def test_rows(self, columns):
        check(
            self.kernel,
            *random_inputs((2, 3, 37))[:2],
            table(BOTH | columns),
            0,
            random_inputs((2, 3, 37))[2],
        )

    def test_without_guidance(self):
        x, m, _ = random_inputs((2, 3, 37))
        assert (run(self.kernel, x, m, table(BOTH), 0, None)[:, 0] == 1).all()
        check(self.kernel, x, m, table(BOTH), 0, None)

    def test_equal_values_at_the_quantile(self):
        x = torch.tensor([[3.0] * 5 + [-3.0] * 4 + [7.0]])
        rows = table({"x0_x": 1.0, "quantile": 0.8, "threshold_max": 10.0}, {"x0_x": 1.0, "quantile": 0.95})
        rows[1, COLUMN["threshold_max"]] = 10.0
        check(self.kernel, x, x, rows, 0, None)
        check(self.kernel, x, x, rows, 1, None)

    def test_a_large_mean_costs_no_accuracy(self):
        x, m, u = random_inputs((1, 4, 300))
        check(self.kernel, x, m + 1000, table(BOTH | {"quantile": 0.0}), 0, u + 1000)

    def test_a_constant_output_has_factor_one(self):
        x, m, _ = random_inputs((2, 3, 8))
        assert (run(self.kernel, x, m * 0 + 0.5, table(BOTH), 0, m * 0 + 0.5)[:, 0] == 1).all()

    @pytest.mark.parametrize("shape", [(1, 8193), (2, 3, 11, 31)], ids=str)
    def test_rounding_of_a_constants_mean_is_no_deviation(self, shape):
        """0.1 and −0.2 have no exact sum: their mean is another number than they are."""
        x = random_inputs(shape)[0]
        m, u = torch.full(shape, 0.1), torch.full(shape, -0.2)
        assert (run(self.kernel, x, m, table(BOTH), 0, u)[:, 0] == 1).all()
        assert (run(self.kernel, x, x, table(BOTH | {"guidance": 0.0}), 0, u)[:, 0] == 1).all()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize("quantile", [0.1, 0.25, 0.5, 0.75, 0.9, 1.0])
    def test_nan_and_infinity_as_in_torch_quantile(self, quantile, dtype):
        """One NaN makes the whole sample's threshold NaN; so does infinity where it is interpolated."""
        inf = torch.inf
        x = torch.tensor([[1, 2, torch.nan, 4, 3], [1, 2, 3, inf, 4], [1, inf, inf, inf, -inf]], dtype=dtype)
        rows = table({"x0_x": 1.0, "quantile": quantile, "threshold_max": 9.0})
        expected = torch.quantile(x.abs(), quantile, dim=1).clamp(1, 9)
        torch.testing.assert_close(run(self.kernel, x, x, rows, 0, None)[:, 1], expected, equal_nan=True)

    @pytest.mark.parametrize("index", [torch.tensor([1]), torch.tensor([1, 0, 1])])
    def test_a_row_a_batch_or_a_row_a_sample(self, index):
        x, m, u = random_inputs((3, 2, 9))
        check(self.kernel, x, m, table(BOTH | {"rescale": 0.2, "quantile": 0.5}, BOTH), index, u)

    @pytest.mark.parametrize("wrong", [-1, 2, 2**40])
    def test_an_index_that_the_table_lacks_gives_nan_for_its_sample(self, wrong):
        x, m, u = random_inputs((3, 2, 9))
        scales = run(self.kernel, x, m, table(BOTH, BOTH), torch.tensor([0, wrong, 1]), u)
        assert scales.isnan().tolist() == [[False, False], [True, True], [False, False]]

    @pytest.mark.parametrize("kind", ["channels_last", "mixed", "narrowed"])
    def test_strides(self, kind):
        x, m, u = random_inputs((2, 3, 4, 6))
        expected = run(self.kernel, x, m, table(BOTH), 0, u)
        if kind == "narrowed":
            x = torch.cat((x, x * torch.nan), -1)[..., :6]
        else:
            m = m.to(memory_format=torch.channels_last)
        if kind == "channels_last":
            x, u = x.to(memory_format=torch.channels_last), u.to(memory_format=torch.channels_last)
        torch.testing.assert_close(
            run(self.kernel, x, m, table(BOTH), 0, u), expected, rtol=spec.tolerance(x.dtype, 72), atol=0
        )

    def test_nothing_to_reduce(self):
        empty = torch.empty(2, 0, 4)
        assert run(self.kernel, empty, empty, table(BOTH), 0, empty).tolist() == [[1.0, torch.inf]] * 2
        none = torch.empty(0, 3, 4)
        assert run(self.kernel, none, none, table(BOTH), 0, none).shape == (0, 2)
