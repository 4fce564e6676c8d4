"""`genfuse bench conv_norm_act`: the smoke run, the gates on errors, and what it writes down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from genfuse_bench import contest, gemm_peak, sections
from genfuse_bench.command import app
from genfuse_bench.contest import Contest
from genfuse_bench.conv_norm_act import UnitRow, prepared, unit_rows
from genfuse_bench.diffusion_networks import cifar_unet, vae_decoder
from genfuse_bench.gan_networks import cyclegan_generator, dcgan_generator
from genfuse_bench.machine import Machine
from genfuse_bench.module_peers import MODULE_PEERS, ModulePeer
from genfuse_bench.own_process import peak
from genfuse_bench.record import Record
from genfuse_bench.timing import Effort
from genfuse_bench.units import group_norm_unit
from genfuse_bench.worker import Local, Worker
from genfuse_bench.workload import Inputs, Run

QUICK = Effort(1, 0.02, 0.05)
FP32, BF16 = torch.float32, torch.bfloat16


def rows(dtype: torch.dtype = FP32, allocators: tuple[str, ...] = ("default",)) -> list[UnitRow]:
    measurers = {name: Local() for name in allocators}
    return unit_rows(measurers, "quick", 0, dtype, ["eager"], 100.0, QUICK)


def test_quick_run() -> None:
    result = CliRunner().invoke(app, ["conv_norm_act", "--quick", "--threads", "1"])
    assert result.exit_code == 0, result.output
    assert "1×32×8×8" in result.output and "eager" in result.output


def test_a_row_counts_and_is_written(tmp_path: Path) -> None:
    (row,) = rows()
    flops = 2 * 32 * 64 * 9 * 32
    assert row.gflops == pytest.approx(flops / row.ours_ms / 1e6) and row.share == row.gflops / 100
    assert row.best_peer == "eager" and row.ratio == pytest.approx(row.peers_ms["eager"] / row.ours_ms)
    record = Record(tmp_path / "rows.jsonl")
    record.add([row], Machine.here())
    line = json.loads(record.path.read_text())
    assert line["workload"] == "unit" and line["error"] <= line["tolerance"] and "commit" in line


def test_a_unit_of_any_shape_and_its_peak_of_memory() -> None:
    section = sections.of_shapes([(2, 32, 64, 64)])
    assert sections.size(section) == 1 and sections.make(section, 0).shape == (2, 32, 64, 64)
    with pytest.raises(ValueError, match="multiple of 32 channels"):
        sections.of_shapes([(1, 3, 32, 32)])
    growth = peak(prepared, "ours fast", section, 0, FP32, threads=1)
    assert growth is None or growth > 0


def test_bytes_are_those_of_the_design() -> None:
    """x twice, for its statistics; residual and output; Winograd's 36 weights a pair of channels; 3 parameters."""
    (row,) = rows()
    image = 4 * 32 * 64
    assert row.backend == "cpu"
    assert row.bytes_moved == 4 * image + 4 * 36 * 32 * 32 + 3 * 4 * 32
    assert row.bytes_minimum == 3 * image + 4 * (9 * 32 * 32 + 3 * 32)


def test_half_precision_has_a_row_for_each_accuracy() -> None:
    default, exact, fast = rows(BF16)
    assert (default.accuracy, exact.accuracy, fast.accuracy) == ("default", "exact", "fast")
    assert default.tolerance == exact.tolerance == 2 * exact.torch_error
    assert not default.refused and not exact.refused and not fast.refused


def test_exact_with_more_than_twice_the_error_of_pytorch_has_no_speed(monkeypatch: Any) -> None:
    monkeypatch.setattr(contest, "EXACT_GROWTH", 1e-3)
    _, exact, fast = rows(BF16)
    assert exact.refused and exact.ours_ms is exact.ratio is exact.gflops is exact.planar_ms is None
    assert fast.ours_ms is not None


def test_peers_have_the_better_of_both_allocators_and_ours_the_default() -> None:
    (row,) = rows(allocators=("tuned", "default"))
    both = [row.median_ms[name]["eager"] for name in ("tuned", "default")]
    assert row.peers_ms["eager"] == min(both)
    assert row.ours_ms == row.median_ms["default"]["ours fast"]


