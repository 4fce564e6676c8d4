"""`genfuse bench conv_norm_act`: the smoke run, the gate on errors, and what it writes down."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from genfuse_bench.command import app
from genfuse_bench.conv_norm_act import cyclegan_generator, dcgan_generator, diffusion, units, workload_row
from genfuse_bench.diffusion_networks import cifar_unet, vae_decoder
from genfuse_bench.machine import Machine
from genfuse_bench.module_peers import MODULE_PEERS
from genfuse_bench.record import Record
from genfuse_bench.timing import Effort

QUICK = Effort(1, 0.02, 0.05)


def test_quick_run() -> None:
    result = CliRunner().invoke(app, ["conv_norm_act", "--quick", "--threads", "1"])
    assert result.exit_code == 0, result.output
    assert "1×32×8×8" in result.output and "eager" in result.output


def test_a_row_counts_and_is_written(tmp_path: Path) -> None:
    (workload,) = units([(2, 32, 6)])
    assert workload.flops == 2 * 2 * 32 * 36 * 9 * 32
    row = workload_row(workload, [MODULE_PEERS["eager"]], QUICK)
    assert row.best_peer == "eager" and row.ratio == pytest.approx(row.peers_ms["eager"] / row.ours_ms)
    record = Record(tmp_path / "rows.jsonl")
    record.add([row], Machine.here())
    line = json.loads(record.path.read_text())
    assert line["workload"] == "unit" and line["error"] <= line["tolerance"] and "commit" in line


def test_an_inaccurate_row_has_no_speed() -> None:
    (workload,) = units([(1, 32, 4)])
    row = workload_row(dataclasses.replace(workload, tolerance=1e-12), [MODULE_PEERS["eager"]], QUICK)
    assert row.refused and row.ours_ms is None and row.ratio is None


def test_the_networks_are_the_published_ones() -> None:
    with torch.no_grad():
        assert dcgan_generator().eval()(torch.zeros(1, 100, 1, 1)).shape == (1, 3, 64, 64)
        assert cyclegan_generator(1).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)
    for network, weights in ((cyclegan_generator(), 11.4e6), (cifar_unet(), 35.7e6), (vae_decoder(), 49.5e6)):
        assert sum(p.numel() for p in network.parameters()) == pytest.approx(weights, rel=0.01)


def test_the_diffusion_networks_are_counted_and_optimised_right() -> None:
    """12.1 GFLOP a picture of the CIFAR-10 U-Net, 0.725 of the small one, whose error is within its tolerance."""
    for workload in diffusion():
        if workload.name == "CIFAR-10 U-Net":
            assert workload.flops == pytest.approx(12.1e9 * workload.shape[0], rel=0.02)
        elif workload.shape[0] == 1:
            assert workload.flops == pytest.approx(0.725e9, rel=0.05)
            row = workload_row(workload, [], QUICK)
            assert not row.refused, row
            break


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sections", "unit"], "'unit' is not one of"),
        (["--peers", "tvm"], "'tvm' is not one of"),
        (["--allocator", "x"], "expected tuned or default"),
    ],
)
def test_bad_options(options: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["conv_norm_act", *options])
    assert result.exit_code == 2 and words in " ".join(result.output.split())
