"""`genfuse bench spectral_norm`: both sides are held against float64 and take the same steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from genfuse_bench import spectral_norm
from genfuse_bench.command import app
from genfuse_bench.timing import Effort

QUICK = Effort(1, 0.005, 0.01)


def layers() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Conv2d(3, 8, 3), nn.Linear(8, 4)]


def test_a_row_is_held_against_float64() -> None:
    row = spectral_norm.spectral_row("small", layers(), QUICK)
    assert row.ours_ms and row.ratio and row.gb_per_s and row.floor_ms and not row.refused
    assert row.error < 1e-5 and row.torch_error < 1e-5
    assert row.tensors == 2 and row.elements == 8 * 27 + 32


def test_a_wrong_gradient_gets_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = spectral_norm.spectral_norms

    def frozen(network: nn.Module) -> nn.Module:
        """As if the norm were no function of the weight."""
        real(network)
        for layer in network.layers:
            layer.parametrizations.weight[0].forward = lambda weight: weight * 0.5
        return network

    monkeypatch.setattr(spectral_norm, "spectral_norms", frozen)
    row = spectral_norm.spectral_row("small", layers(), QUICK)
    assert row.refused and row.ours_ms is None and row.ratio is None


def test_the_command_writes_a_row_a_critic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(spectral_norm.CRITICS, "narrow", ("small", layers))
    run = CliRunner().invoke(
        app, ["spectral_norm", "--critics", "narrow", "--quick", "--output", str(tmp_path)]
    )
    assert run.exit_code == 0, run.output
    (row,) = map(json.loads, (tmp_path / "spectral_norm_cpu.jsonl").read_text().splitlines())
    assert row["op"] == "spectral_norm" and row["ours_ms"] > 0