def test_a_process_of_its_own_gives_the_same() -> None:
    worker = Worker("tuned", threads=1)
    try:
        facts = worker.prepare("quick", 0, FP32, ["eager"])
        assert facts == Local().prepare("quick", 0, FP32, ["eager"])
        assert set(worker.window(QUICK).turns) == {"ours fast", "ours fast planar", "eager"}
        with pytest.raises(RuntimeError, match="KeyError"):
            worker.prepare("nothing", 0, FP32, [])
    finally:
        worker.close()


def test_peers_that_fail_or_compute_something_else_are_listed_and_not_timed() -> None:
    def failing(module: nn.Module, inputs: Inputs, dtype: torch.dtype) -> Run:
        raise ValueError("no such layer")

    def wrong(module: nn.Module, inputs: Inputs, dtype: torch.dtype) -> Run:
        return Run(lambda: module(*inputs) + 1, lambda y: y)

    peers = [ModulePeer("failing", failing), ModulePeer("wrong", wrong, bare=True)]
    held = Contest(sections.make("quick", 0), FP32, peers)
    assert held.facts.unfit["failing"] == "ValueError: no such layer"
    assert held.facts.unfit["wrong"].startswith("wrong: error")
    assert set(held.window(QUICK).turns) == {"ours fast", "ours fast planar"}


@pytest.mark.parametrize("dtype", [FP32, BF16])
def test_installed_peers_run_the_unit_right(dtype: torch.dtype) -> None:
    peers = [peer for name, peer in MODULE_PEERS.items() if name != "compile" and not peer.missing()]
    facts = Contest(group_norm_unit(2, 32, 6), dtype, peers).facts
    assert facts.unfit == {}
    ran = {f"{peer.name} bare" if peer.bare else peer.name for peer in peers if dtype in peer.dtypes}
    assert ran <= set(facts.errors)


@pytest.mark.parametrize(
    ("section", "number"),
    [("few_channels", 4), ("depthwise", 4), ("small_pictures", 0), ("pointwise", 0), ("strided", 3)],
)
def test_convolutions_are_right(section: str, number: int) -> None:
    facts = Contest(sections.make(section, number), FP32, []).facts
    assert facts.errors["ours fast"] <= facts.tolerances["fast"]


def test_convolutions_are_counted() -> None:
    assert sections.make("pointwise", 1).flops == 2 * 8 * 256 * 256 * 32 * 32
    assert sections.make("depthwise", 0).flops == 2 * 8 * 64 * 9 * 32 * 32


def test_the_peak_is_that_of_a_matrix_product(monkeypatch: Any) -> None:
    monkeypatch.setattr(gemm_peak, "SIZES", (64,))
    monkeypatch.setattr(gemm_peak, "SECONDS", 0.01)
    assert 0 < gemm_peak.gemm_peak(BF16) < 1e6


def test_the_networks_are_the_published_ones() -> None:
    with torch.no_grad():
        assert dcgan_generator().eval()(torch.zeros(1, 100, 1, 1)).shape == (1, 3, 64, 64)
        assert cyclegan_generator(1).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)
    for network, weights in ((cyclegan_generator(), 11.4e6), (cifar_unet(), 35.7e6), (vae_decoder(), 49.5e6)):
        assert sum(p.numel() for p in network.parameters()) == pytest.approx(weights, rel=0.01)


def test_the_diffusion_networks_are_counted_and_optimised_right() -> None:
    """12.1 GFLOP a picture of the CIFAR-10 U-Net, 0.725 of the small one, whose error is within its tolerance."""
    cifar, small = (sections.make(section, 1) for section in ("unet", "small_unet"))
    assert cifar.flops == pytest.approx(12.1e9, rel=0.02)
    assert small.flops == pytest.approx(0.725e9, rel=0.05)
    facts = Contest(small, FP32, []).facts
    assert facts.errors["ours fast"] <= facts.tolerances["fast"]
    assert facts.moved["fast"] > facts.minimum


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sections", "unit"], "'unit' is not one of"),
        (["--peers", "tvm"], "'tvm' is not one of"),
        (["--dtype", "float64"], "'float64' is not one of"),
        (["--allocator", "x"], "expected both, tuned or default"),
    ],
)
def test_bad_options(options: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["conv_norm_act", *options])
    assert result.exit_code == 2 and words in " ".join(result.output.split())
