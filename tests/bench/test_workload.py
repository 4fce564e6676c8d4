"""No speed without correctness; and the counts that are not times."""

from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

from genfuse import Sampler
from genfuse_bench import step_report
from genfuse_bench.launches import launch_rows
from genfuse_bench.memory import allocations
from genfuse_bench.peers import PEERS
from genfuse_bench.sampler_step import slowest, step_row
from genfuse_bench.solvers import SOLVERS, TIMED
from genfuse_bench.timing import Effort
from genfuse_bench.trajectories import StepObject, inputs

QUICK = Effort(windows=1, window=0.0, limit=0.0)
CPU = torch.device("cpu")


def row(solver="euler", shape=(2, 3, 8, 8), dtype=torch.float32, peer=None):
    return step_row(SOLVERS[solver], *inputs(shape, dtype, CPU), peer, QUICK)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_is_accurate_and_measured_beside_diffusers(solver):
    pytest.importorskip("diffusers")
    measured = row(solver, peer=PEERS["diffusers"])
    assert measured.refused is None
    assert min(measured.ours_us, measured.face_us, measured.peer_us, measured.floor_us) > 0
    assert measured.ratio == measured.peer_us / measured.ours_us
    assert slowest([measured]) is measured


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes_are_accurate(dtype):
    assert row("unipc", dtype=dtype).refused is None


def test_without_a_peer_there_is_no_ratio():
    measured = row()
    assert (measured.peer, measured.peer_us, measured.ratio) == (None, None, None)
    assert slowest([measured]) is None


@pytest.mark.parametrize("planted", [1.001, float("nan")])
def test_a_planted_error_reports_no_speed(monkeypatch, planted):
    right = Sampler.step

    def wrong(self, model_output, i, x, out=None):
        return right(self, model_output, i, x, out=out).mul_(planted)

    monkeypatch.setattr(Sampler, "step", wrong)
    refused = row()
    assert not refused.error <= refused.tolerance
    assert refused.ours_us is refused.face_us is refused.floor_us is refused.floors is None
    console = Console(file=io.StringIO(), width=200)
    step_report.show_steps([refused], console)
    assert "no speed reported" in console.file.getvalue()


def test_launches_are_one_kernel_and_no_read_of_ours():
    pytest.importorskip("diffusers")
    ours, face, peer = launch_rows(SOLVERS["ddpm"], PEERS["diffusers"])
    assert (ours.kernels, ours.host_reads) == (face.kernels, face.host_reads) == (1, 0)
    assert peer.kernels > 8
    assert peer.host_reads >= 2


def test_a_step_reads_one_buffer_and_writes_another_as_the_floor_does():
    x, model_output = inputs((2, 3, 8, 8), torch.float32, CPU)
    run = StepObject(SOLVERS["euler"], x, model_output)
    run.begin()
    read = run.device_tensors[0]
    before = read.clone()
    run.step(0)
    assert run.device_tensors[1] is read and torch.equal(read, before)
    assert run.device_tensors[0].data_ptr() != read.data_ptr()
    assert row().floor_bytes == 3 * x.nbytes


def test_a_loop_over_kept_buffers_allocates_no_tensor_as_large_as_a_sample():
    x, model_output = inputs((4, 3, 32, 32), torch.float32, CPU)
    allocated, peak = allocations(StepObject(SOLVERS["unipc"], x, model_output), TIMED)
    assert peak <= allocated < x.numel() * x.element_size()


def test_allocations_are_counted():
    class Allocating:
        def begin(self):
            pass

        def step(self, i):
            torch.empty(1000)

    allocated, peak = allocations(Allocating(), range(1, 5))
    assert 4 * 4000 <= allocated < 4 * 4000 + 1000
    assert 4000 <= peak < 5000
