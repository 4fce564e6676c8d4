"""What every GPU kernel of `sampler_step` has to do, by cases against the float64 reference.

A test module of a backend derives a `Test...` class from `StepContract` and names the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from genfuse_kernels.sampler_step import reference, spec
from genfuse_kernels.sampler_step.row import COLUMN, ROW, TERMS

Kernel = Callable[..., None]

INPUTS = ("uncond", "variance", "history", "noise", "noise_prev", "seeds", "scales")


@dataclass
class Case:
    """The arguments of one call; what a test doesn't name is absent."""

    x: Tensor
    model_output: Tensor | None
    table: Tensor
    index: int | Tensor = 1
    stream: int = 0
    stored: Tensor | None = None
    inputs: dict[str, Tensor | None] = field(default_factory=lambda: dict.fromkeys(INPUTS))

    def run(self, kernel: Kernel, out: Tensor | None = None) -> Tensor:
        out = torch.full_like(self.x, torch.nan) if out is None else out
        given = self.inputs
        kernel(
            out, self.stored, self.x, self.model_output, self.table, self.index, stream=self.stream, **given
        )
        return out

    def _double(self) -> tuple[list[Any], dict[str, Any]]:
        def wide(tensor: Tensor | None) -> Tensor | None:
            return tensor.double() if tensor is not None and tensor.is_floating_point() else tensor

        inputs = {name: wide(tensor) for name, tensor in self.inputs.items()}
        inputs["history"] = () if inputs["history"] is None else inputs["history"]
        return [wide(self.x), wide(self.model_output), wide(self.table), self.index], inputs

    def expected(self) -> tuple[Tensor, Tensor]:
        arguments, inputs = self._double()
        return reference.sampler_step(*arguments, **inputs, stream=self.stream)

    def allowed(self) -> tuple[Tensor, Tensor]:
        arguments, inputs = self._double()
        y, s = reference.magnitude(*arguments, **inputs, stream=self.stream)
        relative, absolute = spec.tolerance(self.x.dtype, len(TERMS))
        return relative * y + absolute, relative * s + absolute


def check(got: Tensor, expected: Tensor, allowed: Tensor) -> None:
    error = (got.double() - expected).abs()
    assert (error <= allowed).all(), (
        f"largest error is {(error / allowed).nan_to_num(torch.inf).max()} of allowed"
    )


def table(*rows: dict[str, float], dtype: torch.dtype = torch.float64) -> Tensor:
    """A table of rows without clip, guidance or store, but for the columns named."""
    base = {"clip_min": -torch.inf, "clip_max": torch.inf, "guidance": 1.0, "store": -1.0}
    values = torch.zeros(len(rows), ROW, dtype=torch.float64)
    for i, columns in enumerate(rows):
        for name, value in (base | columns).items():
            values[i, COLUMN[name]] = value
    return values.to(dtype)


DEAD = {"y_x": torch.nan}
"""Rows around the one in use: a wrong row shows."""

EULER = {"y_x": 1.0, "y_m": -0.37}
CLIPPED = {"x0_x": 1.7, "x0_m": -1.1, "clip_min": -1.0, "clip_max": 1.0, "y_x0": 0.6, "y_x": 0.5}
GUIDED = CLIPPED | {"guidance": 7.5, "y_m": 0.2}
RESCALED = GUIDED | {"rescale": 0.7, "clip_min": -torch.inf, "clip_max": torch.inf}
THRESHOLDED = GUIDED | {"quantile": 0.95, "threshold_max": 50.0}
MULTISTEP = CLIPPED | {"y_h0": -0.4, "y_h2": 0.3, "s_x0": 1.0, "store": 1.0}
ANCESTRAL = CLIPPED | {"y_noise": 0.8}
LEARNED = CLIPPED | {"y_noise": 1.0, "log_std": -2.3, "log_std_v": 1.4}
MIDPOINT = CLIPPED | {"y_noise": 0.3, "y_noise_prev": 0.7, "s_noise": 0.5}
EVERYTHING = (
    THRESHOLDED
    | {"rescale": 0.4, "y_noise": 0.3, "y_noise_prev": -0.6, "log_std": -1.0, "log_std_v": 0.8, "store": 2.0}
    | {f"y_h{k}": 0.1 * (k + 1) for k in range(4)}
    | {"s_x": 0.9, "s_m": -0.5, "s_x0": 1.1, "s_h0": 0.2, "s_h1": 0.3, "s_noise": 0.2, "s_noise_prev": 0.1}
)
ROWS = {
    "euler": EULER,
    "clipped": CLIPPED,
    "guided": GUIDED,
    "guidance 0": GUIDED | {"guidance": 0.0},
    "guidance 1": GUIDED | {"guidance": 1.0},
    "rescaled": RESCALED,
    "thresholded": THRESHOLDED,
    "multistep": MULTISTEP,
    "ancestral": ANCESTRAL,
    "learned variance": LEARNED,
    "two noises": MIDPOINT,
    "everything": EVERYTHING,
}


