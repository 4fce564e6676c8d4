"""The CPU kernel of `sampler_step` against the float64 reference, on every instruction set of the machine."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genfuse_kernels import _cpu
from genfuse_kernels.sampler_step import reference
from genfuse_kernels.sampler_step.cpu_impl import sampler_step
from genfuse_kernels.sampler_step.row import COLUMNS, HISTORY_SLOTS, ROW
from genfuse_kernels.sampler_step.spec import tolerance
from ops.cpu_cases import (
    DTYPES,
    LAYOUTS,
    Call,
    laid_out,
    random_call,
    row,
    threads,
    untouched_elsewhere,
)

SHAPES = (
    (1, 1),
    (3, 5),
    (2, 3, 7, 9),
    (2, 4, 16, 16),
    (1, 2, 3, 5, 7),
    (2, 3, 33, 65),
    (5,),
    (0, 3, 4, 4),
    (2, 3, 0, 4),
)
TERMS = 14
"""Products and sums of the longest row: nine terms, x0's two, guidance's two, the noise's scale."""


pytestmark = pytest.mark.usefixtures("isa")


def double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def expected(call: Call) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, s and what each may err by."""
    options = {name: double(value) for name, value in call.options.items()}
    history = options.pop("history", None)
    arguments = (double(call.x), double(call.model_output), call.table, call.index)
    slots = () if history is None else tuple(history)
    y, s = reference.sampler_step(*arguments, history=slots, **options)
    y_size, s_size = reference.magnitude(*arguments, history=slots, **options)
    relative, absolute = tolerance(call.x.dtype, TERMS)
    return y, s, relative * y_size + absolute, relative * s_size + absolute


def run(call: Call, out: Tensor, stored: Tensor | None) -> None:
    sampler_step(out, stored, call.x, call.model_output, call.table, call.index, **call.options)  # type: ignore[arg-type]


def step(call: Call) -> tuple[Tensor, Tensor]:
    out, stored = torch.full_like(call.x, math.nan), torch.full_like(call.x, math.nan)
    run(call, out, stored)
    return out, stored


def assert_close(got: Tensor, want: Tensor, error: Tensor) -> None:
    difference = (got.double() - want).abs()
    wrong = ~(difference <= error) & ~(got.double() == want) & ~(got.isnan() & want.isnan())
    assert not wrong.any(), f"worst is {(difference / error).nan_to_num().max():.2f} of what may be"


def test_columns_are_those_of_row_py() -> None:
    assert _cpu.COLUMNS == COLUMNS
    assert (_cpu.ROW, _cpu.HISTORY_SLOTS) == (ROW, HISTORY_SLOTS)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seed", range(30))
def test_random_rows_and_layouts(dtype: torch.dtype, seed: int) -> None:
    rng = np.random.default_rng([seed, DTYPES.index(dtype)])
    shape = SHAPES[seed % len(SHAPES)]
    call = random_call(rng, dtype, shape)
    y, s, y_error, s_error = expected(call)
    empty = torch.full(shape, math.nan, dtype=dtype)
    layouts = rng.choice(LAYOUTS, 2)
    out, stored = laid_out(empty, layouts[0]), laid_out(empty, layouts[1])
    run(call, out, stored)
    assert_close(out, y, y_error)
    assert_close(stored, s, s_error)
    assert untouched_elsewhere(out) and untouched_elsewhere(stored)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_noise_belongs_to_the_logical_element(dtype: torch.dtype, layout: str) -> None:
    """Noise in any layout has the bits that it has in a dense tensor; sizes leave tails in every loop."""
    table = row(y_x=0.3, y_noise=2.0, s_noise_prev=1.0).repeat(4, 1)
    for shape in ((2, 3, 27, 29), (2, 5, 40), (2, 70, 41)):
        x = torch.linspace(-1, 1, 2 * math.prod(shape[1:])).reshape(shape).to(dtype)
        seeds = torch.tensor([3, -(2**61)])
        dense = Call(x, None, table, 3, {"seeds": seeds})
        strided = Call(laid_out(x, layout), None, table, 3, {"seeds": seeds})
        want, want_stored = step(dense)
        out, stored = laid_out(x, layout), laid_out(x, layout)
        run(strided, out, stored)
        assert torch.equal(out, want) and torch.equal(stored, want_stored)
        y, s, y_error, s_error = expected(dense)
        assert_close(out, y, y_error)
        assert_close(stored, s, s_error)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bits_do_not_depend_on_threads_batch_or_position(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(7)
    shape = (4, 3, 96, 97)
    draw = torch.from_numpy(rng.standard_normal((3, *shape))).to(dtype)
    table = row(
        x0_x=1.1,
        x0_m=-0.7,
        clip_min=-1,
        clip_max=1,
        guidance=3,
        y_x=0.2,
        y_x0=0.9,
        y_m=0.1,
        y_noise=0.5,
        s_x0=1,
    ).repeat(2, 1)
    seeds = torch.arange(4) - 2
    call = Call(draw[0], draw[1], table, 1, {"uncond": draw[2], "seeds": seeds})
    with threads(1):
        out, stored = step(call)
    with threads(2):
        parallel, parallel_stored = step(call)
    assert torch.equal(out, parallel) and torch.equal(stored, parallel_stored)
    for n in range(4):
        one = slice(n, n + 1)
        alone = Call(draw[0, one], draw[1, one], table, 1, {"uncond": draw[2, one], "seeds": seeds[one]})
        with threads(1):
            y, s = step(alone)
        assert torch.equal(y, out[one]) and torch.equal(s, stored[one])


def test_a_row_a_sample_equals_each_row_alone() -> None:
    rng = np.random.default_rng(5)
    call = random_call(rng, torch.float32, (3, 3, 20, 21))
    call.index = torch.tensor([2, 1, 2])
    y, s = step(call)
    for n, index in enumerate((2, 1, 2)):
        call.index = index
        y_one, s_one = step(call)
        assert torch.equal(y[n], y_one[n]) and torch.equal(s[n], s_one[n])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dead_inputs_are_not_read(dtype: torch.dtype) -> None:
    """Zero coefficients hide NaN and infinities, whatever else the row does."""
    x = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(0)).to(dtype)
    poison = torch.full_like(x, math.nan)
    table = row(y_x=2.0, s_m=1.0, guidance=0.0)
    options = {"uncond": x, "variance": poison, "history": poison.expand(4, -1, -1, -1, -1), "noise": poison}
    y, s = step(Call(x, poison, table, 0, options))
    assert torch.equal(y, 2 * x) and torch.equal(s, x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_non_finite_and_extreme_values_come_through(dtype: torch.dtype) -> None:
    limits = torch.finfo(dtype)
    values = [
        math.nan,
        math.inf,
        -math.inf,
        limits.max,
        limits.min,
        limits.tiny,
        limits.tiny / 8,
        0.0,
        -0.0,
        1.0,
    ]
    x = torch.tensor(values * 7, dtype=dtype).reshape(2, -1)
    for table in (
        row(y_x=0.5, s_x=1.0),
        row(y_x0=1.0, x0_x=1.0, s_x0=0.5, clip_min=-1, clip_max=1),
        row(y_x0=0.5, x0_x=0.25, y_x=0.25, s_x=1e-3),
    ):
        call = Call(x, None, table)
        y, s = step(call)
        want_y, want_s, y_error, s_error = expected(call)
        assert_close(y, want_y.to(dtype).double(), y_error.nan_to_num())
        assert_close(s, want_s.to(dtype).double(), s_error.nan_to_num())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_output_may_be_an_input(dtype: torch.dtype, layout: str) -> None:
    generator = torch.Generator().manual_seed(1)
    x, m = (torch.randn(2, 3, 40, 41, generator=generator).to(dtype) for _ in range(2))
    table = row(y_x=0.5, y_m=-1.5, y_h1=0.25, s_x=1.0, s_m=2.0, store=1)
    seeds = torch.tensor([1, 2])
    history = torch.randn(2, *x.shape, generator=generator).to(dtype)
    want, want_stored = step(Call(x, m, table, 0, {"history": history, "seeds": seeds}))
    for target in ("x", "model_output", "history"):
        a, b = laid_out(x, layout), laid_out(m, layout)
        ring = torch.stack([laid_out(h, "contiguous") for h in history])
        out = {"x": a, "model_output": b, "history": ring[0]}[target]
        run(Call(a, b, table, 0, {"history": ring, "seeds": seeds}), out, None)
        assert torch.equal(out, want)
        assert torch.equal(ring[1], want_stored)


def test_history_slots_follow_each_samples_row() -> None:
    table = torch.cat([row(y_x=1, s_x=2, store=0), row(y_x=1, s_x=3, store=2), row(y_x=1, s_x=5)])
    x = torch.randn(3, 4, 5)
    history = torch.full((3, *x.shape), 9.0)
    sampler_step(torch.empty_like(x), None, x, None, table, torch.tensor([0, 1, 2]), history=history)
    want = torch.full((3, *x.shape), 9.0)
    want[0, 0], want[2, 1] = 2 * x[0], 3 * x[1]
    assert torch.equal(history, want)


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"y_m": 1}, {"model_output": None}, "model_output is None"),
        ({"y_h0": 1}, {}, "history is None"),
        ({"y_h2": 1}, {"history": (2,)}, "history has 2 slots"),
        ({"y_noise": 1}, {}, "seeds is None"),
        ({"y_noise": 1, "log_std_v": 1}, {"seeds": None, "noise": ()}, "variance is None"),
        ({"y_noise_prev": 1}, {"seeds": "given"}, "no row before"),
        ({"y_x": 1, "quantile": 0.9}, {}, "scales is None"),
        ({"y_x": math.nan}, {}, "y_x = nan"),
        ({"y_x": math.inf}, {}, "expected a finite"),
        ({"y_x": 1, "s_x": 1, "store": 3}, {"history": (2,)}, "stores to slot 3"),
        ({"y_x": 1}, {"index": 5}, "index is 5"),
        ({"y_x": 1}, {"index": -1}, "index is -1"),
        ({"y_x": 1}, {"index": torch.tensor([0, 7])}, "index is 7"),
    ],
)
def test_bad_calls_name_the_argument_and_write_nothing(
    columns: dict[str, float], options: dict[str, Any], words: str
) -> None:
    x = torch.ones(2, 3, 4)
    given: dict[str, Any] = {"model_output": x, "index": 0, **options}
    for name in ("history", "noise"):
        if isinstance(given.get(name), tuple):
            given[name] = torch.ones(*given[name], *x.shape)
    if given.get("seeds") == "given":
        given["seeds"] = torch.tensor([1, 2])
    model_output, index = given.pop("model_output"), given.pop("index")
    out = torch.full_like(x, 7.0)
    with pytest.raises(ValueError, match=words.replace("[", r"\[")):
        sampler_step(out, None, x, model_output, row(**columns), index, **given)
    assert (out == 7).all()


def test_plan_equals_the_op() -> None:
    rng = np.random.default_rng(11)
    shape = (2, 3, 16, 17)
    call = random_call(rng, torch.float32, shape)
    tensors = {
        n: torch.from_numpy(rng.standard_normal(shape)).float()
        for n in ("x", "model_output", "uncond", "variance")
    }
    call = Call(
        tensors["x"],
        tensors["model_output"],
        call.table,
        1,
        call.options | {"noise": None, "noise_prev": None},
    )
    call.options |= {"uncond": tensors["uncond"], "variance": tensors["variance"]}
    history, seeds, scales = (call.options[name] for name in ("history", "seeds", "scales"))
    assert isinstance(history, Tensor) and isinstance(seeds, Tensor) and isinstance(scales, Tensor)
    ring = history.clone()
    want = torch.empty(shape)
    call.options["history"] = history
    run(call, want, None)
    plan = _cpu.Plan(call.table.data_ptr(), 3, 0, shape, want.stride(), 1)
    plan.set_history(ring.data_ptr(), 4, want.numel())
    plan.set_seeds(seeds.data_ptr(), int(call.options["stream"]))  # type: ignore[call-overload]
    out = torch.empty(shape)
    pointers = {name: tensor.data_ptr() for name, tensor in tensors.items()}
    plan.step(1, out=out.data_ptr(), scales=scales.data_ptr(), **pointers)
    assert torch.equal(out, want) and torch.equal(ring, history)
    with pytest.raises(ValueError, match="index is 3"):
        plan.step(3, out=out.data_ptr(), scales=scales.data_ptr(), **pointers)


def test_concurrent_callers_agree() -> None:
    """Several Python threads at once: one has the pool, the others run alone; all finish with the same bits."""
    x = torch.randn(8, 3, 64, 64)
    call = Call(x, None, row(y_x=0.5, y_noise=1.0), 0, {"seeds": torch.arange(8)})
    want, _ = step(call)
    results: list[Tensor] = []

    def work() -> None:
        for _ in range(5):
            results.append(step(call)[0])

    with threads(2):
        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(results) == 20 and all(torch.equal(result, want) for result in results)
