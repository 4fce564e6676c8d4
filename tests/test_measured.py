"""`backend(reproducible=False)`: the fastest kernel is measured once, kept on disk, and is as right as the rule's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genfuse
from genfuse import dispatch, env, measured
from genfuse.errors import UnsupportedError
from genfuse.measured import Measured

pytestmark = pytest.mark.skipif(
    env.backend_missing("cpu") is not None, reason="the compiled extension is not built here"
)
UNIT: dict[str, Any] = {"padding": 1, "norm": "group", "num_groups": 4, "activation": "silu"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of the test's own, and measurements that take no time."""
    monkeypatch.setenv("GENFUSE_CACHE", str(tmp_path))
    monkeypatch.setattr(measured, "_SECONDS", 1e-4)
    yield tmp_path
    measured.forget()


def tensors() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(2, 16, 12, 12), torch.randn(24, 16, 3, 3), torch.randn(24)


def heard(*args: Tensor, **options: Any) -> tuple[Tensor, list[Measured]]:
    told: list[Measured] = []
    with genfuse.backend(reproducible=False), measured.telling(told.append):
        y = genfuse.ops.conv_norm_act(*args, **options)
    assert isinstance(y, Tensor)
    return y, told


def choose(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    """Lets the candidates that begin so win every measurement."""
    real = measured._timed

    def timed(candidates: list[Measured], runs: Any) -> list[Measured]:
        real(candidates, runs)
        return [replace(each, seconds=1.0 - str(each).startswith(wanted) * 0.5) for each in candidates]

    monkeypatch.setattr(measured, "_timed", timed)


def close(got: Tensor, want: Tensor) -> bool:
    """By any of the kernels: large tiles of Winograd are off by the most, 6e-5 of the root mean square."""
    return bool((got - want).abs().max() <= 1e-4 * want.abs().max())


def test_it_is_measured_once_and_kept(cache: Path) -> None:
    args = tensors()
    want = genfuse.ops.conv_norm_act(*args, **UNIT)
    y, (choice,) = heard(*args, **UNIT)
    assert close(y, want) and choice.seconds > 0
    again, (same,) = heard(*args, **UNIT)
    assert same == choice and torch.equal(again, y)
    (file,) = (cache / "measured").iterdir()
    assert file == measured.path()
    assert [entry["call"] for entry in json.loads(file.read_text())["measured"]] == [choice.call]
    measured.loaded.cache_clear()  # as another process finds it
    assert heard(*args, **UNIT)[1] == [choice]


@pytest.mark.parametrize(
    "winner", ["cpu winograd float32", "cpu direct float32", "cpu winograd float32, 2", "aten"]
)
def test_whatever_wins_runs_and_is_right(winner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, winner)
    args = tensors()
    want = genfuse.ops.conv_norm_act(*args, **UNIT)
    y, (choice,) = heard(*args, **UNIT)
    assert str(choice).startswith(winner) and close(y, want)
    with genfuse.backend(reproducible=False):
        said = genfuse.explain("conv_norm_act", *args, **UNIT)
    assert said.backend == winner.split()[0] and said.reason.startswith(str(choice))
    assert genfuse.explain("conv_norm_act", *args, **UNIT).backend == "cpu"


def test_a_rule_that_loses_by_little_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(candidates: list[Measured], runs: Any) -> list[Measured]:
        return [replace(each, seconds=0.98 if i else 1.0) for i, each in enumerate(candidates)]

    monkeypatch.setattr(measured, "_timed", timed)
    choice = heard(*tensors(), **UNIT)[1][0]
    assert choice.way == (0, 0, 0) and not choice.is_gain


def test_exact_stays_exact_and_strict_stays_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def timed(candidates: list[Measured], runs: Any) -> list[Measured]:
        tried.extend(map(str, candidates))
        return [replace(each, seconds=1.0) for each in candidates]

    monkeypatch.setattr(measured, "_timed", timed)
    with dispatch.backend(strict=True):
        heard(*tensors(), **UNIT, accuracy="exact")
    assert tried and not [name for name in tried if "winograd" in name or name == "aten"]


def test_a_forced_backend_is_not_measured() -> None:
    x, weight, bias = tensors()
    told: list[Measured] = []
    with genfuse.backend(reproducible=False), measured.telling(told.append):
        with genfuse.backend("aten"):
            genfuse.ops.conv_norm_act(x, weight, bias, **UNIT)
        with genfuse.backend("cpu"), pytest.raises(UnsupportedError):
            genfuse.ops.conv_norm_act(x.double(), weight.double(), bias.double(), **UNIT)
    assert not told and dispatch.is_reproducible()


def test_every_op_that_may_be_measured_can_be() -> None:
    q = torch.randn(1, 2, 16, 8)
    with genfuse.backend(reproducible=False):
        assert "fastest here" in genfuse.explain("attention", q, q, q).reason
        assert "fastest here" in genfuse.explain("linear", torch.randn(5, 16), torch.randn(8, 16)).reason
        assert "fastest here" in genfuse.explain("norm_act", torch.randn(2, 16, 8, 8), norm="layer").reason
        assert "first on cpu" in genfuse.explain("norm_stats", torch.randn(2, 16, 8, 8)).reason


@pytest.mark.parametrize("text", ["", "[]", "{", '{"build": "another", "measured": []}', '{"measured": [1]}'])
def test_a_file_that_says_nothing_is_made_anew(text: str) -> None:
    measured.path().parent.mkdir()
    measured.path().write_text(text)
    measured.loaded.cache_clear()
    _, (choice,) = heard(*tensors(), **UNIT)
    assert measured.choices() == [choice]
    assert json.loads(measured.path().read_text())["build"] == measured._build()


def test_a_folder_that_cannot_be_written_is_no_error(cache: Path) -> None:
    (cache / "measured").write_text("a file where the folder would be")
    _, (choice,) = heard(*tensors(), **UNIT)
    assert heard(*tensors(), **UNIT)[1] == [choice]
    (cache / "measured").unlink()


def test_other_processes_measurements_are_kept() -> None:
    _, (choice,) = heard(*tensors(), **UNIT)
    kept = json.loads(measured.path().read_text())
    other = replace(choice, call="another process's")
    kept["measured"].append({**kept["measured"][0], "call": other.call})
    kept["sha256"] = measured.digest(kept["measured"])
    measured.path().write_text(json.dumps(kept))
    x, weight, bias = tensors()
    heard(x[:1], weight, bias, **UNIT)
    assert len(json.loads(measured.path().read_text())["measured"]) == 3


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(4, 16), nn.Conv2d(16, 16, 3, padding=1)
        self.out = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out((x + self.conv(nn.functional.silu(self.norm(x)))).mean((2, 3)))


@pytest.mark.parametrize("winner", ["cpu direct float32", "aten"])
def test_an_optimized_model_runs_what_is_fastest(winner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, winner)
    model = Block().eval()
    fast = genfuse.optimize(model, reproducible=False)
    x = torch.randn(2, 16, 12, 12)
    told: list[Measured] = []
    with torch.no_grad():
        for frozen in (False, True):
            fast.freeze(frozen)  # type: ignore[operator]
            for _ in range(3):
                with measured.telling(told.append):
                    assert torch.allclose(fast(x), model(x), atol=1e-4)
    report = fast.report()  # type: ignore[operator]
    chosen = {choice.op: str(choice) for choice in report.graphs[0].measured.values()}
    assert chosen["conv_norm_act"].startswith(winner)
    assert "measured" in str(report)
    assert dispatch.is_reproducible()


def test_torch_compile_takes_the_options() -> None:
    model, x = Block().eval(), torch.randn(2, 16, 12, 12)
    with torch.no_grad():
        fast = torch.compile(model, backend="genfuse", options={"reproducible": False, "accuracy": "exact"})
        assert torch.allclose(fast(x), model(x), atol=1e-4)
        assert measured.choices() and not [c for c in measured.choices() if "winograd" in c.kernel]
        torch._dynamo.reset()
        with pytest.raises(Exception, match="option is 'acuracy'"):
            torch.compile(model, backend="genfuse", options={"acuracy": "exact"})(x)
