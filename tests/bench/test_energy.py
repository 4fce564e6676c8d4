"""Energy counters, from a folder that looks like Linux's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genfuse_bench import energy
from genfuse_bench.energy import Rapl


def zone(folder: Path, number: int, name: str, microjoules: int) -> Path:
    path = folder / f"intel-rapl:{number}"
    path.mkdir()
    for file, text in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", 10_000_000)):
        (path / file).write_text(f"{text}\n")
    return path / "energy_uj"


def test_packages_are_added_and_counters_begin_again(tmp_path: Path) -> None:
    first, second = zone(tmp_path, 0, "package-0", 9_000_000), zone(tmp_path, 1, "package-1", 0)
    zone(tmp_path, 2, "psys", 5)
    meter = Rapl(tmp_path)
    assert meter.joules() == 0
    first.write_text("1000000")  # 2 J on, past the end of its range
    second.write_text("500000")
    assert meter.joules() == pytest.approx(2.5)


def test_what_is_absent_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no package under"):
        Rapl(tmp_path)
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "_found", energy._found.__wrapped__)
    assert "no package" in str(energy.absence(torch.device("cpu")))