def random_case(shape: tuple[int, ...], dtype: torch.dtype, columns: dict[str, float]) -> Case:
    """Every tensor given and random; the table float32 unless x is float64."""
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    torch.manual_seed(len(shape) + sum(shape))
    case = Case(
        x=torch.randn(shape).to(dtype),
        model_output=torch.randn(shape).to(dtype),
        table=table(DEAD, columns, DEAD, dtype=compute),
    )
    for name in ("uncond", "variance"):
        case.inputs[name] = torch.randn(shape).to(dtype)
    case.inputs["history"] = torch.randn(4, *shape).to(dtype)
    case.inputs["seeds"] = torch.randint(-(2**63), 2**63 - 1, shape[:1])
    case.inputs["scales"] = torch.rand(shape[0], 2).to(compute) + torch.tensor([0.5, 1.0], dtype=compute)
    return case


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.movedim(-3, -1).contiguous().movedim(-1, -3)


def _wide(tensor: Tensor) -> Tensor:
    return torch.full((*tensor.shape[:-3], 2 * tensor.shape[-3], *tensor.shape[-2:]), torch.nan)


def _upper_half(wide: Tensor, tensor: Tensor) -> Tensor:
    return wide[..., tensor.shape[-3] :, :, :].copy_(tensor)


LAYOUTS = {
    "channels_last": channels_last,
    "sliced channels": lambda tensor: _upper_half(_wide(tensor), tensor),
    "sliced channels_last": lambda tensor: _upper_half(channels_last(_wide(tensor)), tensor),
    "every other": lambda tensor: torch.stack((tensor, tensor * torch.nan), -1)[..., 0],
    "narrowed width": lambda tensor: torch.cat((tensor, tensor * torch.nan), -1)[..., : tensor.shape[-1]],
    "unaligned": lambda tensor: torch.cat((torch.ones(1), tensor.flatten()))[1:].view(tensor.shape),
}


