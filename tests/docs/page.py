"""A tutorial as its reader works through it: files are written, commands run, Python goes on where it was."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


@dataclass
class Block:
    language: str
    title: str | None
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page; `line` is how many lines stand before one's first."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        yield Block(found[1], found[2], found[3], text[: found.start(3)].count("\n"))


def work_through(page: Path, module: types.ModuleType, folder: Path) -> None:
    """In `folder`, the current one: what has a title becomes that file, Python and shell each keep their variables."""
    bin_ = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}
    for block in blocks(page):
        if block.title is not None:
            (folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":  # a traceback names the page's own line
            exec(compile("\n" * block.line + block.text, str(page), "exec"), vars(module))
        elif block.language == "sh":
            environment = run(f"{page}:{block.line + 1}", block.text, folder, environment)


def run(place: str, commands: str, folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Each command has to succeed; what they exported."""
    kept = folder / ".environment"
    script = f"set -e\n{commands}\nenv -0 > {kept}"
    done = subprocess.run(
        ["sh", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{place}:\n{done.stdout}{done.stderr}"
    return dict(pair.split("=", 1) for pair in kept.read_text(encoding="utf-8").split("\0") if pair)
