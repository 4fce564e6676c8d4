"""`genfuse bench systems`: plain PyTorch's form of a system is the same system, and runs on none of our kernels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import genfuse
from genfuse_bench.command import app
from genfuse_bench.plain_functions import path_length_penalty
from genfuse_bench.system_step import EAGER, LAST, OURS
from genfuse_bench.systems import Case, first_step_error, sample_error
from genfuse_bench.training import KINK
from triton_proof.seeds import rotating

SMALL: dict[str, dict[str, Any]] = {
    "ddpm": {"model.channels": (8, 16), "model.attention_levels": (1,), "model.embedding_channels": 8},
    "gan": {"width": 16, "dropout": 0.0},
}
"""Settings; of others the width is enough."""


def case(name: str) -> Case:
    return Case(name, 8, 4, 4, tuple(SMALL.get(name, {"width": 8}).items()), "digits")


ALWAYS = ("dcgan", "wgan_gp", "ddpm")
"""Batch norm, a penalty, attention."""
OTHERS = ("sngan", "gan", "cgan", "msgan", "wgan", "ebgan", "autoencoder", "vae", "glo", "gon")


@pytest.fixture(autouse=True)
def _alone() -> None:
    torch.set_num_threads(1)  # the networks are too small for more


@pytest.mark.parametrize("name", [*ALWAYS, *(OTHERS[place] for place in rotating(1, len(OTHERS)))])
def test_plain_pytorch_has_the_same_losses_and_samples(name: str) -> None:
    ours, eager, last = (case(name).of(who) for who in (OURS, EAGER, LAST))
    for other in (eager, last):
        assert first_step_error(case(name).of(OURS), other) < KINK
    assert sample_error(ours, eager, 4) < KINK


def test_plain_pytorch_runs_none_of_our_kernels() -> None:
    plain = case("wgan_gp").of(EAGER)
    with torch.profiler.profile() as seen:
        plain.step(0)
    ran = {event.key for event in seen.key_averages()}
    assert {"aten::native_batch_norm", "aten::_foreach_lerp_"} <= ran
    assert not [key for key in ran if key.startswith("genfuse::")]


def test_plain_path_length_is_ours() -> None:
    generator = nn.Sequential(nn.Linear(4, 36), nn.Tanh(), nn.Unflatten(1, (4, 3, 3)), nn.Conv2d(4, 2, 3))
    w, results = torch.randn(3, 4), []
    for penalty in (genfuse.path_length_penalty, path_length_penalty):
        mean = torch.tensor(0.3)
        value = penalty(generator, w, mean, seed=5, first=2)
        assert isinstance(value, torch.Tensor)
        gradients = torch.autograd.grad(
            value, generator.parameters(), allow_unused=True, materialize_grads=True
        )
        results.append([value.detach(), mean, *gradients])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-6)


def test_what_autograd_keeps_is_counted() -> None:
    """Of a DCGAN's step ours keeps less: neither what a norm makes nor what an activation makes."""
    small = Case("dcgan", 16, 8, 4, (("width", 8),))
    ours, eager = (small.of(who).activation_bytes() for who in (OURS, EAGER))
    assert 0 < ours < eager


def test_the_command_writes_its_rows(tmp_path: Path) -> None:
    options = ["--systems", "vae", "--size", "8", "--peers", "eager", "--quick", "--output", str(tmp_path)]
    result = CliRunner().invoke(app, ["systems", *options])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "systems_cpu.jsonl").read_text().splitlines()]
    assert [row["op"] for row in rows] == ["system_step", "system_sample"]
    assert all(row["ours_ms"] > 0 and set(row["peers_ms"]) == {"eager"} for row in rows)
    assert rows[0]["shape"] == [8, 1, 8, 8] and rows[0]["activation_mb"]["ours"] > 0
