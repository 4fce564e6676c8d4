"""`sampler_step` in Triton against its float64 reference, with every access checked."""

from __future__ import annotations

import pytest
import torch

from genfuse.lab import interpreter
from genfuse_kernels.common import layout
from genfuse_kernels.sampler_step import spec
from genfuse_kernels.sampler_step.triton_impl import sampler_step
from ops.step_contract import ANCESTRAL, EULER, ROWS, StepContract, channels_last, check, random_case


class TestContract(StepContract):
    kernel = staticmethod(sampler_step)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4)], ids=str)
def test_nothing_to_do(shape):
    with interpreter.record() as traffic:
        assert random_case(shape, torch.float32, EULER).run(sampler_step).shape == shape
    assert traffic.launches == 0


def test_deterministic_rows_in_channels_last_take_the_flat_order():
    x = channels_last(torch.randn(2, 4, 6, 6))
    assert layout.walk([x, x], draws=False).arguments["ORDER"] == "flat"
    assert layout.walk([x, x], draws=True).arguments["ORDER"] == "pixels"
    assert layout.walk([x, x.contiguous()], draws=False).arguments["ORDER"] != "flat"


DEAD_INPUTS = [
    ("euler", {"uncond", "variance", "history", "seeds", "scales"}),
    ("guidance 0", {"model_output", "variance", "history"}),
    ("guidance 1", {"uncond", "variance", "history"}),
    ("ancestral", {"uncond", "variance", "history"}),
    ("multistep", {"uncond", "variance"}),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("name, dead", DEAD_INPUTS, ids=[name for name, _ in DEAD_INPUTS])
def test_dead_inputs_are_not_read_and_live_ones_are_read_once(name, dead, dtype):
    case = random_case((2, 3, 5, 7), dtype, ROWS[name])
    if name in ("euler", "ancestral", "multistep"):
        case.inputs["uncond"] = None
    expected, allowed = case.expected(), case.allowed()
    given = {"x": case.x, "model_output": case.model_output} | case.inputs
    for argument in dead - {"seeds"}:
        if given[argument] is not None:
            given[argument].fill_(torch.nan)
    history = case.inputs["history"]
    if name == "multistep":
        history[1] = history[3] = torch.nan
    out = torch.full_like(case.x, torch.nan)
    with interpreter.record() as traffic:
        check(case.run(sampler_step, out), expected[0], allowed[0])
    live = {"x", "model_output", "uncond"} - dead
    sizes = {argument: traffic.loaded[t.data_ptr()] for argument, t in given.items() if t is not None}
    bytes_of_x = case.x.numel() * case.x.element_size()
    assert all(
        sizes.get(argument, bytes_of_x) == bytes_of_x for argument in live if given[argument] is not None
    )
    assert all(sizes.get(argument, 0) == 0 for argument in dead)
    assert sizes["history"] == (2 * bytes_of_x if name == "multistep" else 0)
    inputs = sum(given[argument] is not None for argument in live) + (2 if name == "multistep" else 0)
    outputs = 2 if name == "multistep" else 1
    moved = sum(sizes.get(argument, 0) for argument in ("x", "model_output", "uncond", "variance", "history"))
    moved += traffic.stored[out.data_ptr()] + traffic.stored[history.data_ptr()]
    assert moved == spec.bytes_moved(case.x.numel(), case.x.element_size(), inputs, outputs)


def test_offsets_in_64_bits_give_the_same_bits(monkeypatch):
    case = random_case((2, 3, 4, 6), torch.float32, ANCESTRAL)
    narrow = case.run(sampler_step)
    monkeypatch.setattr(layout, "INT32_LIMIT", 0)
    assert torch.equal(case.run(sampler_step), narrow)
    assert torch.equal(case.run(sampler_step, channels_last(narrow * 0)), narrow)
