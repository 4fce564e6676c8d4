"""The public interface changes by decision, not by accident."""

from __future__ import annotations

import difflib

import public_api


def test_names_and_signatures_are_those_that_were_promised() -> None:
    kept = public_api.FILE.read_text(encoding="utf-8").splitlines()
    now = public_api.listing().splitlines()
    told = "\n".join(difflib.unified_diff(kept, now, "promised", "now", n=0, lineterm=""))
    assert not told, (
        f"the public interface changed:\n{told}\n"
        "Where that is meant, say so in CHANGELOG.md and write the listing anew by `python tests/public_api.py`; "
        "what breaks callers raises the version (docs/faq.md)."
    )
