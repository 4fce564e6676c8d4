"""Every tutorial runs: its Python in one namespace, its commands, with the files that it has its reader write."""

from __future__ import annotations

import shutil
import sys
import types
from datetime import date
from pathlib import Path

import pytest
import torch

from docs.page import blocks, work_through
from embed import library

DOCS = Path(__file__).parent.parent.parent / "docs"
BY_TURNS = ("diffusers", "optimize")
PAGES = sorted((DOCS / "tutorials").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tutorial_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proof: bool) -> None:
    day = date.today().toordinal()
    if not proof and page.stem in BY_TURNS and page.stem != BY_TURNS[day % len(BY_TURNS)]:
        pytest.skip("the other one's day: both compile networks")
    languages = {block.language for block in blocks(page)}
    assert "python" in languages, f"{page.name} has no Python"
    if "c" in languages:
        needs_c()
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    module = types.ModuleType(f"tutorial_{page.stem}")  # a real one: Dynamo looks functions' globals up in it
    monkeypatch.setitem(sys.modules, module.__name__, module)
    work_through(page, module, tmp_path)


def needs_c() -> None:
    for tool in ("cc", "pkg-config"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not here")
    if not (library.prefix() / "share/pkgconfig/genfuse.pc").exists():
        pytest.skip("libgenfuse is not installed")


def test_drawings_are_as_their_script_draws_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, object] = {"__name__": "draw", "__file__": str(DOCS / "drawings" / "draw.py")}
    source = (DOCS / "drawings" / "draw.py").read_text(encoding="utf-8")
    exec(compile(source, "draw.py", "exec"), names)
    names["HERE"] = tmp_path
    drawings = sorted(DOCS.glob("drawings/*.svg"))
    assert len(drawings) == 8
    for drawing in drawings:
        names[drawing.stem]()  # type: ignore[operator]
        assert (tmp_path / drawing.name).read_text(encoding="utf-8") == drawing.read_text(encoding="utf-8")