class StepContract:
    kernel: Kernel

    @pytest.mark.parametrize("dtype", spec.DTYPES, ids=str)
    @pytest.mark.parametrize("name", ROWS)
    def test_every_kind_of_row(self, name, dtype):
        case = random_case((2, 3, 5, 7), dtype, ROWS[name])
        expected, allowed = case.expected(), case.allowed()
        case.stored = torch.full_like(case.x, torch.nan)
        history = case.inputs["history"].clone()
        check(case.run(self.kernel), expected[0], allowed[0])
        check(case.stored, expected[1], allowed[1])
        assert torch.equal(case.inputs["history"], history)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
    def test_given_noise_replaces_what_philox_would_draw(self, dtype):
        case = random_case((2, 3, 5, 7), dtype, MIDPOINT)
        case.inputs["noise"], case.inputs["noise_prev"] = torch.randn(2, *case.x.shape).to(dtype)
        case.inputs["seeds"] = None
        check(case.run(self.kernel), case.expected()[0], case.allowed()[0])

    @pytest.mark.parametrize(
        "shape", [(1, 1), (3,), (2, 1, 1, 1), (2, 600), (1, 2, 3, 2, 4), (2, 4, 8, 8)], ids=str
    )
    def test_any_shape(self, shape):
        case = random_case(shape, torch.float32, EVERYTHING)
        case.stored = torch.full_like(case.x, torch.nan)
        check(case.run(self.kernel), case.expected()[0], case.allowed()[0])
        check(case.stored, case.expected()[1], case.allowed()[1])

    @pytest.mark.parametrize(
        "shape, mixed", [((2, 3, 4, 6), True), ((2, 3, 4, 6), False), ((2, 5, 3, 3), True)]
    )
    @pytest.mark.parametrize("kind", LAYOUTS)
    def test_strides_do_not_change_a_bit(self, kind, shape, mixed):
        case = random_case(shape, torch.float32, EVERYTHING)
        case.stored = torch.full(shape, torch.nan)
        contiguous = case.run(self.kernel)
        stored = case.stored
        lay = LAYOUTS[kind]
        case.x = lay(case.x)
        case.stored = lay(torch.full(shape, torch.nan))
        for name in ("uncond", "variance", "history"):
            if not mixed:
                case.inputs[name] = lay(case.inputs[name])
        out = case.run(self.kernel, lay(torch.full(shape, torch.nan)))
        assert torch.equal(out, contiguous)
        assert torch.equal(case.stored, stored)

    @pytest.mark.parametrize("kind", ["contiguous", "every other", "narrowed width"])
    @pytest.mark.parametrize("target", ["x", "model_output", "slot 3", "slot 0"])
    def test_in_place_and_into_the_history(self, target, kind):
        lay = LAYOUTS.get(kind, torch.clone)
        case = random_case((2, 3, 5, 7), torch.float32, EVERYTHING)
        case.x, case.model_output = lay(case.x), lay(case.model_output)
        case.inputs["history"] = lay(case.inputs["history"])
        expected, allowed = case.expected(), case.allowed()
        history = case.inputs["history"]
        before = history.clone()
        out = {"x": case.x, "model_output": case.model_output, "slot 3": history[3], "slot 0": history[0]}[
            target
        ]
        check(case.run(self.kernel, out), expected[0], allowed[0])
        check(history[2], expected[1], allowed[1])
        untouched = [slot for slot in (0, 1, 3) if f"slot {slot}" != target]
        assert torch.equal(history[untouched], before[untouched])

    def test_a_row_that_stores_nothing_leaves_the_history_alone(self):
        case = random_case((2, 3, 5, 7), torch.float32, MULTISTEP | {"store": -1.0})
        before = case.inputs["history"].clone()
        check(case.run(self.kernel), case.expected()[0], case.allowed()[0])
        assert torch.equal(case.inputs["history"], before)

    @pytest.mark.parametrize(
        "index", [2, torch.tensor([2]), torch.tensor([2, 0, 1]), torch.tensor([0, 9, 2, 9, 0])[::2]]
    )
    def test_a_row_a_batch_or_a_row_a_sample(self, index):
        case = random_case((3, 2, 9), torch.float32, EULER)
        case.table = table(ANCESTRAL, EVERYTHING, MIDPOINT, dtype=torch.float32)
        case.index = index
        case.stored = torch.full_like(case.x, torch.nan)
        check(case.run(self.kernel), case.expected()[0], case.allowed()[0])
        check(case.stored, case.expected()[1], case.allowed()[1])

    @pytest.mark.parametrize("wrong", [-1, 3, 2**40, -(2**63)])
    def test_a_device_index_that_the_table_lacks_turns_its_sample_nan_and_nothing_else(self, wrong):
        case = random_case((3, 2, 9), torch.float32, EVERYTHING)
        history = case.inputs["history"]
        before = history.clone()
        case.index = torch.tensor([1, 1, 1])
        expected, allowed = case.expected(), case.allowed()
        case.index[1] = wrong
        out = case.run(self.kernel)
        assert out[1].isnan().all()
        check(out[::2], expected[0][::2], allowed[0][::2])
        assert torch.equal(history[:, 1], before[:, 1])

    @pytest.mark.parametrize("name", ["model_output", "uncond", "variance", "history", "seeds", "scales"])
    def test_an_input_that_the_row_needs_and_lacks_turns_the_output_nan(self, name):
        columns = {"model_output": EULER, "uncond": EULER, "variance": LEARNED, "history": MULTISTEP}
        case = random_case((2, 3, 5), torch.float32, columns.get(name, EVERYTHING))
        case.inputs["noise"] = None
        if name in ("model_output", "uncond"):
            case.model_output = case.inputs["uncond"] = None
        else:
            case.inputs[name] = None
        assert case.run(self.kernel).isnan().all()

    def test_a_slot_that_the_history_lacks_turns_the_output_nan_and_is_not_written(self):
        case = random_case((2, 3, 5), torch.float32, EULER | {"s_x": 1.0, "store": 2.0})
        case.inputs["history"] = torch.zeros(2, 2, 3, 5)
        assert case.run(self.kernel).isnan().all()
        assert (case.inputs["history"] == 0).all()

    def test_a_zero_coefficient_adds_nothing_to_an_infinite_input(self):
        case = random_case((1, 4), torch.float32, CLIPPED | {"y_x": 0.0, "x0_m": 0.0})
        case.x[:] = torch.tensor([torch.inf, -torch.inf, 1e38, 0.0])
        torch.testing.assert_close(case.run(self.kernel), torch.tensor([[0.6, -0.6, 0.6, 0.0]]))

    def test_a_nan_passes_the_clip(self):
        case = random_case((1, 8), torch.float32, CLIPPED | {"y_x": 0.0})
        case.x[0, 3] = torch.nan
        assert torch.equal(case.run(self.kernel).isnan()[0], torch.arange(8) == 3)

    @pytest.mark.parametrize("log_std_v, limit", [(1e4, torch.inf), (-1e4, 0.0)])
    def test_a_learned_variance_over_and_underflows_as_exp_does(self, log_std_v, limit):
        case = random_case((1, 8), torch.float32, {"y_noise": 1.0, "log_std_v": log_std_v})
        case.inputs["variance"] = torch.ones(1, 8)
        assert (case.run(self.kernel).abs() == limit).all()

    def test_a_sample_does_not_depend_on_its_batch(self):
        case = random_case((3, 3, 5, 7), torch.float32, EVERYTHING)
        case.stored = torch.full_like(case.x, torch.nan)
        together = case.run(self.kernel)
        alone = Case(case.x[1:2], case.model_output[1:2], case.table)
        alone.stored = torch.full_like(alone.x, torch.nan)
        for name, tensor in case.inputs.items():
            if tensor is not None:
                alone.inputs[name] = tensor[:, 1:2] if name == "history" else tensor[1:2]
        assert torch.equal(alone.run(self.kernel), together[1:2])
        assert torch.equal(alone.stored, case.stored[1:2])
