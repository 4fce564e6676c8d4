"""`genfuse bench gradient_penalty`: its rows are held against float64, and everyone does the same work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn
from typer.testing import CliRunner

from genfuse.penalties.points import point_of
from genfuse_bench import critics, gradient_penalty, gradient_penalty_command, lab_command, penalty_ladder
from genfuse_bench.command import app
from genfuse_bench.gradient_penalty import COMPILED, OURS, PEERS, STEP_PEERS, Critic, penalty_rows, pictures
from genfuse_bench.own_process import peaks_mb
from genfuse_bench.timing import Effort

QUICK = Effort(1, 0.005, 0.01)

PEAK = 100.0


def small(norm: str = "no norm") -> nn.Module:
    activation = nn.SiLU if norm == "SiLU" else critics.leaky_relu
    return critics.dcgan_critic(16, norm, width=4, activation=activation)


VERSIONS = sorted((Path(__file__).parents[2] / "bench/ladders/gradient_penalty").glob("*.py"))


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_a_version_of_the_ladder_is_double_backward(path: Path) -> None:
    network, (real, fake) = small().double(), pictures(3, 16)
    x = point_of("interpolates", real.double(), fake.double(), 0).detach()
    version = penalty_ladder.read_version(path)
    penalty = version(network, x, gradient_penalty.WEIGHT)
    exact = Critic(PEERS[0], network, real.double(), fake.double())
    torch.testing.assert_close(penalty, exact._penalty(), rtol=1e-10, atol=0)
    weights = list(network.parameters())
    found = torch.autograd.grad(penalty, weights, allow_unused=True, materialize_grads=True)
    for got, want in zip(found, exact.gradients(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-12)


def test_the_ladder_is_measured_beside_ours() -> None:
    rows = penalty_ladder.race(VERSIONS, [(1, 3, 32, 32)], QUICK, width=4)
    assert [row.who for row in rows] == [*(path.name for path in VERSIONS), "genfuse cpu"]
    assert all(row.us and row.refused is None for row in rows)
    with pytest.raises(ValueError, match="expected \\(N, 3, H, H\\)"):
        penalty_ladder.race(VERSIONS, [(1, 3, 33, 33)], QUICK)


def test_the_command_climbs_the_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(penalty_ladder, "race", lambda *given: asked.append(given) or [])
    result = CliRunner().invoke(lab_command.app, ["ladder", "gradient_penalty", "--shapes", "2x3x64x64"])
    assert result.exit_code == 0, result.output
    assert asked == [(VERSIONS, [(2, 3, 64, 64)])]


@pytest.mark.parametrize("norm", ["no norm", "layer norm", "instance norm", "spectral norm", "SiLU"])
def test_both_rows_are_held_against_float64(norm: str) -> None:
    rows = penalty_rows("small", small(norm), 16, 4, PEERS, QUICK, PEAK)
    assert [row.op for row in rows] == ["gradient_penalty", "critic_step"]
    for row in rows:
        assert row.ours_ms and row.ratio and not row.refused and set(row.peers_ms) == set(PEERS)
        assert row.error < 1e-5 and row.torch_error < 1e-5
    # 2·(4·3·16·64 + 8·4·16·16 + 8·16) products and sums a picture, forwards.
    forward = 4 * 2 * (4 * 3 * 16 * 64 + 8 * 4 * 16 * 16 + 8 * 16) / (PEAK * 1e6)
    passes = 6 if norm in ("layer norm", "instance norm", "SiLU") else 4
    assert [row.bar for row in rows] == ([1.5, 1.4] if passes == 6 else [2.2, 1.7])
    assert [row.passes for row in rows] == [passes, passes + 6]
    for row in rows:
        assert row.floor_ms == pytest.approx(row.passes * forward, rel=0.02 if "spectral" in norm else 1e-9)


def test_a_wrong_gradient_gets_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(network: nn.Module, real: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return network(real).mean()  # type: ignore[no-any-return]

    monkeypatch.setattr("genfuse.gradient_penalty", wrong)
    for row in penalty_rows("small", small(), 16, 4, PEERS, QUICK, PEAK):
        assert row.refused and row.ours_ms is None and row.ratio is None


def test_a_wrong_score_gets_no_speed_for_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genfuse.optimize", lambda network: lambda x: 1.1 * network(x))
    penalty, step = penalty_rows("small", small(), 16, 4, PEERS, QUICK, PEAK)
    assert penalty.ours_ms and not penalty.refused
    assert step.refused and step.ours_ms is None and step.ratio is None


def scored_by(compile: Callable[[nn.Module], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled peer's step, by this in the place of torch.compile."""
    scorer = gradient_penalty.scorer
    monkeypatch.setattr(
        gradient_penalty, "scorer", lambda who, net: compile(net) if who == COMPILED else scorer(who, net)
    )


