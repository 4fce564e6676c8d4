"""`genfuse bench stylegan`: everybody computes the same, and what is wrong gets no speed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from genfuse_bench import stylegan
from genfuse_bench.command import app
from genfuse_bench.timing import Effort

QUICK = Effort(1, 0.005, 0.01)

SMALL = {
    "bias_act": lambda: stylegan.bias_act_case((2, 3, 4, 5), last=True),
    "ending": lambda: stylegan.ending_case((2, 3, 4, 5)),
    "up": lambda: stylegan.upfirdn2d_case((2, 3, 4, 5), up=2),
    "down": lambda: stylegan.upfirdn2d_case((2, 3, 4, 6), down=2),
    "modulated up": lambda: stylegan.modulated_case((2, 3, 4, 5), 6, up=2),
}


@pytest.mark.parametrize("name", SMALL)
def test_everybody_computes_the_same(name: str) -> None:
    row = stylegan.style_row(SMALL[name](), name != "down", QUICK)
    assert row.error < 1e-5 and row.torch_error < 1e-5
    assert row.ours_ms and row.ratio and row.floor_ms and not row.refused


def test_what_is_wrong_gets_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    def doubled(x: Tensor, f: Tensor, *rest: object, **named: object) -> Tensor:
        return stylegan.peers.upfirdn2d(x, f * 2, 2, 1, (2, 1, 2, 1), 4.0)

    monkeypatch.setattr(stylegan, "upfirdn2d", doubled)
    row = stylegan.style_row(SMALL["up"](), False, QUICK)
    assert row.refused and row.ours_ms is None and row.ratio is None


def test_the_command_writes_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.manual_seed(0)
    monkeypatch.setitem(stylegan.CASES, "bias_act", (SMALL["bias_act"],))
    run = CliRunner().invoke(app, ["stylegan", "--ops", "bias_act", "--quick", "--output", str(tmp_path)])
    assert run.exit_code == 0, run.output
    rows = list(map(json.loads, (tmp_path / "stylegan_cpu.jsonl").read_text().splitlines()))
    assert [row["gradients"] for row in rows] == [False, True] and rows[0]["ours_ms"] > 0
