"""The public interface changes by decision, not by accident."""

from __future__ import annotations

import difflib
import subprocess
import sys
from pathlib import Path

LISTING = Path(__file__).with_name("public_api.txt")
CODE = "import sys; sys.path[:0] = {path!r}; import public_api; print(public_api.listing(), end='')"
ROOTS = [
    str(Path(__file__).parent),
    *(str(Path(__file__).parent.parent / root) for root in ("engine", "kernels")),
]


def test_names_and_signatures_are_those_that_were_promised() -> None:
    """In a process of its own, where no test has imported or replaced anything."""
    run = subprocess.run(
        [sys.executable, "-c", CODE.format(path=ROOTS)], capture_output=True, text=True, check=True
    )
    kept = LISTING.read_text(encoding="utf-8")
    changes = difflib.unified_diff(
        kept.splitlines(), run.stdout.splitlines(), "promised", "now", n=0, lineterm=""
    )
    told = "\n".join(changes)
    assert not told, (
        f"the public interface changed:\n{told}\n"
        "Where that is meant, say so in CHANGELOG.md and write the listing anew by `python tests/public_api.py`; "
        "what breaks callers raises the version (docs/faq.md)."
    )
