"""`genfuse bench quality`: errors against float64, times of a batch, rows that are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from genfuse.nn.unet import UNetConfig
from genfuse.systems.ddpm import DDPM, DDPMConfig
from genfuse_bench.machine import Machine
from genfuse_bench.quality import BATCH, QualityRow, Subject, timed
from genfuse_bench.quality_command import _kept
from genfuse_bench.record import Record
from genfuse_bench.results import load
from genfuse_bench.timing import Effort


def subject() -> Subject:
    """A small network with weights of chance."""
    torch.manual_seed(0)
    model = UNetConfig(3, 2, 2, (8, 16), attention_levels=(), num_groups=4)
    return Subject(DDPM(DDPMConfig(model=model), (3, 8, 8), ("a", "b")), guidance=2.0, seed=0)


def row(solver: str, steps: int, error: float = 1e-6) -> QualityRow:
    case = {
        "op": "quality",
        "workload": subject().name,
        "solver": solver,
        "steps": steps,
        "evaluations": 2 * steps,
    }
    where = {"shape": (BATCH, 3, 8, 8), "dtype": "float32", "threads": 1, "device": "cpu"}
    found = {"count": 16, "seed": 0, "fid": 3.0, "real_fid": 1.0, "ours_ms": None}
    return QualityRow(**case, **where, **found, error=error, torch_error=1e-6)  # type: ignore[arg-type]


def test_pictures_are_held_against_float64() -> None:
    ours, theirs = subject().errors("euler", 3)
    assert 0 < ours <= max(2 * theirs, 1e-5)


def test_rows_have_times_where_they_are_right() -> None:
    effort = Effort(1, 0.0, 0.0, turn=0.0, rounds=1)
    right, wrong = timed(subject(), [row("euler", 1), row("ddim", 2, error=1.0)], effort)
    assert right.timing is not None and right.timing.us.keys() == {"ours"}
    assert right.ours_ms == right.timing.us["ours"] / 1e3
    assert wrong.refused and wrong.ours_ms is None
    assert wrong.timing is not None and not wrong.timing.us


def test_distances_of_the_same_pictures_are_kept(tmp_path: Path) -> None:
    record = Record(tmp_path / "quality_cpu.jsonl")
    rows = [row("euler", 5), row("euler", 10), replace(row("ddim", 5), count=99)]
    record.add(rows, Machine.here())
    assert _kept(Record(record.path), subject(), 16) == {("euler", 5): rows[0], ("euler", 10): rows[1]}
    assert load(str(record.path)) == {"quality_cpu.jsonl": []}  # nothing is timed yet
