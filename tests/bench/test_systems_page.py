"""The committed page of recorded runs says what the records say."""

from __future__ import annotations

import json
from pathlib import Path

from genfuse_bench.systems_page import RECORDS, page


def test_the_committed_page_is_of_the_committed_records() -> None:
    assert (RECORDS / "README.md").read_text(encoding="utf-8") == page()


def test_every_figure_and_picture_is_shown(tmp_path: Path) -> None:
    record = {
        "system": "cogan",
        "command": "genfuse train cogan",
        "steps": 2000,
        "seconds": 90,
        "machine": "M",
    }
    measured = {"fid": {"plain": 1.5, "in_verted": 2}, "read": [10, 2000], "agreement": 0.793}
    over = [{"step": 1000, "fid": 3.0}, {"step": 2000, "fid": 1.5}]
    (tmp_path / "one.json").write_text(json.dumps({**record, "measured": measured, "over_steps": over}))
    (tmp_path / "one.png").touch()
    text = page(tmp_path)
    for expected in (
        "`genfuse train cogan`: 2,000 steps in 2 min, M.",
        "| fid | plain 1.5, in verted 2 |",
        "| read | 10, 2,000 |",
        "| fid over the steps | 3 after 1,000, 1.5 after 2,000 |",
        "![samples of one](one.png)",
    ):
        assert expected in text
