"""`genfuse bench tensor_lists`: its rows are held against float64, and everyone does the same work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from genfuse_bench import tensor_lists
from genfuse_bench.command import app
from genfuse_bench.timing import Effort

QUICK = Effort(1, 0.005, 0.01)


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 4, 3))


def test_every_pass_is_held_against_float64() -> None:
    rows = tensor_lists.list_rows("small", small(), ["foreach", "loop"], QUICK)
    assert [row.op for row in rows] == list(tensor_lists.PASSES)
    for row in rows:
        assert row.ours_ms and row.ratio and not row.refused and set(row.peers_ms) == {"foreach", "loop"}
        assert row.error < 1e-6 and row.torch_error < 1e-5, row.op
        assert row.tensors == 6 and row.elements == 3 * 16 * 9 + 16 + 32 + 16 * 4 * 9 + 4


def test_a_wrong_result_gets_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_lists, "ema_update", lambda averages, weights, decay: None)
    rows = tensor_lists.list_rows("small", small(), ["foreach"], QUICK)
    assert rows[0].refused and rows[0].ours_ms is None and rows[0].ratio is None and rows[0].gb_per_s is None


def test_gradients_above_the_bound_are_scaled_in_every_call() -> None:
    made = tensor_lists._clipped_gradients([torch.randn(50)], ["ours", "foreach"])
    before = [made.results[name][0].clone() for name in ("ours", "foreach")]
    for _ in range(3):
        for name, old in zip(("ours", "foreach"), before, strict=True):
            made.calls[name]()
            assert made.results[name][0].norm() < 0.9995 * old.norm()
            old.copy_(made.results[name][0])


def test_the_command_writes_its_rows(tmp_path: Path) -> None:
    options = [
        "tensor_lists",
        "--networks",
        "critic",
        "--peers",
        "loop",
        "--quick",
        "--output",
        str(tmp_path),
    ]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "tensor_lists_cpu.jsonl").read_text().splitlines()]
    assert [row["op"] for row in rows] == list(tensor_lists.PASSES) and all(row["commit"] for row in rows)
    assert CliRunner().invoke(app, ["tensor_lists", "--networks", "none"]).exit_code == 2
