"""`genfuse.trace`: every launch with its reasons, bytes and FLOPs, as a table and for Perfetto."""

from __future__ import annotations

import json

import pytest
import torch

import genfuse
from genfuse_kernels.common.work import gradient_work, work
from genfuse_kernels.conv_norm_act.settings import Settings


def test_a_trace_has_what_ran_why_and_what_it_moved(tmp_path):
    x, weight = torch.randn(2, 8, 12, 12), torch.randn(16, 8, 3, 3)
    path = tmp_path / "trace.json"
    with genfuse.trace(path) as found, torch.no_grad():
        y = genfuse.ops.conv_norm_act(x, weight, padding=1, norm="group", num_groups=4)
        genfuse.ops.norm_stats(x)
    unit, stats = found.events
    assert (unit.op, unit.choice.backend, stats.op) == ("conv_norm_act", "cpu", "norm_stats")
    assert unit.work.flops == 2 * y.numel() * 8 * 9
    assert unit.work.bytes == 2 * x.nbytes + weight.nbytes + y.nbytes
    assert 0 < unit.seconds < found.seconds and unit.start < stats.start
    first = json.loads(path.read_text())["traceEvents"][0]
    assert first["ph"] == "X" and first["dur"] > 0 and first["args"]["bytes"] == unit.work.bytes
    assert "aten" in first["args"]["passed over"] and first["args"]["share of the roofline"] > 0
    assert "conv_norm_act" in str(found) and "GFLOP/s" in str(found)


def test_plans_are_taken_apart_and_come_back(tmp_path):
    sampler, x = genfuse.Sampler("euler", 4), torch.randn(1, 3, 8, 8)
    out = sampler.step(x, 0, x.clone(), out=torch.empty_like(x)).clone()
    with genfuse.trace() as found:
        assert torch.equal(sampler.step(x, 0, x.clone(), out=torch.empty_like(x)), out)
        weights = [torch.ones(3)]
        genfuse.ops.clip_weights(weights, 0.5)
    step, clipped = found.events
    assert step.work.bytes == 3 * x.nbytes and clipped.op == "clip_weights"
    sampler.step(x, 0, x.clone(), out=torch.empty_like(x))
    assert len(found.events) == 2


def test_a_trace_in_a_trace_and_a_path_that_cannot_be_written_are_refused_before_anything_runs(tmp_path):
    with genfuse.trace(), pytest.raises(RuntimeError, match="already"), genfuse.trace():
        pass
    with pytest.raises(ValueError, match="which is a folder"), genfuse.trace(tmp_path):
        pytest.fail("ran")


def test_a_failing_block_ends_the_trace():
    with pytest.raises(KeyError), genfuse.trace():
        raise KeyError("mine")
    with genfuse.trace() as found:
        genfuse.ops.norm_stats(torch.ones(1, 1, 2, 2))
    assert len(found.events) == 1


def test_a_transposed_unit_counts_each_tap_once():
    x, weight = torch.empty(1, 4, 5, 5), torch.empty(4, 6, 4, 4)
    given = {"out": torch.empty(1, 6, 10, 10), "x": x, "weight": weight, "bias": None}
    s = Settings(transposed=True, stride=(2, 2), padding=(1, 1))
    assert work("conv_norm_act", given | {"settings": s}).flops == 2 * 25 * 4 * 6 * 16


def test_a_backward_pass_is_recorded_too():
    x, weight = torch.randn(2, 8, 12, 12, requires_grad=True), torch.randn(16, 8, 3, 3, requires_grad=True)
    with genfuse.trace() as found:
        y = genfuse.ops.conv_norm_act(x, weight, padding=1, norm="group", num_groups=4, activation="silu")
        y.sum().backward()
        genfuse.ops.bias_act(x, activation="silu").sum().backward()
    events = {event.op: event for event in found.events}
    unit = events["conv_norm_act_gradient"]
    assert unit.choice.backend == events["conv_norm_act"].choice.backend == "cpu"
    assert unit.work.flops == 2 * events["conv_norm_act"].work.flops
    assert unit.work.bytes >= 2 * x.nbytes + 2 * weight.nbytes + y.nbytes  # read, and as many made
    assert events["bias_act_gradient"].work.bytes >= 3 * x.nbytes and unit.seconds > 0
    assert unit.shapes["gradient"] == tuple(y.shape)


def test_a_gradient_penalty_shows_its_passes():
    critic = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 4, 2, 1), torch.nn.LeakyReLU(0.2), torch.nn.Conv2d(8, 1, 4)
    )
    real, fake = torch.randn(2, 2, 3, 8, 8)
    with genfuse.trace() as found:
        genfuse.gradient_penalty(critic, real, fake, kind="wgan-gp", seed=0).backward()
    ops = [event.op for event in found.events]
    # forward and tangents, gradients of data and of weights
    assert ops.count("conv_norm_act") >= 2 and ops.count("conv_norm_act_gradient") >= 2


def test_attention_backwards_is_five_products():
    q = torch.empty(1, 2, 9, 8)
    given = {"gradient": q, "q": q, "k": q, "v": q}
    assert gradient_work("attention", given, None) == (
        q.nbytes,
        work("attention", given | {"out": q}).flops * 5 // 2,
    )
