"""`genfuse bench gallery`: runs on the same data in one table, from what was recorded of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from genfuse_bench.command import app
from genfuse_bench.gallery import exhibits


def report(source: str, system: str, fid: float, digest: str = "a1b2c3d4e5") -> dict[str, Any]:
    return {
        "source": source,
        "system": system,
        "data": {"name": "digits", "pictures": 1797, "digest": digest},
        "milliseconds_a_picture": 0.5,
        "scores": {"fid": {"value": fid}, "recall": {"value": None, "reference": 1.0}},
    }


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    evaluations, runs = tmp_path / "evaluate", tmp_path / "systems"
    for folder in (evaluations, runs):
        folder.mkdir()
    for one in (report("runs/vae", "vae", 3.1), report("runs/dcgan", "dcgan", 0.3)):
        (evaluations / f"{one['system']}.json").write_text(json.dumps(one))
    other = report("shipped.safetensors", "ddpm", 9.0, "f6f7f8f9")
    (evaluations / "other.json").write_text(json.dumps(other))
    (evaluations / "folder.json").write_text(json.dumps({"source": "pictures", "scores": {}}))
    (runs / "dcgan.json").write_text(json.dumps({"seconds": 90}))
    return evaluations, runs


def test_runs_are_compared_on_the_same_data(folders: tuple[Path, Path], tmp_path: Path) -> None:
    found = exhibits(*folders)
    assert {data: [one.run for one in several] for data, several in found.items()} == {
        "digits, 1797 pictures, a1b2c3d4": ["dcgan", "vae"],
        "digits, 1797 pictures, f6f7f8f9": ["shipped.safetensors"],
    }
    written = tmp_path / "gallery.md"
    options = ["--evaluations", str(folders[0]), "--runs", str(folders[1]), "-o", str(written)]
    result = CliRunner().invoke(app, ["gallery", *options])
    assert result.exit_code == 0, result.output
    lines = written.read_text().splitlines()
    assert "| dcgan | dcgan | 0.3 |  |  |  |  |  | 0.5 | 1.5 |" in lines
    assert "| vae | vae | 3.1 |  |  |  |  |  | 0.5 |  |" in lines
    assert lines.count("| real pictures |  |  |  |  | 1 |  |  |  |  |") == 2


def test_what_is_no_report_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no evaluation of a checkpoint"):
        exhibits(tmp_path, folders[1])
    (folders[0] / "broken.json").write_text("{")
    with pytest.raises(ValueError, match=r"broken\.json is no JSON"):
        exhibits(*folders)
    (folders[0] / "broken.json").write_text('{"system": "vae"}')
    with pytest.raises(ValueError, match=r"broken\.json is no report"):
        exhibits(*folders)