def test_a_compiled_peer_that_fails_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    scored_by(lambda network: lambda x: x.no_such_method(), monkeypatch)
    penalty, step = penalty_rows("small", small(), 16, 4, STEP_PEERS, QUICK, PEAK)
    assert set(penalty.peers_ms) == set(step.peers_ms) == {*PEERS} and not penalty.failed
    assert step.failed[COMPILED].startswith(
        "AttributeError: 'Tensor' object has no attribute 'no_such_method'"
    )
    table = Console(width=400, record=True)
    table.print(gradient_penalty_command._table("small", [penalty, step]))
    assert "no_such_method" in table.export_text()


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_compiled_peer_is_held_against_float64(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    scored_by(lambda network: lambda x: factor * network(x), monkeypatch)
    who = {name: Critic(name, small(), *pictures(4, 16)) for name in (PEERS[0], COMPILED)}
    who[COMPILED].network.load_state_dict(who[PEERS[0]].network.state_dict())
    exact = who[PEERS[0]].step_gradients()
    errors, failed = gradient_penalty.held(who, Critic.step_gradients, exact, kinked=False)
    assert set(errors) == set(who)
    assert failed.get(COMPILED, "").startswith("its gradients are off by") == (factor != 1)


def test_everyone_takes_the_same_step() -> None:
    """Adam's of the same loss, from the same weights."""
    network = small()
    weights = []
    for who in (OURS, *PEERS):
        critic = Critic(who, network, *pictures(4, 16))
        critic._optimizer = torch.optim.SGD(critic.network.parameters(), 0.1)
        critic.step()
        weights.append(torch.cat([w.detach().flatten() for w in critic.network.parameters()]))
    assert not torch.equal(weights[0], torch.cat([w.detach().flatten() for w in network.parameters()]))
    assert all(torch.allclose(weights[0], other, atol=1e-5) for other in weights)


def test_critics_have_the_papers_shapes() -> None:
    for section in critics.SECTIONS.values():
        for make, side in section.values():
            assert make()(torch.randn(2, 3, side, side)).shape == (2,)


def test_the_command_writes_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(critics.SECTIONS, "dcgan", {"small": (small, 16)})
    monkeypatch.setattr(gradient_penalty_command, "gemm_peak", lambda dtype: PEAK)
    options = [
        "gradient_penalty",
        "--peers",
        ",".join(PEERS),
        "--sections",
        "dcgan",
        "--batch",
        "2,4",
        "--quick",
        "--output",
        str(tmp_path),
    ]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "gradient_penalty_cpu.jsonl").read_text().splitlines()]
    assert [row["op"] for row in rows] == 2 * ["gradient_penalty", "critic_step"]
    assert all(row["commit"] for row in rows) and [row["shape"][0] for row in rows] == [2, 2, 4, 4]
    assert "floor" in result.output
    assert CliRunner().invoke(app, ["gradient_penalty", "--batch", "some"]).exit_code == 2
    assert CliRunner().invoke(app, ["gradient_penalty", "--sections", "none"]).exit_code == 2


def test_peaks_are_measured_in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = peaks_mb(gradient_penalty.prepared, (OURS, PEERS[0]), "dcgan", "DCGAN 32", 2)
    assert set(found) <= {OURS, PEERS[0]} and all(mb >= 0 for mb in found.values())
