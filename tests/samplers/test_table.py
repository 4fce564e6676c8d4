"""Tables: which columns a row fills, what is refused, and how a stepper runs them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genfuse.samplers.combination import HISTORY, NOISE, NOISE_PREV, X0, ZERO, M, X
from genfuse.samplers.prediction import Prediction, predict
from genfuse.samplers.stepper import Stepper
from genfuse.samplers.table import Clip, Table, TableBuilder
from genfuse_kernels.sampler_step.row import COLUMN, ROW

PREDICTION = Prediction(x0=X * 2 - M * 3, epsilon=M)


def test_a_row_fills_its_columns() -> None:
    builder = TableBuilder()
    clip = Clip(minimum=-1, maximum=2, quantile=0.9, threshold_max=3)
    builder.row(
        7,
        PREDICTION,
        X0 * 4 + NOISE * 5,
        clip=clip,
        store=M * 6 + X,
        slot=3,
        log_std=(0.25, 0.5),
        input_scale=0.5,
    )
    table = builder.build(init_scale=8.0)
    filled = {
        "x0_x": 2, "x0_m": -3, "clip_min": -1, "clip_max": 2, "guidance": 1, "quantile": 0.9,
        "threshold_max": 3,
        "log_std": 0.25, "log_std_v": 0.5, "y_x0": 4, "y_noise": 5, "s_m": 6, "s_x": 1, "store": 3,
    }  # fmt: skip
    expected = np.zeros(ROW)
    expected[[COLUMN[name] for name in filled]] = list(filled.values())
    assert table.rows.dtype == torch.float64 and np.array_equal(table.rows.numpy()[0], expected)
    assert len(table) == 1 and table.timesteps.tolist() == [7.0]
    assert table.input_scale.tolist() == [0.5] and table.init_scale == 8.0


def test_what_a_run_needs() -> None:
    builder = TableBuilder()
    builder.row(2, PREDICTION, X, store=M, slot=2)
    assert builder.build().history_slots == 0 and not builder.build().stochastic
    builder.row(1, PREDICTION, X + HISTORY[2])
    assert builder.build().history_slots == 3
    builder.row(0, PREDICTION, X + NOISE_PREV)
    assert builder.build().stochastic


def test_guidance_is_set_in_every_row_of_a_copy() -> None:
    builder = TableBuilder()
    for t in (1, 0):
        builder.row(t, PREDICTION, X)
    table = builder.build()
    guided = table.with_guidance(4.0, rescale=0.5)
    assert guided.rows[:, COLUMN["guidance"]].tolist() == [4, 4]
    assert guided.rows[:, COLUMN["rescale"]].tolist() == [0.5, 0.5]
    assert table.rows[:, COLUMN["guidance"]].tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"guidance is nan, expected a finite number"):
        table.with_guidance(float("nan"))
    with pytest.raises(ValueError, match=r"guidance_rescale is -0.1, expected a number in \[0, 1\]"):
        table.with_guidance(1.0, rescale=-0.1)


def test_numbers_that_are_not_finite_are_refused() -> None:
    builder = TableBuilder()
    builder.row(1, PREDICTION, X)
    builder.row(0, PREDICTION, X * float("nan"))
    with pytest.raises(ValueError, match=r"table row 1, column 'y_x' is nan, expected a finite number"):
        builder.build()
    builder = TableBuilder()
    builder.row(0, predict("epsilon", 0.0, 1.0), X0)
    with pytest.raises(
        ValueError, match=r"table row 0, column 'x0_.' is (nan|-?inf).*zero terminal SNR: use v_prediction"
    ):
        builder.build()
    builder = TableBuilder()
    builder.row(0, PREDICTION, X, clip=Clip(minimum=float("nan")))
    with pytest.raises(ValueError, match=r"column 'clip_min' is nan"):
        builder.build()
    builder = TableBuilder()
    builder.row(float("nan"), PREDICTION, X)
    with pytest.raises(ValueError, match=r"table row 0 is at time nan"):
        builder.build()


def test_reading_before_storing_is_refused() -> None:
    builder = TableBuilder()
    builder.row(1, PREDICTION, X, store=M, slot=1)
    builder.row(0, PREDICTION, X + HISTORY[0])
    with pytest.raises(ValueError, match=r"table row 1 reads history slot 0 before any row has stored it"):
        builder.build()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow_prediction"])
@pytest.mark.parametrize(("alpha", "sigma"), [(0.6, 0.8), (1.0, 3.0), (0.3, 0.7)])
def test_predictions_invert_what_networks_are_trained_on(kind: str, alpha: float, sigma: float) -> None:
    """x0 and epsilon come back from x and the training target, in any scale of the sample."""
    x0, epsilon = 1.7, -0.4
    x, rho = alpha * x0 + sigma * epsilon, np.hypot(alpha, sigma)
    target = {
        "epsilon": epsilon,
        "sample": x0,
        "v_prediction": (alpha * epsilon - sigma * x0) / rho,
        "flow_prediction": epsilon - x0,
    }[kind]
    made = predict(kind, alpha, sigma)  # type: ignore[arg-type]
    got = [
        float(part.coefficients[0]) * x + float(part.coefficients[1]) * target
        for part in (made.x0, made.epsilon)
    ]
    assert got == pytest.approx([x0, epsilon], rel=1e-12)


def accumulating() -> Table:
    """h0 ← m, then y = x + h0, so that what was stored shows."""
    builder = TableBuilder()
    builder.row(2, PREDICTION, X, store=M)
    builder.row(1, PREDICTION, X + HISTORY[0], store=HISTORY[0] * 10 + M)
    builder.row(0, PREDICTION, HISTORY[0] + ZERO)
    return builder.build()


def test_a_stepper_carries_what_rows_store() -> None:
    stepper, x = Stepper(accumulating()), torch.zeros(2, 3)
    x = stepper.step(0, x, torch.full_like(x, 5.0))
    assert (x == 0).all()
    x = stepper.step(1, x, torch.full_like(x, 7.0))
    assert (x == 5).all()
    assert (stepper.step(2, x, x) == 57).all()


def test_rows_that_read_need_those_that_store() -> None:
    stepper, x = Stepper(accumulating()), torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"i is 1, whose row reads what earlier rows store"):
        stepper.step(1, x, x)
    stepper.step(0, x, x)
    stepper.step(1, x, x)
    for other in (x[:1], x.double()):
        with pytest.raises(ValueError, match=r"i is 1, whose row reads what earlier rows store"):
            stepper.step(1, other, other)
    stepper.step(0, x, x)
    stepper.reset()
    with pytest.raises(ValueError, match=r"i is 2, whose row reads what earlier rows store"):
        stepper.step(2, x, x)


def test_seeds_may_be_replaced_between_steps() -> None:
    builder = TableBuilder()
    for t in (1, 0):
        builder.row(t, PREDICTION, NOISE)
    stepper, x = Stepper(builder.build()), torch.zeros(2, 8)
    with pytest.raises(ValueError, match="seeds"):
        stepper.step(0, x, x)
    noise = []
    for seeds in (torch.tensor([1, 2]), torch.tensor([2, 9, 1, 9])[::2], torch.tensor([1, 2])):
        stepper.seeds = seeds
        noise.append(stepper.step(0, x, x))
    assert torch.equal(noise[0], noise[2]) and torch.equal(noise[0].flip(0), noise[1])
    assert not torch.equal(stepper.step(1, x, x), noise[2])
    stepper.seeds = torch.tensor([1, 2, 3])
    with pytest.raises(ValueError, match=r"seeds has shape \(3,\), expected \(2,\)"):
        stepper.step(0, x, x)
