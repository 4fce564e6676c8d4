"""`genfuse bench training`: its rows are held against float64, and say what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from genfuse_bench import training_memory
from genfuse_bench.command import app
from genfuse_bench.gan_networks import dcgan_critic, dcgan_generator
from genfuse_bench.own_process import peak
from genfuse_bench.timing import Effort
from genfuse_bench.training import Step, gradient_rows, step_row
from genfuse_bench.training_command import CONVOLUTIONS
from genfuse_bench.training_system import system_row

QUICK = Effort(1, 0.01, 0.02)


def small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 3, padding=1)
    )


def test_a_step_is_held_against_float64_and_says_what_it_keeps() -> None:
    row = step_row("small", small(), (torch.randn(2, 3, 8, 8),), ["eager", "eager channels-last"], QUICK)
    assert (
        row.ours_ms
        and row.low_ms
        and row.ratio
        and not row.refused
        and set(row.peers_ms) == {"eager", "eager channels-last"}
    )
    assert row.error < 1e-4 and row.activation_mb["ours"] < row.activation_mb["eager"]
    assert row.activation_mb["ours low"] < row.activation_mb["ours"]


def test_a_wrong_gradient_gets_no_speed() -> None:
    class Wrong(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = super().forward(x)
            return y if x.dtype == torch.float64 else 2 * y

    row = step_row("wrong", Wrong(3, 4, 3), (torch.randn(2, 3, 8, 8),), ["eager"], QUICK)
    assert row.refused and row.ours_ms is None and row.ratio is None


def test_what_is_kept_is_counted_without_parameters() -> None:
    module, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    assert Step(module, module, (x,), torch.zeros(2, 4, 6, 6)).activation_bytes() == x.nbytes


@pytest.mark.parametrize("number", [4, 5, 6, 7])
def test_gradients_of_convolutions_are_right(number: int) -> None:
    name, shape, make = CONVOLUTIONS[number]
    rows = gradient_rows(name, shape, make(), QUICK)
    assert [row.op for row in rows] == ["data_gradient", "weight_gradient"]
    assert all(row.error < 1e-4 and row.ours_ms for row in rows)


def test_the_networks_are_the_published_ones() -> None:
    pictures = dcgan_generator()(torch.randn(2, 100, 1, 1))
    assert dcgan_critic()(pictures).shape == (2, 1, 1, 1)


def test_the_command_writes_its_rows(tmp_path: Path) -> None:
    options = [
        "training",
        "--sections",
        "generator",
        "--peers",
        "eager",
        "--quick",
        "--output",
        str(tmp_path),
    ]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    (line,) = (tmp_path / "training_cpu.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert row["op"] == "training_step" and row["ours_ms"] > 0 and row["commit"]
    assert CliRunner().invoke(app, ["training", "--sections", "none"]).exit_code == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_in_each_dtype_and_what_it_takes(dtype: torch.dtype) -> None:
    row = step_row("small", small(), (torch.randn(2, 3, 8, 8),), ["eager"], QUICK, dtype)
    assert row.dtype == str(dtype).removeprefix("torch.") and row.ours_ms and not row.refused
    growth = peak(training_memory.prepared, "ours", "generator", dtype, threads=torch.get_num_threads())
    assert growth is None or growth > 10e6


def test_a_step_of_the_system_is_the_same_by_both_kernels() -> None:
    row = system_row(QUICK)
    assert row.op == "training_system" and row.ours_ms and row.error < 1e-4
    assert set(row.peers_ms) == {"PyTorch's kernels"}
