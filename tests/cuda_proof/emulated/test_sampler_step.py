"""`sampler_step` in CUDA, emulated, against its float64 reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cuda_proof.device import on_device
from genfuse_kernels.common import cuda_walk
from genfuse_kernels.sampler_step import cuda_impl, spec
from genfuse_kernels.sampler_step.cuda_impl import sampler_step
from ops.cpu_cases import LAYOUTS, laid_out, random_call, untouched_elsewhere
from ops.step_contract import (
    ANCESTRAL,
    DEAD,
    EULER,
    EVERYTHING,
    MIDPOINT,
    ROWS,
    Case,
    StepContract,
    channels_last,
    check,
    random_case,
    table,
)
from triton_proof.seeds import rotating


class TestContract(StepContract):
    kernel = staticmethod(sampler_step)


@pytest.mark.parametrize("dtype", spec.DTYPES, ids=str)
@pytest.mark.parametrize("seed", rotating(4, 40))
def test_random_rows_and_layouts(seed, dtype):
    rng = np.random.default_rng([seed, spec.DTYPES.index(dtype)])
    shape = [(1, 1), (3, 5), (2, 3, 7, 9), (2, 4, 16, 16), (1, 2, 3, 5, 7), (2, 3, 33, 64), (5,), (2, 8, 12)][
        seed % 8
    ]
    call = random_call(rng, dtype, shape)
    inputs = {name: value for name, value in call.options.items() if name != "stream"}
    case = Case(call.x, call.model_output, call.table, call.index, call.options["stream"], inputs=inputs)
    expected, allowed = case.expected(), case.allowed()
    layouts = rng.choice(LAYOUTS, 2)
    out, case.stored = (laid_out(torch.full(shape, math.nan, dtype=dtype), layout) for layout in layouts)
    case.run(sampler_step, out)
    check(out, expected[0], allowed[0])
    check(case.stored, expected[1], allowed[1])
    assert untouched_elsewhere(out) and untouched_elsewhere(case.stored)


def _in_channels_last(case: Case) -> Case:
    case.x, case.model_output = channels_last(case.x), channels_last(case.model_output)
    for name in ("uncond", "variance", "history", "noise", "noise_prev"):
        if case.inputs[name] is not None:
            case.inputs[name] = channels_last(case.inputs[name])
    return case


@pytest.mark.parametrize("dtype", spec.DTYPES, ids=str)
@pytest.mark.parametrize("columns", [ANCESTRAL, MIDPOINT, EVERYTHING], ids=["one", "two", "everything"])
@pytest.mark.parametrize("shape", [(2, 3, 20, 20), (1, 128, 4, 4)], ids=str)
def test_noise_in_channels_last_is_that_of_the_logical_element(shape, columns, dtype):
    case = random_case(shape, dtype, columns)
    case.stored = torch.full_like(case.x, torch.nan)
    contiguous, stored = case.run(sampler_step), case.stored
    case = _in_channels_last(case)
    case.stored = torch.full_like(case.x, torch.nan)
    assert cuda_walk.walk([case.x], draws=True).order == "channels_last"
    assert torch.equal(case.run(sampler_step), contiguous)
    assert torch.equal(case.stored, stored)


def test_orders():
    x = channels_last(torch.randn(2, 4, 6, 6))
    assert cuda_walk.walk([x, x], draws=False).order == "flat"
    assert cuda_walk.walk([x, x], draws=True).order == "channels_last"
    assert cuda_walk.walk([x, x.contiguous()], draws=False).order == "planes"
    many = channels_last(torch.randn(1, 132, 4, 4))
    assert cuda_walk.walk([many], draws=True).order == "planes"


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4)], ids=str)
def test_nothing_to_do(shape, monkeypatch):
    monkeypatch.setattr(cuda_impl, "launch", lambda *_: pytest.fail("launched"))
    assert random_case(shape, torch.float32, EULER).run(sampler_step).shape == shape


DEAD_INPUTS = {
    "euler": {"uncond", "variance", "history", "seeds", "scales"},
    "guidance 0": {"model_output", "variance", "history"},
    "guidance 1": {"uncond", "variance", "history"},
    "ancestral": {"variance", "history"},
}


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "planes"])
@pytest.mark.parametrize("name", DEAD_INPUTS)
def test_dead_inputs_are_not_read(name, layout, launch, monkeypatch):
    """Their address is one that nobody may read: a read would end the process."""
    case = random_case((2, 4, 6, 7 if layout == "planes" else 8), torch.float32, ROWS[name])
    case = _in_channels_last(case) if layout == "channels_last" else case
    expected, allowed = case.expected(), case.allowed()
    if name == "euler":
        case.inputs["uncond"] = None

    def with_bad_addresses(kernel, blocks, arguments, device):
        for argument in DEAD_INPUTS[name] & set(arguments.dtype.names) - {
            "uncond" if name == "euler" else ""
        }:
            if arguments[argument].dtype == cuda_walk.OPERAND:
                arguments[argument]["data"] = 16
        launch(kernel, blocks, arguments, device)

    monkeypatch.setattr(cuda_impl, "launch", with_bad_addresses)
    check(case.run(sampler_step), expected[0], allowed[0])


def test_the_table_may_be_of_either_precision_and_a_slice():
    case = random_case((2, 3, 8), torch.float32, EVERYTHING)
    case.stored = torch.empty_like(case.x)  # else the first run's goes to the history that the second reads
    single = case.run(sampler_step)
    case.table = torch.cat([torch.full_like(case.table, torch.nan), case.table], 1).double()[:, 32:]
    assert torch.equal(case.run(sampler_step), single)


@pytest.mark.parametrize(
    "lay", [torch.clone, channels_last, lambda x: x[..., ::2]], ids=["flat", "last", "planes"]
)
def test_offsets_in_64_bits_give_the_same_bits(lay, monkeypatch):
    case = random_case((2, 3, 4, 8), torch.float32, ANCESTRAL)
    case.x, case.model_output = lay(case.x), lay(case.model_output)
    case.inputs |= dict.fromkeys(("uncond", "variance", "history"))
    narrow = case.run(sampler_step)
    monkeypatch.setattr(cuda_walk, "INT32_LIMIT", 0)
    assert torch.equal(case.run(sampler_step), narrow)


def test_an_index_on_the_device_moves_the_step_on_without_new_arguments(launch, monkeypatch):
    """What a captured graph replays: the same arguments, other numbers behind them."""
    case = random_case((2, 3, 8), torch.float32, EULER)
    case.table = torch.stack([case.table[1] * 0.5, case.table[1]])
    case.index = torch.tensor([0])
    captured = []
    monkeypatch.setattr(cuda_impl, "launch", lambda *call: captured.append(call))
    out = case.run(sampler_step)
    for row in (0, 1):
        case.index.fill_(row)
        expected, allowed = case.expected(), case.allowed()
        launch(*captured[0])
        check(out, expected[0], allowed[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("factor", [1.0, 1.0009765625, 0.0030059814453125])
def test_every_pattern_of_16_bits_is_widened_and_rounded_as_torch_does(factor, dtype):
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype).reshape(1, -1)
    case = Case(patterns, None, table(DEAD, {"y_x": factor}, dtype=torch.float32))
    expected = (patterns.float() * factor).to(dtype)
    torch.testing.assert_close(case.run(sampler_step), expected, rtol=0, atol=0, equal_nan=True)


def test_what_runs_on_a_device_keeps_strides_offsets_and_overlaps():
    """The wrapper of the cases that need a GPU, rehearsed."""
    cases = [_in_channels_last(random_case((2, 3, 4, 8), torch.float32, EVERYTHING)) for _ in range(2)]
    outs = [case.inputs["history"][3][..., ::2] for case in cases]
    for case, out, kernel in zip(cases, outs, (sampler_step, on_device(sampler_step, "cpu")), strict=True):
        case.x, case.model_output = case.x[..., ::2], case.model_output[..., ::2]
        case.inputs |= {name: case.inputs[name][..., ::2] for name in ("uncond", "variance", "history")}
        case.run(kernel, out)
    assert torch.equal(*outs)
    assert torch.equal(*(case.inputs["history"] for case in cases))
